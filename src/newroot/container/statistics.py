"""What a container uses: the numbers of ``docker stats``, from its cgroup and its interfaces.

A container without a cgroup (one in the foreground without a limit has none) is not counted by the
kernel; its numbers are then None.
"""

from __future__ import annotations

import os

from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.records import Container
    from newroot.container.storage import ContainerStorage
    from newroot.isolation.cgroups.cgroup import Cgroup


@record
class Usage:
    """One look.  None is "not counted"."""

    id: str
    name: str | None
    moment_ns: int  #: when it was looked, by the monotonic clock
    counted: bool = False  #: whether it has a cgroup
    cpu_ns: int | None = None
    running_ns: int = 0  #: how long it has run
    memory_bytes: int | None = None  #: without what of the page cache is not in use: Docker's rule
    memory_limit_bytes: int | None = None  #: its own, or all that the host has
    pids: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    received_bytes: int | None = None  #: over its own interfaces
    sent_bytes: int | None = None


def usage_of(storage: ContainerStorage, found: Container) -> Usage:
    """A look at one container; one that does not run uses nothing."""
    from time import monotonic_ns, time

    state = storage.state(found.id) if found.is_up else {}
    numbers: dict[str, Any] = {}
    path, pid = state.get("cgroup"), state.get("pid")
    if isinstance(path, str):
        numbers = _counted(path)
    if isinstance(pid, int):
        numbers["received_bytes"], numbers["sent_bytes"] = _traffic(pid)
    since = found.started if found.started is not None else found.created
    return Usage(
        id=found.id,
        name=found.name,
        moment_ns=monotonic_ns(),
        running_ns=max(int((time() - since) * 1e9), 1) if found.is_up else 0,
        **numbers,
    )


def _counted(path: str) -> dict[str, Any]:
    from newroot.isolation.cgroups.cgroup import Cgroup
    from newroot.isolation.cgroups.detect import detect

    cgroup = Cgroup.find(path, host=detect())
    if not cgroup.places:
        return {}
    stats = cgroup.stats()
    used = stats.memory_bytes
    return {
        "counted": True,
        "cpu_ns": stats.cpu_ns,
        "memory_bytes": None if used is None else max(used - _idle_cache(cgroup), 0),
        "memory_limit_bytes": _limit(cgroup),
        "pids": stats.pids,
        "read_bytes": stats.io_read_bytes,
        "written_bytes": stats.io_written_bytes,
    }


def _idle_cache(cgroup: Cgroup) -> int:
    """As docker stats: docker/cli, calculateMemUsageUnixNoCache()."""
    from newroot.isolation.cgroups import files

    directory = cgroup.directory_of("memory")
    stat = files.keyed_numbers(files.find(f"{directory}/memory.stat"))
    return stat.get("total_inactive_file", stat.get("inactive_file", 0))


def _limit(cgroup: Cgroup) -> int:
    from newroot.isolation.cgroups import files

    directory = cgroup.directory_of("memory")
    every = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = [
        files.find_number(f"{directory}/{name}")
        for name in ("memory.max", "memory.limit_in_bytes")
        if directory is not None
    ]
    return min([every, *(limit for limit in found if limit)])


def _traffic(pid: int) -> tuple[int | None, int | None]:
    """Bytes received and sent, but for the loopback: /proc/PID/net/dev, proc(5)."""
    try:
        same = os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")
        with open(f"/proc/{pid}/net/dev", encoding="ascii", errors="replace") as file:
            lines = [line.split() for line in file.read().replace(":", ": ").splitlines()[2:]]
    except OSError:
        return None, None
    if same:
        return None, None  # the host's own interfaces are not its
    own = [line for line in lines if line and line[0] != "lo:"]
    return sum(int(line[1]) for line in own), sum(int(line[9]) for line in own)
