"""A mount table with what it does not say itself: what lies over what, what an overlay is made
of, and which path of the host a bind shows.

The table is /proc/PID/mountinfo, which everybody may read.  What is beside it needs the process's
root, /proc/PID/root, which is its owner's and root's: where that is closed the fields are None.
"""

from __future__ import annotations

import os

from newroot.linux.mountinfo import read_mounts
from newroot.observe.overlay import open_overlay
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from newroot.linux.mountinfo import Mount
    from newroot.observe.overlay import Overlay

_DELETED = "//deleted"

#: File systems that the kernel makes, where a path on the host would say nothing.
_NO_FILES = frozenset(("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "nsfs"))


@record
class Origin:
    """The path of the host that shows the same files as a mount."""

    path: str
    dev: int | None = None  #: what stat(2) says of both, when both could be asked
    inode: int | None = None
    proven: bool = False  #: it was asked on both sides and is the same
    deleted: bool = False  #: the file or directory has been removed on the host


@record
class SeenMount:
    """One mount of a mount table, in its place."""

    mount: Mount
    depth: int  #: how many mounts it stands on
    hidden: bool  #: another mount lies over it, or over what it is in
    overlay: Overlay | None = None
    origin: Origin | None = None


def mounts(pid: int | str = "self", *, host: int | str | None = None) -> tuple[SeenMount, ...]:
    """What process *pid* sees mounted, each mount followed by those that stand on it.

    *host* is the process whose paths a bind is traced to: process 1 unless said otherwise.
    Raises OSError when there is no such process.
    """
    return look(read_mounts(pid), pid=pid, host=host)


def look(
    table: Iterable[Mount], *, pid: int | str, host: int | str | None = None
) -> tuple[SeenMount, ...]:
    """The same of a *table* that was read already."""
    table = tuple(table)
    ordered = in_order(table)
    hidden = hidden_ids([mount for mount, _ in ordered])
    tracer = _Tracer(table, pid, host_pid() if host is None else host)
    return tuple(
        SeenMount(
            mount=mount,
            depth=depth,
            hidden=mount.id in hidden,
            overlay=open_overlay(mount) if mount.fstype == "overlay" else None,
            origin=tracer.origin(mount, covered=mount.id in hidden),
        )
        for mount, depth in ordered
    )


def host_pid() -> int | str:
    """The process whose mounts are the host's: 1, or this one where 1 is not shown."""
    return 1 if os.access("/proc/1/mountinfo", os.R_OK) else "self"


def in_order(table: tuple[Mount, ...]) -> list[tuple[Mount, int]]:
    """Each mount with its depth, a parent before its children, those by id, as findmnt(8).

    The top of a table, or a mount whose parent this process does not see, has depth 0.
    """
    ids = {mount.id for mount in table}
    children: dict[int, list[Mount]] = {}
    tops = []
    for mount in table:
        if mount.parent in ids and mount.parent != mount.id:
            children.setdefault(mount.parent, []).append(mount)
        else:
            tops.append(mount)
    ordered: list[tuple[Mount, int]] = []
    todo = [(mount, 0) for mount in sorted(tops, key=_id, reverse=True)]
    while todo:
        mount, depth = todo.pop()
        ordered.append((mount, depth))
        below = children.pop(mount.id, ())
        todo += [(child, depth + 1) for child in sorted(below, key=_id, reverse=True)]
    return ordered


def hidden_ids(ordered: list[Mount]) -> set[int]:
    """Those that no path leads to: another mount lies over them, or over a directory above.

    *ordered* has a parent before its children.  A mount on the very root of its parent takes the
    parent's place, and hides what stands on the parent beside it.
    """
    at = {mount.id: mount.mount_point for mount in ordered}
    on: dict[int, dict[str, int]] = {}  # parent -> mount point -> the child that is there
    for mount in ordered:
        on.setdefault(mount.parent, {})[mount.mount_point] = mount.id
    lost: set[int] = set()  # those to whose very mount point no path leads
    covered: set[int] = set()  # those on whose root another lies
    for mount in ordered:
        beside = on[mount.parent]
        if mount.mount_point in on.get(mount.id, ()):
            covered.add(mount.id)
        if at.get(mount.parent) == mount.mount_point:  # it covers its parent
            is_lost = mount.parent in lost
        else:
            is_lost = (
                mount.parent in lost
                or mount.parent in covered
                or _is_below_another(mount, beside, at.get(mount.parent, "/"))
            )
        if is_lost:
            lost.add(mount.id)
    return lost | covered


def _is_below_another(mount: Mount, beside: dict[str, int], top: str) -> bool:
    """Whether a mount on the same parent lies over a directory on the way to this one."""
    path = mount.mount_point
    while path not in (top, "/", ""):
        if beside.get(path, mount.id) != mount.id:
            return True
        path = path.rpartition("/")[0]
    return False


class _Tracer:
    """Finds the host's path of what a mount shows."""

    def __init__(self, table: tuple[Mount, ...], pid: int | str, host: int | str) -> None:
        # No two mounts have one id, so tables that begin alike are of one namespace.  Of our own
        # the files can be asked without another process's root, which may be closed to us.
        first, ours, theirs = (table[0].id if table else None), _first_id("self"), _first_id(host)
        self.own = first == theirs
        self.root = "" if first == ours else f"/proc/{pid}/root"
        self.host = "" if theirs == ours else f"/proc/{host}/root"
        there = table if self.own else _read(host)
        covered = hidden_ids([mount for mount, _ in in_order(there)])
        self.by_dev: dict[tuple[int, int], dict[str, Mount]] = {}
        for mount in there:
            if mount.id not in covered:
                self.by_dev.setdefault(mount.dev, {}).setdefault(mount.root, mount)

    def origin(self, mount: Mount, *, covered: bool) -> Origin | None:
        """Where the files of *mount* are on the host, when it is a bind of something there."""
        if mount.fstype in _NO_FILES or (self.own and mount.root == "/"):
            return None
        deleted = mount.root.endswith(_DELETED)
        root = mount.root.removesuffix(_DELETED) if deleted else mount.root
        path = self._path(mount.dev, root, but=mount.id if self.own else None)
        if path is None:
            return None
        if deleted:
            return Origin(path=path, deleted=True)
        return self._proof(path, None if covered else mount.mount_point)

    def _path(self, dev: tuple[int, int], root: str, *, but: int | None) -> str | None:
        """The host's path of the directory *root* of file system *dev*."""
        by_root = self.by_dev.get(dev, {})
        above, rest = root, ""
        while True:
            found = by_root.get(above)
            if found is not None and found.id != but:
                return os.path.normpath(f"{found.mount_point}/{rest}").replace("//", "/")
            if above in ("/", ""):
                return None
            above, _, name = above.rpartition("/")
            above, rest = above or "/", f"{name}/{rest}" if rest else name

    def _proof(self, path: str, mount_point: str | None) -> Origin:
        """The ``ls -id`` proof: the same device and inode on both sides."""
        try:
            there = os.stat(f"{self.host}{path}")
            here = None if mount_point is None else os.stat(f"{self.root}{mount_point}")
        except OSError:
            return Origin(path=path)
        same = here is not None and os.path.samestat(here, there)
        return Origin(path=path, dev=there.st_dev, inode=there.st_ino, proven=same)


def _read(pid: int | str) -> tuple[Mount, ...]:
    try:
        return read_mounts(pid)
    except OSError:
        return ()


def _first_id(pid: int | str) -> int | None:
    """The id of the first mount that *pid* sees, without reading all of its table."""
    try:
        fd = os.open(f"/proc/{pid}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        digits = os.read(fd, 32).partition(b" ")[0]
        return int(digits) if digits else None
    finally:
        os.close(fd)


def _id(mount: Mount) -> int:
    return mount.id
