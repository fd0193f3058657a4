"""How far this process can be isolated here: four rungs, and why it is not the one above.

    root            capabilities over the mounts of its namespace: nothing has to be entered
    range           an ordinary user's namespace with a range of subordinate ids
    single          one with a single id: every file in it is the user's own
    none            no user namespace to be had

``newroot doctor`` names the rung; who needs more than there is raises with the same words.
"""

from __future__ import annotations

import os

from newroot.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from newroot.isolation.own_ids import OwnIds

    Name = Literal["root", "range", "single", "none"]


@record
class Rung:
    """Where on the ladder, why not higher, and what would help."""

    name: Name
    words: str
    why: str = ""  #: it is not the one above
    remedy: str = ""


def find_rung() -> Rung:
    """Try how far it goes here.  Changes nothing."""
    from newroot.isolation.own_ids import own_ids
    from newroot.linux.features import probe
    from newroot.linux.user_namespaces import is_in_user_namespace, may_mount

    if may_mount():
        return _in_namespace() if is_in_user_namespace() else Rung(name="root", words="root")
    found = probe("userns")
    if not found.works:
        why, remedy = why_none()
        return Rung(name="none", words="no user namespace to be had", why=why, remedy=remedy)
    return _of(own_ids(os.geteuid(), os.getegid()))


def _in_namespace() -> Rung:
    """Of a process that is in one already, ours or another's."""
    from newroot.isolation.own_ids import own_ids
    from newroot.linux.user_namespaces import read_map, root_outside

    count = sum(size for _, _, size in read_map("self", "uid"))
    if count > 1:
        return Rung(name="range", words=f"root of a user namespace with {count} ids")
    outside = root_outside() or 0
    found = own_ids(outside, outside)
    return replace(_of(found), name="single", words="root of a user namespace with a single id")


def _of(ids: OwnIds) -> Rung:
    if ids.is_single:
        words = "a user namespace with a single id"
        return Rung(name="single", words=words, why=ids.why_single, remedy=ids.remedy)
    count = sum(each.size for each in ids.uids)
    return Rung(name="range", words=f"a user namespace with {count} ids")


def why_none(error: int = 0) -> tuple[str, str]:
    """Why there are no user namespaces, as far as it can be told from outside, and the remedy."""
    for path, value, why, remedy in _SETTINGS:
        if _read(path) == value:
            return why, remedy
    if not os.path.exists("/proc/self/ns/user"):
        return "this kernel has no user namespaces", "a kernel with CONFIG_USER_NS"
    if _status("Seccomp") == "2":
        return (
            "a seccomp filter refuses them, an outer container's most likely",
            "run the outer container with --security-opt seccomp=unconfined, or --privileged",
        )
    if not _is_mount_point("/"):
        return "this process is in a chroot: user_namespaces(7)", "leave it, or pivot_root into it"
    return "the kernel refuses them" + (f": {os.strerror(error)}" if error else ""), "run as root"


_SETTINGS = (
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "user.max_user_namespaces is 0",
        "as root: sysctl -w user.max_user_namespaces=15000",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "kernel.unprivileged_userns_clone is 0",
        "as root: sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor lets no unconfined program have one (kernel.apparmor_restrict_unprivileged_userns"
        " is 1, as on Ubuntu since 23.10)",
        "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or a profile with "
        "'userns,' for newroot's Python: docs/rootless.md",
    ),
)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def _status(field: str) -> str:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        found = [line.partition(":")[2].strip() for line in file if line.startswith(f"{field}:")]
    return found[0] if found else ""


def _is_mount_point(path: str) -> bool:
    from newroot.linux.mountinfo import read_mounts

    return any(mount.mount_point == path for mount in read_mounts())
