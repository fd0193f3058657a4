"""Standard streams for a container, asked for as ``subprocess`` has them asked for."""

from __future__ import annotations

import os

from newroot.container.stdio import Stdio
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

#: The values of ``subprocess.PIPE`` and its siblings, without importing it.
PIPE, STDOUT, DEVNULL = -1, -2, -3


def open_stdio(stdin: Any = None, stdout: Any = None, stderr: Any = None) -> Stdio:
    """Descriptors for the three; None is this process's own, but for stdin: nothing.

    A container that is given nothing reads end of file, as one of Docker's without ``-i``.
    """
    fds: list[int] = []
    theirs: list[int] = []
    pipes: dict[str, IO[bytes]] = {}
    try:
        for number, (name, wish) in enumerate(
            (("stdin", DEVNULL if stdin is None else stdin), ("stdout", stdout), ("stderr", stderr))
        ):
            fds.append(_open(number, name, wish, fds, theirs, pipes))
    except BaseException:
        for fd in theirs:
            os.close(fd)
        for pipe in pipes.values():
            pipe.close()
        raise
    return Stdio(fds=(fds[0], fds[1], fds[2]), pipes=pipes, theirs=tuple(theirs))


def _open(
    number: int,
    name: str,
    wish: Any,
    fds: list[int],
    theirs: list[int],
    pipes: dict[str, IO[bytes]],
) -> int:
    if wish is None:
        return number
    if wish == PIPE:
        return _pipe(number, name, theirs, pipes)
    if wish == DEVNULL:
        theirs.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        return theirs[-1]
    if wish == STDOUT:
        if number != 2:
            raise UsageError(f"{name}=STDOUT: only stderr can go where stdout goes")
        return fds[1]
    if isinstance(wish, int):
        return wish
    return int(wish.fileno())


def _pipe(number: int, name: str, theirs: list[int], pipes: dict[str, IO[bytes]]) -> int:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    if number == 0:
        theirs.append(reader)
        pipes[name] = os.fdopen(writer, "wb", 0)
        return reader
    theirs.append(writer)
    pipes[name] = os.fdopen(reader, "rb", 0)
    return writer
