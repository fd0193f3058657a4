"""How large the file systems are that a process sees, and how full: statvfs(3) through its root."""

from __future__ import annotations

import os

from newroot.linux.mountinfo import read_mounts
from newroot.observe.table import hidden_ids, in_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.linux.mountinfo import Mount

    Size = tuple[int, int, int]


def sizes(pid: int | str = "self") -> tuple[tuple[Mount, Size], ...]:
    """Each mount that a path leads to, with its bytes in all, used, and free for a user.

    Those of the kernel's own file systems, which have no size, are left out, and so is what this
    process may not look at.  Raises OSError when there is no such process.
    """
    ordered = [mount for mount, _ in in_order(read_mounts(pid))]
    hidden = hidden_ids(ordered)
    root = "" if pid == "self" else f"/proc/{pid}/root"
    found = []
    for mount in ordered:
        size = None if mount.id in hidden else _size(root + mount.mount_point)
        if size is not None and size[0]:
            found.append((mount, size))
    return tuple(found)


def _size(path: str) -> Size | None:
    try:
        said = os.statvfs(path)
    except OSError:
        return None
    used = said.f_blocks - said.f_bfree
    return said.f_blocks * said.f_frsize, used * said.f_frsize, said.f_bavail * said.f_frsize
