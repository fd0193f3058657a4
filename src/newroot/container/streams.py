"""A container's streams are given to its user, who could not open them by name otherwise.

``/dev/stdout`` in a container is a pipe or a file of whoever made the container, and a program that
is not root opens it by that name all the same: nginx's logs, for one.  runc gives them away too
(libcontainer/init_linux.go, fixStdioPermissions); a terminal of the caller's we leave the caller's.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_NULL = os.makedev(1, 3)


def give_streams(config: dict[str, Any], fds: Iterable[int]) -> None:
    """Make the user of *config*'s process the owner of *fds*; what cannot be given stays."""
    uid = _on_host(config, int((config["process"].get("user") or {}).get("uid") or 0))
    if uid is None:
        return
    for fd in fds:
        found = os.fstat(fd)
        is_device = stat.S_ISCHR(found.st_mode)
        if found.st_uid == uid or (is_device and (found.st_rdev == _NULL or os.isatty(fd))):
            continue
        try:
            os.fchown(fd, uid, -1)
        except OSError:  # not ours to give, or on a read-only file system
            pass


def _on_host(config: dict[str, Any], uid: int) -> int | None:
    """Who *uid* is out here; None where that is not known."""
    linux = config.get("linux") or {}
    spaces = {space.get("type"): space.get("path") for space in linux.get("namespaces") or ()}
    if "user" not in spaces:
        return uid
    for mapping in linux.get("uidMappings") or ():
        inside, size = mapping.get("containerID", 0), mapping.get("size", 0)
        if inside <= uid < inside + size:
            return int(mapping.get("hostID", 0)) + uid - int(inside)
    return None
