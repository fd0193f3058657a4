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
        kills = _end_cgroup(claim)
        has_record = os.path.exists(f"{claim.directory}/record.json")
        # Who died before he had said what he wanted has not begun with it.
        remove = bool(claim.state.get("remove", False))
        ended = storage.exit(claim.id)
        if kills and ended:  # its monitor could not say so
            storage.write(claim.id, "exit.json", {**ended, "oomKilled": True})
        claim.release(remove=remove or not has_record)
        count += 1
    return count


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
