"""What a killed newroot left behind is found and removed; every command does this first.

Whoever is about to change a container takes it here, and finds it whole.
"""

from __future__ import annotations

import os

from newroot.errors import NotFound, WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.storage import Claim, ContainerStorage
    from newroot.rootfs.volumes import VolumeStore

_PATIENCE_S = 10.0  #: who holds a container to change it does so for milliseconds
_PAUSE_S = 0.002  #: flock(2) cannot wait for a time


def sweep(storage: ContainerStorage, volumes: VolumeStore | None = None) -> int:
    """Remove the leftovers of every holder that is dead; return how many there were."""
    count = 0
    for claim in storage.abandoned():
        finish(storage, claim, volumes)
        count += 1
    if _has_responders(f"{storage.run_root}/networks"):
        from newroot.container.networking import networks_of
        from newroot.network.mending import mend_responders

        mend_responders(networks_of(storage))
    return count


def _has_responders(directory: str) -> bool:
    """Whether a network has ever had one; the usual network has none."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return False
    return any(os.path.exists(f"{directory}/{name}/names.lock") for name in names)


def finish(storage: ContainerStorage, claim: Claim, volumes: VolumeStore | None) -> None:
    """Clear away what a container has left that has ended; *claim* is no longer the caller's."""
    kills = _end_cgroup(claim)
    if claim.state.get("networks") is not None:
        from newroot.container.networking import release

        release(storage, claim.id, claim.state["networks"])
    # One that cannot be read is somebody's all the same.
    has_record = os.path.exists(f"{claim.directory}/record.json")
    # Who died before he had said what he wanted has not begun with it.
    remove = bool(claim.state.get("remove", False)) or not has_record
    ended = storage.exit(claim.id)
    if kills:
        storage.note(claim.id, "oom")
        if ended:  # its monitor could not say so
            storage.write(claim.id, "exit.json", {**ended, "oomKilled": True})
    if not remove:
        _settle(storage, claim)
    record = storage.record(claim.id)
    claim.release(remove=remove)
    if not remove:
        return
    if os.path.isdir(f"{storage.root}/snapshots"):
        from newroot.container.branch import collect_below

        collect_below(storage, record)
    if volumes is not None:
        remove_anonymous(volumes, record)


def remove_anonymous(volumes: VolumeStore, record: dict[str, Any]) -> None:
    """Remove the volumes that nobody named and that came with a container; one in use stays."""
    said = record.get("volumes")
    for name in said if isinstance(said, list) else ():
        try:
            volumes.remove(str(name), missing_ok=True)
        except WrongStatus:
            continue


def take(storage: ContainerStorage, container_id: str, *, visit: bool = False) -> Claim | None:
    """The lock of a container that does not run, once it is as a start would want it.

    None when it runs.  Who holds it for a moment, to change it or to clear up after it, is waited
    for.  With *visit* it is not to be started: others are told so.  Raises NotFound when it is
    gone.
    """
    from time import monotonic, sleep

    deadline = monotonic() + _PATIENCE_S
    while True:
        claim = storage.hold(container_id)
        if claim is None:
            if _runs(storage, container_id):
                return None
        elif claim.is_left_over():
            from newroot.rootfs.volumes import VolumeStore

            claim.state = storage.state(container_id)
            finish(storage, claim, VolumeStore(storage.root))
            continue
        elif not os.path.isdir(claim.directory):
            claim.release(remove=False)
            raise NotFound(f"no container {container_id[:12]}", hint="newroot ps -a shows all")
        else:
            _settle(storage, claim)
            if visit:
                claim.mark_visited()
            return claim
        if monotonic() > deadline:
            raise WrongStatus(
                f"take container {container_id[:12]}: somebody has held it for "
                f"{_PATIENCE_S:.0f} seconds, and does not run it",
                status="held",
                wanted="created or exited",
            )
        sleep(_PAUSE_S)


def _runs(storage: ContainerStorage, container_id: str) -> bool:
    """Whether who holds a container runs it, and is not only clearing up after it."""
    from newroot.container import attach
    from newroot.linux.processes import process_status, start_ticks

    state = storage.state(container_id)
    owner, pid = state.get("owner"), state.get("pid")
    if not isinstance(owner, int) or state.get("making"):
        return False
    if isinstance(pid, int) and start_ticks(pid) == state.get("startTicks"):
        return True
    if process_status(owner) is not None:
        return True  # it is being started, or its end is being written down
    return attach.tell(storage, container_id, b"")  # between two starts, by its restart policy


def _settle(storage: ContainerStorage, claim: Claim) -> None:
    # Only who has snapshots can have been left in the middle of one.
    if os.path.isdir(f"{storage.root}/snapshots"):
        from newroot.container.branch import settle

        settle(storage, claim)


def _end_cgroup(claim: Claim) -> int:
    """Remove its cgroup; return how many processes the kernel killed in it for want of memory."""
    path = claim.state.get("cgroup")
    if not isinstance(path, str):
        return 0
    from newroot.isolation.cgroups.cgroup import Cgroup
    from newroot.isolation.cgroups.detect import detect

    cgroup = Cgroup.find(path, host=detect())
    kills = cgroup.oom_kills()
    cgroup.kill()
    cgroup.remove()
    return kills
