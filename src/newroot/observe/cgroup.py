"""The control files of a process's cgroup and their values, on cgroup v1 and v2.

A hierarchy is named by its number in /proc/PID/cgroup, by a controller (``memory``), by a name
(``name=systemd``), or is v2 (0).  Some files cannot be read, or only be written; they are named
without a value.
"""

from __future__ import annotations

import os

from newroot.errors import NotFound
from newroot.linux.mountinfo import read_mounts
from newroot.observe.process import read_file
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@record
class CgroupView:
    """One cgroup that a process is in."""

    hierarchy: int  #: 0 is cgroup v2
    controllers: tuple[str, ...]
    path: str  #: as /proc/PID/cgroup has it
    directory: str | None  #: where it is in the file system; None when it is not mounted here

    @property
    def version(self) -> int:
        return 1 if self.hierarchy else 2

    def files(self) -> tuple[str, ...]:
        """The names of its control files, sorted."""
        if self.directory is None:
            return ()
        with os.scandir(self.directory) as entries:
            return tuple(sorted(entry.name for entry in entries if entry.is_file()))

    def value(self, file: str) -> str | None:
        """What the control file *file* holds; None when it is not there or not to be read."""
        if self.directory is None or "/" in file or file in ("", ".", ".."):
            return None
        data = read_file(f"{self.directory}/{file}")
        return None if data is None else os.fsdecode(data).rstrip("\n")


def cgroups_of(pid: int) -> tuple[CgroupView, ...]:
    """Every cgroup that process *pid* is in, v2 last.  Raises NotFound without such a process."""
    text = read_file(f"/proc/{pid}/cgroup")
    if text is None:
        raise NotFound(f"no process {pid}")
    mounted = _mounted()
    return tuple(_views(os.fsdecode(text), mounted))


def find_cgroup(pid: int, hierarchy: str = "") -> CgroupView:
    """The cgroup of *pid* in *hierarchy*; by default v2's if it has control files, else the first.

    Raises NotFound.
    """
    views = cgroups_of(pid)
    if hierarchy:
        for view in views:
            if hierarchy == str(view.hierarchy) or hierarchy in view.controllers:
                return view
        there = ", ".join(",".join(view.controllers) or "0" for view in views)
        raise NotFound(f"process {pid} is in no cgroup hierarchy {hierarchy!r}", hint=there)
    with_files = [view for view in (*views[-1:], *views) if view.directory is not None]
    if not with_files:
        raise NotFound(f"no cgroup of process {pid} is mounted here")
    return with_files[0]


def _views(text: str, mounted: list[tuple[frozenset[str], str, str]]) -> Iterator[CgroupView]:
    for line in text.split("\n"):
        number, colon, rest = line.partition(":")
        if not colon:
            continue
        names, _, path = rest.partition(":")
        controllers = tuple(name for name in names.split(",") if name)
        yield CgroupView(
            hierarchy=int(number),
            controllers=controllers,
            path=path,
            directory=_directory(controllers, path, mounted),
        )


def _mounted() -> list[tuple[frozenset[str], str, str]]:
    """(controllers, which cgroup is at its top, where) of each hierarchy that is mounted here."""
    found = []
    for mount in read_mounts():
        if mount.fstype == "cgroup2":
            found.append((frozenset[str](), mount.root, mount.mount_point))
        elif mount.fstype == "cgroup":
            found.append((frozenset(mount.super_options), mount.root, mount.mount_point))
    return found


def _directory(
    controllers: tuple[str, ...], path: str, mounted: list[tuple[frozenset[str], str, str]]
) -> str | None:
    for options, root, mount_point in mounted:
        if frozenset(controllers) <= options if controllers else not options:
            below = path.removeprefix(root.rstrip("/"))
            directory = f"{mount_point}/{below.lstrip('/')}".rstrip("/")
            if path.startswith(root.rstrip("/")) and os.path.isdir(directory):
                return directory
    return None
