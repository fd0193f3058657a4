"""A launcher becomes the monitor of the one container that it has: native/monitor.c.

From then on it belongs to nobody.  It keeps the container's streams, its log and its end, and
begins it anew by the same plan where that is wished.
"""

from __future__ import annotations

import os
from struct import Struct

from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import FileIO

    from newroot.plan.launcher import Launcher

KEEP = Struct("=IIQIIIIQIIII64s")  #: struct keep in native/wire.h
KEEP_MAGIC = int.from_bytes(b"keep", "little")
KEEP_TERMINAL, KEEP_STDIN, KEEP_STDIN_ONCE, KEEP_PLAIN = 1, 2, 4, 8
KEEP_LAST_ACT, KEEP_AGAIN_BY_ACT = 16, 32
RESTART_NO, RESTART_ON_FAILURE, RESTART_ALWAYS = 0, 1, 2

#: The first byte of each packet between a monitor and its visitors.
INPUT, CLOSE, SIZE, STOP, POLICY = b"i", b"c", b"w", b"s", b"p"
OUTPUT, ERRORS, END = b"o", b"e", b"x"
MOST_DATA = 32768  #: in one packet, after that byte


@record
class Keeping:
    """How a container is to be kept."""

    flags: int  #: KEEP_*
    clone_flags: int  #: as it was started
    restart: int = RESTART_NO
    most_restarts: int = 0  #: for RESTART_ON_FAILURE; 0: no end of them
    log_files: int = 1  #: 0: no log
    log_bytes: int = 0  #: in one file; 0: no limit
    id: str = ""  #: the container's, 64 letters
    restarts: int = 0  #: how often it has begun anew already
    delay_ms: int = 0  #: that it had before it began anew last
    check_ms: int = 0  #: how long after a health check the next one is; 0: there is none
    act: tuple[str, ...] = ()  #: the command that KEEP_LAST_ACT and KEEP_AGAIN_BY_ACT mean


def keep(
    launcher: Launcher,
    keeping: Keeping,
    plan: bytes,
    *,
    directory: int,
    run_directory: int,
    listener: int,
    events: int,
    streams: Sequence[int],
    own: Sequence[int] = (),
) -> int:
    """Hand the container over; return the monitor's process id.

    *directory* is where the log and exit.json go, *run_directory* where the process id is noted,
    *events* where what happens is (linux/journal.py), *listener* a listening SOCK_SEQPACKET socket;
    *streams* are the terminal, or the reading ends of the command's output and errors and, with
    KEEP_STDIN, the writing end of its input; *own* are the plan's own.  All are still the caller's
    too.  Raises SyscallError when newroot-init is gone, and the container with it.
    """
    packet = KEEP.pack(
        KEEP_MAGIC,
        keeping.flags,
        keeping.clone_flags,
        keeping.restart,
        keeping.most_restarts,
        keeping.log_files,
        keeping.restarts,
        keeping.log_bytes,
        keeping.delay_ms,
        len(own),
        keeping.check_ms,
        0,
        keeping.id.encode(),
    )
    words = b"".join(os.fsencode(word) + b"\0" for word in keeping.act)
    with _memory(plan) as kept, _memory(words) as act:
        fds = (kept.fileno(), directory, run_directory, listener, events, act.fileno())
        return launcher.keep(packet, (*fds, *streams, *own))


def _memory(data: bytes) -> FileIO:
    """A file in memory with *data* in it."""
    file = open(os.memfd_create("newroot-plan", os.MFD_CLOEXEC), "wb", buffering=0)
    file.write(data)
    return file
