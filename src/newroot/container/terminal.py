"""Our terminal and a container's are made one: what is typed here is read there, and back.

Ours is raw meanwhile, so that Ctrl-C is a character here and a signal there; it is restored on
every way out.  Its size is handed on whenever it changes: SIGWINCH.
"""

from __future__ import annotations

import _signal
import fcntl
import os
import select
import struct
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.container.process import Process

_PIECE = 65536
_WINSIZE = struct.Struct("HHHH")  # struct winsize: ioctl_tty(2)
_SIGWINCH = 28
_TIOCGPTPEER = 0x5441  # not in Python's termios before 3.13
_END_OF_FILE = b"\x04"  # as a person would type it


def window_size(fd: int) -> tuple[int, int]:
    """Rows and columns of a terminal; zeros for what is none."""
    try:
        packed = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(_WINSIZE.size))
    except OSError:
        return 0, 0
    rows, columns, _, _ = _WINSIZE.unpack(packed)
    return rows, columns


def set_window_size(fd: int, rows: int, columns: int) -> None:
    """Give a terminal its size; its foreground processes get SIGWINCH from the kernel."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, _WINSIZE.pack(rows, columns, 0, 0))


def relay(process: Process, *, interactive: bool, wakeup: int) -> None:
    """Pass bytes between our standard streams and the container's terminal until it has ended.

    *wakeup* becomes readable when a signal has come, whose handler has then something to do.
    """
    master = process.terminal_fd
    assert master is not None
    # While somebody has the container's end open, ours does not hang up, though all in there may
    # have closed it for a moment: ioctl_tty(2), TIOCGPTPEER.
    kept = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        with Raw(0 if interactive else -1), Resizing(lambda *size: set_window_size(master, *size)):
            _pump(process, master, interactive, wakeup)
    finally:
        os.close(kept)
        os.close(master)
        process.terminal_fd = None


class Raw:
    """A terminal in raw mode, as it was afterwards."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[Any] | None = None

    def __enter__(self) -> None:
        if self._fd < 0 or not os.isatty(self._fd):
            return
        self._before = termios.tcgetattr(self._fd)
        # As cfmakeraw(3) does it.
        iflag, oflag, cflag, lflag, ispeed, ospeed, cc = termios.tcgetattr(self._fd)
        iflag &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
            | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
        )  # fmt: skip
        oflag &= ~termios.OPOST
        cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        raw = [iflag, oflag, cflag, lflag, ispeed, ospeed, cc]
        termios.tcsetattr(self._fd, termios.TCSADRAIN, raw)

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            try:
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
            except termios.error:  # the terminal itself is gone
                pass


class Resizing:
    """The container's terminal follows the size of ours: *tell* is told rows and columns."""

    def __init__(self, tell: Callable[[int, int], object]) -> None:
        self._tell = tell

    def _follow(self, number: int, frame: object) -> None:
        rows, columns = window_size(0)
        if rows and columns:
            self._tell(rows, columns)

    def __enter__(self) -> None:
        self._before = _signal.signal(_SIGWINCH, self._follow)
        self._follow(_SIGWINCH, None)  # it may have changed since the start

    def __exit__(self, *error: object) -> None:
        _signal.signal(_SIGWINCH, self._before)


def _pump(process: Process, master: int, interactive: bool, wakeup: int) -> None:
    """Pass bytes on until the first process has ended.

    Never waits for the container to read: it may itself be waiting for us to read.
    """
    os.set_blocking(master, False)
    ended = process.fileno()
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(wakeup, select.POLLIN)
    typed = b""
    may_type = interactive
    while True:
        poll.register(master, select.POLLIN | (select.POLLOUT if typed else 0))
        if may_type and not typed:
            poll.register(0, select.POLLIN)
        ready = dict(poll.poll())
        if wakeup in ready:
            os.read(wakeup, _PIECE)
        if ready.get(master, 0) & select.POLLIN:
            write_all(1, _read(master))
        if typed:
            typed = typed[_write_some(master, typed) :]
        if 0 in ready:
            poll.unregister(0)  # until this has been taken
            typed = _read(0)
            may_type = bool(typed)
            typed = typed or _END_OF_FILE
        if ended in ready:
            return _drain(master)


def _drain(master: int) -> None:
    """What was written before the end is here: n_tty_read() waits for what is on its way."""
    while piece := _read(master):
        write_all(1, piece)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _PIECE)
    except OSError:  # EAGAIN; or EIO: nobody has the other end open any more, pty(7)
        return b""


def write_all(fd: int, data: bytes) -> None:
    """Write to a descriptor that may be non-blocking, for whoever shares it decides that."""
    while data:
        done = _write_some(fd, data)
        data = data[done:]
        if not done:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


def _write_some(fd: int, data: bytes) -> int:
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0
