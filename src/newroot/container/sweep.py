"""What a killed newroot left behind is found and removed; every command does this first."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.container.storage import Claim, ContainerStorage
    from newroot.rootfs.volumes import VolumeStore


def sweep(storage: ContainerStorage, volumes: VolumeStore | None = None) -> int:
    """Remove the leftovers of every holder that is dead; return how many there were."""
    count = 0
    for claim in storage.abandoned():
        _end_cgroup(claim)
        remove = bool(claim.state.get("remove", True))
        has_record = os.path.exists(f"{claim.directory}/record.json")
        claim.release(remove=remove or not has_record)
        count += 1
    return count


def _end_cgroup(claim: Claim) -> None:
    path = claim.state.get("cgroup")
    if not isinstance(path, str):
        return
    from newroot.isolation.cgroups.cgroup import Cgroup
    from newroot.isolation.cgroups.detect import detect

    cgroup = Cgroup.find(path, host=detect())
    cgroup.kill()
    cgroup.remove()
