"""A container's processes, as this host's ps(1) shows them."""

from __future__ import annotations

import os

from newroot.errors import NewrootError, UnsupportedError, UsageError, WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from newroot.container.records import Container
    from newroot.container.storage import ContainerStorage


def processes_of(storage: ContainerStorage, found: Container) -> set[int]:
    """The ids of its processes: by its cgroup, else by its pid namespace.  Raises WrongStatus."""
    state = storage.state(found.id) if found.is_up else {}
    path, pid = state.get("cgroup"), state.get("pid")
    if not isinstance(pid, int):
        raise WrongStatus(
            f"list the processes of container {found.id[:12]}: it is not running",
            status=found.status,
            wanted="running",
        )
    if isinstance(path, str):
        from newroot.isolation.cgroups.cgroup import Cgroup
        from newroot.isolation.cgroups.detect import detect

        return set(Cgroup.find(path, host=detect()).processes())
    return _in_namespace_of(pid)


def _in_namespace_of(pid: int) -> set[int]:
    """All in the pid namespace of *pid*; *pid* alone where that is ours too."""
    own = _namespace(pid)
    if own is None or own == _namespace(os.getpid()):
        return {pid}
    found = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    return {each for each in found if _namespace(each) == own}


def _namespace(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def ps(arguments: Sequence[str]) -> str:
    """The output of ps: what it takes and what it prints is its own affair, as with runc."""
    import subprocess

    try:
        done = subprocess.run(["ps", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise UnsupportedError(
            "list processes as a table: there is no ps on this host",
            feature="ps",
            hint="install procps",
        ) from None
    if done.returncode:
        words = os.fsdecode(done.stderr or done.stdout).strip()
        raise NewrootError(f"ps {' '.join(arguments)}: exit status {done.returncode}: {words}")
    return os.fsdecode(done.stdout)


def lines_of(output: str, pids: set[int]) -> list[str]:
    """The heading of ps's *output*, and its lines for *pids*."""
    title, _, rest = output.partition("\n")
    titles = title.split()
    if "PID" not in titles:
        raise UsageError("couldn't find PID field in ps output", hint="have ps print it: -o pid,…")
    column = titles.index("PID")
    found = [title]
    for line in rest.splitlines():
        words = line.split()
        if len(words) > column and words[column].isdecimal() and int(words[column]) in pids:
            found.append(line)
    return found
