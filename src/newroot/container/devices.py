"""``--device`` and ``--privileged``: the host's device nodes that a container gets.

A device that was asked for is a bind of the host's node, for on the container's own mounts no node
works: docs/decisions/0012-nodev-in-place-of-a-device-cgroup.md.  A privileged container's /dev is
an ordinary one, and has a node for each of the host's.
"""

from __future__ import annotations

import os
import stat

from newroot.errors import UsageError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.settings import Settings

#: Not the container's to have, even when it may have all else: they are made per container.
_OWN = frozenset(("pts", "shm", "mqueue", "fd", "stdin", "stdout", "stderr", "ptmx", "console"))

#: What moby's oci/defaults.go lets every container do beside the devices that it asked for.
_ALWAYS = (
    ("c", 1, 3),
    ("c", 1, 5),
    ("c", 1, 7),
    ("c", 1, 8),
    ("c", 1, 9),
    ("c", 5, 0),
    ("c", 5, 2),
)


@record
class Found:
    """The devices of one container, as parts of its OCI config."""

    mounts: tuple[dict[str, Any], ...] = ()
    nodes: tuple[dict[str, Any], ...] = ()  #: ``linux.devices``
    rules: tuple[dict[str, Any], ...] = ()  #: ``linux.resources.devices``


_NOTHING = Found()


def find_devices(settings: Settings) -> Found:
    """Look at the host's nodes that were asked for.  Raises UsageError for what is none."""
    if settings.privileged:
        return Found(nodes=tuple(_all_of("/dev")))
    if not settings.devices:
        return _NOTHING
    asked = [(device, _look(device.host_path)) for device in settings.devices]
    mounts = tuple(_bind(d.host_path, d.container_path) for d, _ in asked)
    if all(device.permissions == "rwm" for device, _ in asked):
        return Found(mounts=mounts)
    # Less than all of a device is only the device cgroup's to give.
    rules = [{"allow": False, "access": "rwm"}]
    rules += [_rule(kind, major, minor, "rwm") for kind, major, minor in _ALWAYS]
    rules.append({"allow": True, "type": "c", "major": 136, "access": "rwm"})  # /dev/pts
    for device, status in asked:
        major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        rules.append(_rule(_kind(status.st_mode) or "c", major, minor, device.permissions))
    return Found(mounts=mounts, rules=tuple(rules))


def _rule(kind: str, major: int, minor: int, access: str) -> dict[str, Any]:
    return {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}


def _bind(source: str, target: str) -> dict[str, Any]:
    # Read-only is the mount, so that nobody changes the mode of the host's node; not the device.
    options = ["bind", "nosuid", "noexec", "ro"]
    return {"destination": target, "type": "bind", "source": source, "options": options}


def _look(path: str) -> os.stat_result:
    try:
        status = os.stat(path)
    except OSError as error:
        raise UsageError(f"device {path}: {error.strerror}") from error
    if _kind(status.st_mode) is None:
        raise UsageError(f"device {path}: not a device node")
    return status


def _kind(mode: int) -> str | None:
    if stat.S_ISCHR(mode):
        return "c"
    return "b" if stat.S_ISBLK(mode) else None


def _all_of(directory: str) -> list[dict[str, Any]]:
    found = []
    for entry in sorted(os.scandir(directory), key=lambda e: e.name):
        if entry.name in _OWN and directory == "/dev":
            continue
        status = entry.stat(follow_symlinks=False)
        kind = _kind(status.st_mode)
        if kind is not None:
            found.append(_node(entry.path, kind, status))
        elif entry.is_dir(follow_symlinks=False):
            found += _all_of(entry.path)
    return found


def _node(path: str, kind: str, status: os.stat_result) -> dict[str, Any]:
    return {
        "path": path,
        "type": kind,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
