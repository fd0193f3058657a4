"""The kernel's file systems that a container cannot have anew, and so has as its maker sees them.

In a user namespace /proc shows only a pid namespace of one's own, /sys a network namespace,
/sys/fs/cgroup a cgroup namespace and /dev/mqueue an IPC namespace; and neither of the first two
may be mounted where the one that there is has been masked by an outer container, for a new one
would show what is hidden: mount_namespaces(7), fs/namespace.c, mount_too_revealing().  There they
are bound.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from newroot.container.settings import Settings
    from newroot.linux.mountinfo import Mount

#: Nothing can be hidden by what is mounted on these, for they are always empty.
_EMPTY = ("/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd")
_EMPTY_BELOW = ("/sys/fs/", "/sys/kernel/", "/sys/firmware/efi")


def borrowed(settings: Settings, masked: frozenset[str]) -> frozenset[str]:
    """The places that *settings*' container has bound; *masked* are ``masked_places()``."""
    found = set(masked)
    if settings.pid == "host":
        found.add("/proc")
    if settings.network == "host":
        found.add("/sys")
    if settings.cgroupns == "host":
        found.add("/sys/fs/cgroup")
    if settings.ipc == "host":
        found.add("/dev/mqueue")
    return frozenset(found)


def masked_places(mounts: Iterable[Mount] | None = None) -> frozenset[str]:
    """Which of /proc and /sys has something hidden, here where we are."""
    if mounts is None:
        from newroot.linux.mountinfo import read_mounts

        mounts = read_mounts()
    points = [mount.mount_point for mount in mounts]
    return frozenset(place for place in ("/proc", "/sys") if _is_masked(place, points))


def _is_masked(place: str, points: list[str]) -> bool:
    below = [point for point in points if point.startswith(f"{place}/")]
    return place not in points or any(
        point not in _EMPTY and not point.startswith(_EMPTY_BELOW) for point in below
    )


def bind(place: str, *, readonly: bool) -> dict[str, object] | None:
    """The mount of a borrowed *place* as OCI says it; None where there is nothing to be had."""
    if not os.path.isdir(place):
        return None
    options = ["rbind", "rprivate", "nosuid", "noexec", "nodev", *(["rro"] if readonly else [])]
    return {"destination": place, "type": "bind", "source": place, "options": options}
