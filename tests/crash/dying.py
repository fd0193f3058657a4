"""A child that does something and is killed before the N-th change that it makes to a file."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

#: What changes files, of the calls that Python code makes.
CHANGING = {
    "chmod", "close", "fchmod", "fchown", "flock", "fsync", "ftruncate", "link", "mkdir", "mknod",
    "open", "rename", "rmdir", "sendfile", "setxattr", "symlink", "truncate", "unlink", "utime",
    "write",
}  # fmt: skip


def die_at(number: int, action: Callable[[], None]) -> int:
    """Do *action* in a child that dies before its *number*-th change; its wait status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    left = number

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal left
        if event == "c_call" and getattr(argument, "__name__", "") in CHANGING:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(count)
    sys.setprofile(count)
    code = 1
    try:
        action()
        code = 0
    finally:
        sys.setprofile(None)
        os._exit(code)


def calls_of(action: Callable[[], None]) -> int:
    """How many changes *action* makes, roughly: it is done."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "c_call" and getattr(argument, "__name__", "") in CHANGING

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return count
