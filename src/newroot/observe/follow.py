"""Mount tables followed live: the kernel says when one changes, and two looks say how.

/proc/PID/mountinfo polls as POLLPRI after a change (proc_pid_mounts(5)).  Of what comes and goes
between two looks nothing is seen.
"""

from __future__ import annotations

import os
import select

from newroot.linux.mountinfo import parse_mountinfo
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from newroot.linux.mountinfo import Mount


@record
class Event:
    """One change of a mount table."""

    action: str  #: ``mount``, ``umount``, ``move``, ``remount``, ``propagation``
    mount: Mount  #: as it is now; of ``umount`` as it was
    before: Mount | None = None


def follow(pid: int | str = "self", *, timeout_s: float | None = None) -> Iterator[Event]:
    """Yield what changes in the mount table of *pid*, until its last process has ended.

    Ends when nothing has changed for *timeout_s*.  Raises OSError when there is no such process.
    """
    with open(f"/proc/{pid}/mountinfo", "rb", buffering=0) as file:
        poll = select.poll()
        poll.register(file, select.POLLPRI)
        before = _by_id(file.read())
        while True:
            # The wait is cut up, for of a process that ends the table says nothing.
            if not _changed(poll, pid, timeout_s):
                return
            file.seek(0)
            after = _by_id(file.read())
            yield from compare(before, after)
            before = after


def _changed(poll: select.poll, pid: int | str, timeout_s: float | None) -> bool:
    left_ms = None if timeout_s is None else round(timeout_s * 1000)
    while left_ms is None or left_ms > 0:
        step = 500 if left_ms is None else min(500, left_ms)
        if poll.poll(step):
            return True
        if not os.path.exists(f"/proc/{pid}"):
            return False
        left_ms = None if left_ms is None else left_ms - step
    return False


def compare(before: dict[int, Mount], after: dict[int, Mount]) -> Iterator[Event]:
    """How one table, by mount id, became the other."""
    for key, old in before.items():
        if key not in after:
            yield Event(action="umount", mount=old)
    for key, new in after.items():
        was = before.get(key)
        if was is None:
            yield Event(action="mount", mount=new)
        elif (was.mount_point, was.parent) != (new.mount_point, new.parent):
            yield Event(action="move", mount=new, before=was)
        elif (was.options, was.super_options) != (new.options, new.super_options):
            yield Event(action="remount", mount=new, before=was)
        elif was != new:
            yield Event(action="propagation", mount=new, before=was)


def _by_id(table: bytes) -> dict[int, Mount]:
    return {mount.id: mount for mount in parse_mountinfo(table)}
