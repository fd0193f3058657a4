"""What a killed newroot left behind is found and removed; every command does this first."""

from __future__ import annotations

from newroot.errors import WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.storage import Claim, ContainerStorage
    from newroot.rootfs.volumes import VolumeStore


def sweep(storage: ContainerStorage, volumes: VolumeStore | None = None) -> int:
    """Remove the leftovers of every holder that is dead; return how many there were."""
    count = 0
    for claim in storage.abandoned():
        finish(storage, claim, volumes)
        count += 1
    return count


def finish(storage: ContainerStorage, claim: Claim, volumes: VolumeStore | None) -> None:
    """Clear away what a container has left that has ended; *claim* is no longer the caller's."""
    kills = _end_cgroup(claim)
    record = storage.record(claim.id)
    # Who died before he had said what he wanted has not begun with it.
    remove = bool(claim.state.get("remove", False)) or not record
    ended = storage.exit(claim.id)
    if kills:
        storage.note(claim.id, "oom")
        if ended:  # its monitor could not say so
            storage.write(claim.id, "exit.json", {**ended, "oomKilled": True})
    claim.release(remove=remove)
    if remove and volumes is not None:
        remove_anonymous(volumes, record)


def remove_anonymous(volumes: VolumeStore, record: dict[str, Any]) -> None:
    """Remove the volumes that nobody named and that came with a container; one in use stays."""
    said = record.get("volumes")
    for name in said if isinstance(said, list) else ():
        try:
            volumes.remove(str(name), missing_ok=True)
        except WrongStatus:
            continue


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
