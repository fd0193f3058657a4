"""What the host holds of ours: a picture before and a picture after must be the same.

Looks at this process's own mount namespace, its descriptors, its descendants, the cgroups whose
path has *marker* in it, and the files below the directories that it is told.
"""

from __future__ import annotations

import os

from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike


@record
class HostState:
    """One picture of the host.  ``before.changes(after)`` says in words what differs."""

    mounts: frozenset[str]  #: lines of /proc/self/mountinfo, without the mount and parent ids
    processes: frozenset[str]  #: descendants of this process, "pid command"
    descriptors: frozenset[str]  #: open descriptors of this process, "number -> what"
    cgroups: frozenset[str]  #: directories below /sys/fs/cgroup that have the marker in their path
    files: frozenset[str]  #: every path below the given directories

    def changes(self, after: HostState) -> list[str]:
        """Every difference, one line each: ``+`` came, ``-`` went."""
        lines = []
        for kind in ("mounts", "processes", "descriptors", "cgroups", "files"):
            old, new = getattr(self, kind), getattr(after, kind)
            lines += [f"+ {kind}: {item}" for item in sorted(new - old)]
            lines += [f"- {kind}: {item}" for item in sorted(old - new)]
        return lines


def host_state(*directories: str | PathLike[str], marker: str = "newroot") -> HostState:
    """Take a picture of what the host has now, with the files below *directories*."""
    return HostState(
        mounts=_mounts(),
        processes=_descendants(os.getpid()),
        descriptors=_descriptors(),
        cgroups=_cgroups(marker),
        files=frozenset(path for directory in directories for path in _walk(os.fspath(directory))),
    )


def _mounts() -> frozenset[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return frozenset(line.split(" ", 2)[2].rstrip("\n") for line in file)


def _descriptors() -> frozenset[str]:
    found: set[str] = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            pass  # the descriptor of the listing itself
    return frozenset(found)


def _descendants(ancestor: int) -> frozenset[str]:
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                stat = file.read()
        except OSError:
            continue  # it ended while we looked
        # The command may hold spaces and parentheses: proc_pid_stat(5).
        command, _, rest = stat.partition("(")[2].rpartition(")")
        parents[int(name)] = int(rest.split()[1])
        commands[int(name)] = command
    return frozenset(
        f"{pid} {commands[pid]}" for pid in parents if _is_below(pid, ancestor, parents)
    )


def _is_below(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == ancestor:
            return True
    return False


def _cgroups(marker: str) -> frozenset[str]:
    return frozenset(
        directory for directory, _, _ in os.walk("/sys/fs/cgroup") if marker in directory
    )


def _walk(top: str) -> set[str]:
    found: set[str] = set()
    for directory, directories, files in os.walk(top):
        found.update(os.path.join(directory, name) for name in (*directories, *files))
    return found
