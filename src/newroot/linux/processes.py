"""A process id means a process only together with when that process began.

The kernel gives ids again.  So whoever writes an id down for later writes the time beside it, and
whoever reads it compares, with a pidfd in hand that can no longer come to mean another.
"""

from __future__ import annotations

import os

from newroot.record import record

#: Field 22 of proc_pid_stat(5), counted from the one behind the command.
_START_FIELD = 22 - 3


@record
class ProcessStatus:
    """What proc_pid_stat(5) says of a process, in one reading."""

    name: str  #: its command, or what it calls itself: prctl(2), PR_SET_NAME
    state: str  #: R S D Z T …; Z has ended and was not waited for, X is gone
    start_ticks: int  #: when it began, in clock ticks after boot


def process_status(pid: int) -> ProcessStatus | None:
    """What *pid* is and does; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command may hold spaces and parentheses.
    end = stat.rindex(b")")
    fields = stat[end + 2 :].split()
    return ProcessStatus(
        name=stat[stat.index(b"(") + 1 : end].decode("utf-8", "replace"),
        state=fields[0].decode(),
        start_ticks=int(fields[_START_FIELD]),
    )


def start_ticks(pid: int) -> int | None:
    """When *pid* began, in clock ticks after boot; None when there is no such process."""
    status = process_status(pid)
    return None if status is None else status.start_ticks


def send_signal(pid: int, began: int | None, signal: int) -> bool:
    """Send *signal* to the process that had *pid* and *began* then; False when it is no more."""
    import _signal

    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if start_ticks(pid) != began:
            return False
        _signal.pidfd_send_signal(fd, signal)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True
