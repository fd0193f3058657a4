"""What a container will see of its cgroup, told from the cgroup itself.

For every way into a container: from settings (start.py) and from a bundle (bundle.py).
"""

from __future__ import annotations

from newroot.rootfs.cgroup_mount import CgroupView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.isolation.cgroups.cgroup import Cgroup
    from newroot.isolation.cgroups.detect import CgroupHost


def view_of(cgroup: Cgroup | None, host: CgroupHost) -> CgroupView:
    """The v1 hierarchies that *cgroup* is in; without one, or on v2, the unified hierarchy."""
    if cgroup is None or host.mode == "v2":
        return CgroupView(unified=host.unified is not None)
    v1 = [place for place in cgroup.places if place.hierarchy.version == 1]
    return CgroupView(
        v1=tuple(place.hierarchy.controllers for place in v1),
        directories=tuple(place.directory for place in v1),
    )
