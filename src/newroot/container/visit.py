"""``attach``: our standard streams are the container's while we visit its monitor.

Never waits for the monitor to take what is typed while it waits for us to take what is said.
With a terminal ours is raw, and a sequence of keys leaves the container to itself.
"""

from __future__ import annotations

import _socket
import os
import select

from newroot.container.terminal import Raw, Resizing, write_all
from newroot.errors import UsageError
from newroot.plan import keep as k

DETACH_KEYS = "ctrl-p,ctrl-q"


class Left(Exception):
    """The keys were typed.  Never leaves this module."""


def visit(
    sock: _socket.socket,
    *,
    terminal: bool,
    interactive: bool,
    detach_keys: str = DETACH_KEYS,
    wakeup: int = -1,
) -> int | None:
    """Stay until the container has ended; its exit code, 128+n after signal n.

    None when the keys to leave were typed, or the monitor was killed.  *wakeup* becomes readable
    when a signal has come, whose handler has then something to do.  *sock* is closed.
    """
    keys = parse_keys(detach_keys)
    try:
        if not terminal:
            return _Visit(sock, interactive, b"", wakeup).stay()

        def resize(rows: int, columns: int) -> None:
            sock.send(k.SIZE + rows.to_bytes(2, "little") + columns.to_bytes(2, "little"))

        with Raw(0 if interactive else -1), Resizing(resize):
            return _Visit(sock, interactive, keys, wakeup).stay()
    except Left:
        return None
    finally:
        sock.close()


def parse_keys(text: str) -> bytes:
    """``ctrl-p,ctrl-q``: the bytes that a terminal sends for these keys.  Raises UsageError."""
    return b"".join(map(_key, text.split(","))) if text else b""


def _key(name: str) -> bytes:
    if len(name) == 1 and name.isascii():
        return name.encode()
    last = name.removeprefix("ctrl-")
    if len(name) == 6 and len(last) == 1 and last in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
        return bytes([ord(last.upper()) & 0x1F])
    raise UsageError(f"invalid detach key {name!r}", hint="a letter, or ctrl- and one: ctrl-p")


class _Visit:
    def __init__(self, sock: _socket.socket, interactive: bool, keys: bytes, wakeup: int) -> None:
        self._sock = sock
        self._may_type = interactive
        self._keys = keys
        self._met = 0  #: how many of the keys were typed
        self._wakeup = wakeup
        self._pending: list[bytes] = []  #: packets, the next first

    def stay(self) -> int | None:
        """Raises Left."""
        self._sock.setblocking(False)
        fd = self._sock.fileno()
        while True:
            wanted = {fd: select.POLLIN | (select.POLLOUT if self._pending else 0)}
            if self._may_type and not self._pending:
                wanted[0] = select.POLLIN
            if self._wakeup >= 0:
                wanted[self._wakeup] = select.POLLIN
            ready = _poll(wanted)
            if self._wakeup in ready:
                os.read(self._wakeup, 4096)
            if ready.get(fd, 0) & (select.POLLIN | select.POLLHUP):
                code, over = self._hear()
                if over:
                    return code
            if 0 in ready:
                self._type()
            self._send()

    def _hear(self) -> tuple[int | None, bool]:
        try:
            packet = self._sock.recv(1 + k.MOST_DATA)
        except BlockingIOError:
            return None, False
        kind, data = packet[:1], packet[1:]
        if kind == k.OUTPUT:
            write_all(1, data)
        elif kind == k.ERRORS:
            write_all(2, data)
        elif kind == k.END:
            return data[1] + (128 if data[0] else 0), True
        return None, not packet

    def _type(self) -> None:
        data = os.read(0, k.MOST_DATA)
        if not data:
            self._may_type = False
            self._pending.append(k.CLOSE)
            return
        data = self._without_keys(data)
        if data:
            self._pending.append(k.INPUT + data)

    def _without_keys(self, data: bytes) -> bytes:
        """What is for the container; the beginning of the keys is kept until it is known."""
        if not self._keys:
            return data
        passed = bytearray()
        for byte in data:
            while self._met and byte != self._keys[self._met]:
                passed += self._keys[: self._met]
                self._met = 0
            if byte != self._keys[self._met]:
                passed.append(byte)
                continue
            self._met += 1
            if self._met == len(self._keys):
                raise Left
        return bytes(passed)

    def _send(self) -> None:
        while self._pending:
            try:
                self._sock.send(self._pending[0])
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                self._pending.clear()  # it is over, and will say so
                return
            del self._pending[0]


def _poll(wanted: dict[int, int]) -> dict[int, int]:
    poll = select.poll()
    for fd, events in wanted.items():
        poll.register(fd, events)
    return dict(poll.poll())
