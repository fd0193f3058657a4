"""Other people's programs, and Python of our own, started without ``subprocess``: 20 ms to import.

posix_spawn(3) costs no copy of this process.  What is started gets an empty environment but for a
search path, and no descriptor that was not meant for it: ours are all close-on-exec.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": _PATH, "LC_ALL": "C.UTF-8"}


def spawn(argv: Sequence[str], fds: dict[int, int], *, apart: bool = False) -> int:
    """Start a program; its descriptors are *fds*, its own number first, and the null device.

    With *apart* it is in a session of its own.  Raises OSError.
    """
    actions: list[tuple[int, ...] | tuple[object, ...]] = []
    for number in (0, 1, 2):
        if number not in fds:
            actions.append((os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0))
    actions += [(os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in fds.items()]
    return os.posix_spawn(
        argv[0],
        list(argv),
        ENVIRONMENT,
        file_actions=actions,
        setsid=apart,
        setsigmask=[],
        setsigdef=range(1, 32),
    )


def run_with_input(argv: Sequence[str], data: bytes) -> tuple[int, bytes]:
    """Run a program to its end on *data*; its exit code, and what it said on both streams."""
    given = os.memfd_create("newroot-input", os.MFD_CLOEXEC)
    try:
        while data:
            data = data[os.write(given, data) :]
        os.lseek(given, 0, os.SEEK_SET)
        return run(argv, {0: given}, said=(1, 2))
    finally:
        os.close(given)


def run(
    argv: Sequence[str], fds: dict[int, int], *, said: tuple[int, ...] = (2,)
) -> tuple[int, bytes]:
    """Run a program to its end on *fds*; its exit code, and what came on the streams *said*."""
    output = os.memfd_create("newroot-output", os.MFD_CLOEXEC)
    try:
        pid = spawn(argv, {**fds, **dict.fromkeys(said, output)})
        _, status = os.waitpid(pid, 0)
        size = os.lseek(output, 0, os.SEEK_END)
        return os.waitstatus_to_exitcode(status), os.pread(output, min(size, 65536), 0)
    finally:
        os.close(output)


def python_argv(module: str, *arguments: str) -> list[str]:
    """A command that runs ``main(arguments)`` of a module of ours, found as this process does."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main; main(sys.argv[1:])"
    return [sys.executable, "-I", "-S", "-c", code, *arguments]
