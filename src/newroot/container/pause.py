"""A container's processes are stopped where they are, and let go: the freezer, cgroups(7).

Asked of the kernel each time, so whoever else thaws it is seen.  A container whose cgroup has no
freezer yet (cgroup v1, in the foreground with a limit) is given one, and moved into it.
"""

from __future__ import annotations

from newroot.errors import UnsupportedError, WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.container.storage import ContainerStorage
    from newroot.isolation.cgroups.cgroup import Cgroup


def pause(storage: ContainerStorage, container_id: str) -> None:
    """Raises WrongStatus, UnsupportedError, and SyscallError when it does not stop in time."""
    cgroup = _cgroup(storage, container_id, "pause")
    if cgroup.is_frozen():
        raise WrongStatus(
            f"pause container {container_id[:12]}: it is paused already",
            status="paused",
            wanted="running",
        )
    cgroup.have_freezer()
    cgroup.freeze()
    storage.note(container_id, "pause")


def unpause(storage: ContainerStorage, container_id: str) -> None:
    """Raises WrongStatus when it is not paused."""
    cgroup = _cgroup(storage, container_id, "unpause")
    if not cgroup.is_frozen():
        raise WrongStatus(
            f"unpause container {container_id[:12]}: it is not paused",
            status="running",
            wanted="paused",
        )
    cgroup.thaw()
    storage.note(container_id, "unpause")


def _cgroup(storage: ContainerStorage, container_id: str, doing: str) -> Cgroup:
    if not storage.is_running(container_id):
        raise WrongStatus(
            f"{doing} container {container_id[:12]}: it is not running",
            status="exited",
            wanted="running",
        )
    from newroot.isolation.cgroups.cgroup import Cgroup
    from newroot.isolation.cgroups.detect import detect

    path = storage.state(container_id).get("cgroup")
    cgroup = Cgroup.find(path, host=detect()) if isinstance(path, str) else None
    if cgroup is None or not cgroup.places:
        raise UnsupportedError(
            f"{doing} container {container_id[:12]}: it has no cgroup to freeze it by",
            feature="freezer",
            hint="one that runs detached has one, and one in the foreground with a limit",
        )
    return cgroup
