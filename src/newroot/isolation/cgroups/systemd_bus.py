"""Speak to systemd over D-Bus: the few calls that a container's scope needs.

The messages are jeepney's, the socket is ours: systemd's bus is asked for who we are by the
socket's credentials, not by the user id that we would name, which is another one in a user
namespace (dbus-specification, EXTERNAL; docs/decisions/0019).  Root can do without a bus:
systemd listens at /run/systemd/private too.  Everything is imported when first used.
"""

from __future__ import annotations

import os
from time import monotonic

from newroot.errors import SyscallError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from jeepney.low_level import Message

    from newroot.isolation.cgroups.systemd import Variant

_TIMEOUT_S = 30.0
_SERVICE = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"


class Systemd:
    """A connection to the system's manager, or with *user* to the calling user's."""

    def __init__(self, *, user: bool) -> None:
        self._user = user
        self._serial = 0
        self._removed: dict[str, str] = {}
        self._socket = self._connect()
        try:
            from jeepney.low_level import Parser

            self._parser = Parser()
            if self._through_a_bus:
                self._call_bus("Hello")
                rule = f"type='signal',interface='{_MANAGER}',member='JobRemoved'"
                self._call_bus("AddMatch", "s", (rule,))
            self._call("Subscribe")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Systemd:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def start(self, unit: str, properties: dict[str, Variant]) -> None:
        """Start the transient *unit*, and wait until it runs."""
        body: tuple[Any, ...] = (unit, "fail", list(properties.items()), [])
        signature = "ssa(sv)a(sa(sv))"
        reply = self._call("StartTransientUnit", signature, body, unless=(".UnitExists",))
        if not reply:
            # One that failed stays until somebody takes note of it.
            self.reset_failed(unit)
            reply = self._call("StartTransientUnit", signature, body)
        (job,) = reply
        result = self._wait_removed(job)
        if result != "done":
            self.reset_failed(unit)
            raise _failure(f"start {unit}", f"the job ended as {result!r}")

    def stop(self, unit: str) -> None:
        """Stop *unit*, wait for it, and have systemd forget it.  One that is gone is stopped."""
        reply = self._call("StopUnit", "ss", (unit, "replace"), unless=(".NoSuchUnit",))
        if reply:
            self._wait_removed(reply[0])
        self.reset_failed(unit)

    def reset_failed(self, unit: str) -> None:
        """Have systemd forget *unit*, if it has failed."""
        self._call("ResetFailedUnit", "s", (unit,), unless=("",))

    def set_properties(self, unit: str, properties: dict[str, Variant]) -> None:
        """Change the properties of *unit*, until the next boot."""
        self._call("SetUnitProperties", "sba(sv)", (unit, True, list(properties.items())))

    def version(self) -> int:
        """systemd's version; 0 when it does not say."""
        text = str(self._property("Version")).lstrip("v")
        digits = "".join(c if c.isdigit() else " " for c in text).split()
        return int(digits[0]) if text[:1].isdigit() else 0

    def control_group(self) -> str:
        """The cgroup below which this manager makes its units; "" for the top."""
        return str(self._property("ControlGroup")).rstrip("/") if self._user else ""

    def _property(self, name: str) -> object:
        ((_, value),) = self._call(
            "Get", "ss", (_MANAGER, name), interface="org.freedesktop.DBus.Properties"
        )
        return value

    # Connecting

    def _connect(self) -> socket.socket:
        import socket

        tried = []
        for address, through_a_bus in self._addresses():
            self._through_a_bus = through_a_bus
            tried.append(address.replace("\0", "@", 1))
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            connection.settimeout(_TIMEOUT_S)
            try:
                connection.connect(address)
                _authenticate(connection)
            except OSError:
                connection.close()
                continue
            return connection
        raise UnsupportedError(
            f"ask systemd for a cgroup: no {'session' if self._user else 'system'} bus answers",
            feature="systemd cgroups",
            tried=", ".join(tried) or "DBUS_SESSION_BUS_ADDRESS, XDG_RUNTIME_DIR",
            hint="log in as that user (loginctl enable-linger), so that XDG_RUNTIME_DIR is set"
            if self._user
            else "do without --systemd-cgroup where systemd does not run",
        )

    def _addresses(self) -> list[tuple[str, bool]]:
        """Where to try, and whether it is a bus or systemd itself."""
        variable = "DBUS_SESSION_BUS_ADDRESS" if self._user else "DBUS_SYSTEM_BUS_ADDRESS"
        found = [(path, True) for path in _sockets(os.environ.get(variable, ""))]
        run = os.environ.get("XDG_RUNTIME_DIR") if self._user else "/run"
        if run and self._user:
            found += [(f"{run}/bus", True), (f"{run}/systemd/private", False)]
        elif run:
            found += [(f"{run}/dbus/system_bus_socket", True), (f"{run}/systemd/private", False)]
        return list(dict.fromkeys(found))

    # Calling

    def _call(
        self,
        method: str,
        signature: str = "",
        body: tuple[Any, ...] = (),
        *,
        interface: str = _MANAGER,
        unless: tuple[str, ...] = (),
    ) -> tuple[Any, ...]:
        """The reply; () where the error is one whose name ends in one of *unless*."""
        return self._send(_SERVICE, _PATH, interface, method, signature, body, unless)

    def _call_bus(self, method: str, signature: str = "", body: tuple[Any, ...] = ()) -> None:
        name = "org.freedesktop.DBus"
        self._send(name, "/org/freedesktop/DBus", name, method, signature, body, ())

    def _send(
        self,
        service: str,
        path: str,
        interface: str,
        method: str,
        signature: str,
        body: tuple[Any, ...],
        unless: tuple[str, ...],
    ) -> tuple[Any, ...]:
        from jeepney import DBusAddress
        from jeepney.low_level import HeaderFields, MessageType
        from jeepney.wrappers import new_method_call

        address = DBusAddress(path, bus_name=service, interface=interface)
        self._serial += 1
        message = new_method_call(address, method, signature or None, body)
        deadline = monotonic() + _TIMEOUT_S
        try:
            self._socket.sendall(message.serialise(serial=self._serial))
            while True:
                reply = self._receive(deadline)
                if reply.header.fields.get(HeaderFields.reply_serial) == self._serial:
                    break
        except OSError as error:
            raise _failure(f"{method} of systemd", error.strerror or str(error)) from None
        if reply.header.message_type is not MessageType.error:
            return tuple(reply.body)
        name = str(reply.header.fields.get(HeaderFields.error_name, ""))
        if name.endswith(unless):
            return ()
        words = str(reply.body[0]) if reply.body else ""
        raise _failure(f"{method} of systemd", f"{words} ({name})")

    def _receive(self, deadline: float) -> Message:
        """The next message; jobs that have ended are noted on the way."""
        from jeepney.low_level import HeaderFields

        while (message := self._parser.get_next_message()) is None:
            self._socket.settimeout(max(0.001, deadline - monotonic()))
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError(104, "systemd closed the connection")
            self._parser.add_data(data)
        if message.header.fields.get(HeaderFields.member) == "JobRemoved":
            _, job, _, result = message.body
            self._removed[job] = result
        return message

    def _wait_removed(self, job: str) -> str:
        deadline = monotonic() + _TIMEOUT_S
        try:
            while job not in self._removed:
                self._receive(deadline)
        except OSError as error:
            raise _failure(f"wait for systemd's {job}", error.strerror or str(error)) from None
        return self._removed.pop(job)


