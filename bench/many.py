"""A host with many processes and many mounts, of its own: then the command that is to be timed.

    unshare --mount --pid --fork --kill-child --mount-proc python many.py PROCESSES MOUNTS COMMAND…

All goes away with the namespaces.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile

MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000


def main() -> None:
    processes, mounts, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    make_mounts(mounts)
    for _ in range(processes):
        if os.fork() == 0:
            signal.pause()
    # Not exec: the command would be the parent of the crowd, and some wait for all their children.
    child = os.fork()
    if child == 0:
        os.execvp(command[0], command)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def make_mounts(count: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str, target: str, kind: str | None, flags: int) -> None:
        words = [word.encode() if word is not None else None for word in (source, target, kind)]
        if libc.mount(*words, flags, None) != 0:
            raise OSError(ctypes.get_errno(), f"mount {target}")

    mount("none", "/", None, MS_REC | MS_PRIVATE)
    place = tempfile.mkdtemp()
    mount("many", place, "tmpfs", 0)
    os.mkdir(f"{place}/source")
    for number in range(count):
        os.mkdir(f"{place}/{number}")
        mount(f"{place}/source", f"{place}/{number}", None, MS_BIND)


if __name__ == "__main__":
    main()
