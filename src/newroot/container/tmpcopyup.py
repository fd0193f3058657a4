"""``tmpcopyup``: a tmpfs that begins with what the root has at its place.

podman asks for it at every ``--tmpfs`` and for ``/run`` and ``/tmp`` of ``--read-only``, where an
image seldom has anything.  So it is looked whether there is something to be copied; only then the
word matters.
"""

from __future__ import annotations

import os

from newroot.errors import UnsupportedError
from newroot.linux.paths import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPTION = "tmpcopyup"


def without_tmpcopyup(mounts: list[dict[str, Any]], rootfs: str) -> list[dict[str, Any]]:
    """*mounts* without the word, where nothing would be copied.

    Raises UnsupportedError for a directory that is not empty: its files cannot be copied yet.
    """
    return [_settled(mount, f"/mounts/{i}", rootfs) for i, mount in enumerate(mounts)]


def _settled(mount: dict[str, Any], pointer: str, rootfs: str) -> dict[str, Any]:
    options = mount.get("options") or []
    if OPTION not in options:
        return mount
    if mount.get("type") == "tmpfs" and _has_content(rootfs, mount["destination"]):
        raise UnsupportedError(
            f"{pointer}: {OPTION} of {mount['destination']}, which is not empty",
            feature=OPTION,
            hint="leave the option out: the tmpfs then begins empty",
        )
    return {**mount, "options": [option for option in options if option != OPTION]}


def _has_content(rootfs: str, destination: str) -> bool:
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        fd = open_in_root(root, destination, flags)
        try:
            return bool(os.listdir(fd))
        finally:
            os.close(fd)
    except OSError:
        return False  # it is not there, or is no directory: whoever mounts will see to that
    finally:
        os.close(root)
