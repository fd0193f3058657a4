"""A process id means a process only together with when that process began.

The kernel gives ids again.  So whoever writes an id down for later writes the time beside it, and
whoever reads it compares, with a pidfd in hand that can no longer come to mean another.
"""

from __future__ import annotations

import os

#: Field 22 of proc_pid_stat(5), counted from the one behind the command.
_START_FIELD = 22 - 3


def start_ticks(pid: int) -> int | None:
    """When *pid* began, in clock ticks after boot; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command may hold spaces and parentheses.
    return int(stat[stat.rindex(b")") + 2 :].split()[_START_FIELD])


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
