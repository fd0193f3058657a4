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

    from newroot.plan.launcher import Launcher

KEEP = Struct("=IIQIIIIQ")  #: struct keep in native/wire.h
KEEP_MAGIC = int.from_bytes(b"keep", "little")
KEEP_TERMINAL, KEEP_STDIN, KEEP_STDIN_ONCE, KEEP_PLAIN = 1, 2, 4, 8
RESTART_NO, RESTART_ON_FAILURE, RESTART_ALWAYS = 0, 1, 2

#: The first byte of each packet between a monitor and its visitors.
INPUT, CLOSE, SIZE, STOP = b"i", b"c", b"w", b"s"
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


def keep(
    launcher: Launcher,
    keeping: Keeping,
    plan: bytes,
    *,
    directory: int,
    run_directory: int,
    listener: int,
    streams: Sequence[int],
) -> int:
    """Hand the container over; return the monitor's process id.

    *directory* is where the log and exit.json go, *run_directory* where the process id is noted,
    *listener* a listening SOCK_SEQPACKET socket; *streams* are the terminal, or the reading ends
    of the command's output and errors and, with KEEP_STDIN, the writing end of its input.  All
    are still the caller's too.  Raises SyscallError when newroot-init is gone, and the container
    with it.
    """
    packet = KEEP.pack(
        KEEP_MAGIC,
        keeping.flags,
        keeping.clone_flags,
        keeping.restart,
        keeping.most_restarts,
        keeping.log_files,
        0,
        keeping.log_bytes,
    )
    memory = os.memfd_create("newroot-plan", os.MFD_CLOEXEC)
    try:
        with open(memory, "wb", buffering=0, closefd=False) as file:
            file.write(plan)
        return launcher.keep(packet, (memory, directory, run_directory, listener, *streams))
    finally:
        os.close(memory)