def _sockets(untrusted_address: str) -> list[str]:
    """The Unix sockets that a D-Bus address names: dbus-specification, Server Addresses."""
    found = []
    for address in untrusted_address.split(";"):
        kind, _, words = address.partition(":")
        for word in words.split(",") if kind == "unix" else ():
            key, _, value = word.partition("=")
            if key in ("path", "abstract"):
                found.append(("\0" if key == "abstract" else "") + _unescape(value))
    return found


def _unescape(value: str) -> str:
    first, *rest = value.split("%")
    return first + "".join(chr(int(part[:2], 16)) + part[2:] for part in rest)


def _authenticate(connection: socket.socket) -> None:
    """EXTERNAL with an empty identity: the other side takes the socket's credentials."""
    connection.sendall(b"\0AUTH EXTERNAL\r\n")
    _expect(connection, b"DATA")
    connection.sendall(b"DATA\r\n")
    _expect(connection, b"OK")
    connection.sendall(b"BEGIN\r\n")


def _expect(connection: socket.socket, word: bytes) -> None:
    line = b""
    while not line.endswith(b"\r\n") and len(line) < 1024:
        data = connection.recv(1)
        if not data:
            break
        line += data
    if not line.startswith(word):
        raise ConnectionRefusedError(111, f"D-Bus did not let us in: {line!r}")


def _failure(doing: str, why: str) -> SyscallError:
    import errno

    return SyscallError(f"{doing}: {why}", errno=errno.EIO, call="systemd", target=doing)
