"""``--device`` and ``--privileged`` become entries of OCI's ``linux.devices``."""

from __future__ import annotations

import os
import stat

from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.settings import Settings

#: Not the container's to have, even when it may have all else: they are made per container.
_OWN = frozenset(("pts", "shm", "mqueue", "fd", "stdin", "stdout", "stderr", "ptmx", "console"))


def find_devices(settings: Settings) -> list[dict[str, Any]]:
    """Look at the host's nodes that were asked for.  Raises UsageError for what is none."""
    found = [_device(d.host_path, d.container_path) for d in settings.devices]
    if settings.privileged:
        taken = {device["path"] for device in found}
        found += [d for d in _all_of("/dev") if d["path"] not in taken]
    return found


def _device(host_path: str, container_path: str) -> dict[str, Any]:
    try:
        status = os.stat(host_path)
    except OSError as error:
        raise UsageError(f"device {host_path}: {error.strerror}") from error
    kind = _kind(status.st_mode)
    if kind is None:
        raise UsageError(f"device {host_path}: not a device node")
    return _entry(container_path, kind, status)


def _kind(mode: int) -> str | None:
    if stat.S_ISCHR(mode):
        return "c"
    return "b" if stat.S_ISBLK(mode) else None


def _entry(path: str, kind: str, status: os.stat_result) -> dict[str, Any]:
    return {
        "path": path,
        "type": kind,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


def _all_of(directory: str) -> list[dict[str, Any]]:
    found = []
    for entry in sorted(os.scandir(directory), key=lambda e: e.name):
        if entry.name in _OWN and directory == "/dev":
            continue
        status = entry.stat(follow_symlinks=False)
        kind = _kind(status.st_mode)
        if kind is not None:
            found.append(_entry(entry.path, kind, status))
        elif entry.is_dir(follow_symlinks=False):
            found += _all_of(entry.path)
    return found
