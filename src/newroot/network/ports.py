"""Published ports: taken on the host before the container starts, and held while it lives.

A socket that is bound and held keeps everybody else off the port; what comes to it the firewall
has sent on before it would be heard.  So no process is needed that passes bytes on.
"""

from __future__ import annotations

import _socket
import errno
import os

from newroot.errors import SyscallError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from newroot.network.asked import Port

    #: protocol, the host's address or nothing, its port, the container's
    Taken = tuple[str, str, int, int]

_TRIES = 20
_KINDS = {"tcp": _socket.SOCK_STREAM, "udp": _socket.SOCK_DGRAM}


class Ports:
    """Ports of the host that are taken, until ``close()``."""

    def __init__(self) -> None:
        self.sockets: list[_socket.socket] = []
        self.taken: list[Taken] = []

    @property
    def fds(self) -> tuple[int, ...]:
        return tuple(each.fileno() for each in self.sockets)

    def close(self) -> None:
        while self.sockets:
            self.sockets.pop().close()


def take(
    asked: Sequence[Port], *, ipv6: bool, owner: Callable[[str, str, int], str | None]
) -> Ports:
    """Take the ports on the host; with *ipv6* also on its IPv6 addresses.

    *owner* may know who has a port that is in use.  Raises UsageError, SyscallError; nothing is
    taken then.
    """
    ports = Ports()
    try:
        for port in asked:
            _take_one(ports, port, ipv6, owner)
    except BaseException:
        ports.close()
        raise
    return ports


def _take_one(
    ports: Ports, port: Port, ipv6: bool, owner: Callable[[str, str, int], str | None]
) -> None:
    last = port.host_last or port.host_port
    tries = range(port.host_port, last + 1) if port.host_port else range(_TRIES)
    failed: OSError | None = None
    for number in tries:
        try:
            bound = _bind(port, number if port.host_port else 0, ipv6)
        except OSError as error:
            failed = error
            if error.errno == errno.EADDRINUSE:
                continue
            break
        ports.sockets += bound
        there = bound[0].getsockname()[1]
        ports.taken.append((port.protocol, port.host_ip, there, port.container_port))
        return
    raise _failure(port, failed, owner)


def _bind(port: Port, number: int, ipv6: bool) -> list[_socket.socket]:
    """Sockets of one number, on one address or on all."""
    if port.host_ip:
        return [_bound(port, port.host_ip, number)]
    found = [_bound(port, "0.0.0.0", number)]
    try:
        if ipv6:
            found.append(_bound(port, "::", found[0].getsockname()[1]))
    except BaseException:
        found[0].close()
        raise
    return found


def _bound(port: Port, address: str, number: int) -> _socket.socket:
    six = ":" in address
    kind = _KINDS[port.protocol] | _socket.SOCK_CLOEXEC
    sock = _socket.socket(_socket.AF_INET6 if six else _socket.AF_INET, kind, 0)
    try:
        if six:
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        if port.protocol == "tcp" and not six:
            # A connection of somebody before us, that is over, is no hindrance; who listens is.
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        sock.bind((address, number))
        if port.protocol == "tcp" and not six:
            sock.listen(1)
        # Over IPv6 nobody listens: what comes to ::1 is refused and not left waiting.
    except BaseException:
        sock.close()
        raise
    return sock


def _failure(
    port: Port, error: OSError | None, owner: Callable[[str, str, int], str | None]
) -> Exception:
    number = f"{port.host_port}-{port.host_last}" if port.host_last else str(port.host_port)
    where = f"{port.host_ip}:{number}" if port.host_ip else number
    what = f"publish port {where}/{port.protocol}"
    code = error.errno or 0 if error is not None else 0
    if code == errno.EADDRINUSE:
        whose = owner(port.protocol, port.host_ip, port.host_port) or process_at(
            port.protocol, port.host_port
        )
        return UsageError(
            f"{what}: it is in use{f' by {whose}' if whose else ''}",
            hint="choose another port of the host, or none: -p "
            f"{port.container_port}/{port.protocol}",
        )
    hints = {
        errno.EACCES: "ports below net.ipv4.ip_unprivileged_port_start are root's",
        errno.EADDRNOTAVAIL: "the host has no such address",
    }
    return SyscallError(
        f"{what}: {os.strerror(code)} ({errno.errorcode.get(code, str(code))})",
        errno=code, call="bind", target=where, hint=hints.get(code),
    )  # fmt: skip


def process_at(protocol: str, number: int) -> str | None:
    """The process that has a socket at a port, as far as /proc shows it: proc(5), /proc/net."""
    inodes = {inode for inode in _inodes(protocol, number) if inode != "0"}
    for pid in filter(str.isdigit, os.listdir("/proc")) if inodes else ():
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                link = os.readlink(f"/proc/{pid}/fd/{fd}")
                if link.startswith("socket:[") and link[8:-1] in inodes:
                    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                        return f"process {pid} ({file.read().strip()})"
        except OSError:
            continue
    return None


def _inodes(protocol: str, number: int) -> list[str]:
    found = []
    for family in ("", "6"):
        try:
            with open(f"/proc/net/{protocol}{family}", encoding="ascii") as file:
                lines = file.read().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            listens = protocol == "udp" or fields[3] == "0A"
            if listens and int(fields[1].rpartition(":")[2], 16) == number:
                found.append(fields[9])
    return found
