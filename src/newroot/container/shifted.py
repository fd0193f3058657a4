"""An image's files with other owners: a flat copy for each id map, made once and kept.

What an ordinary user has in place of an idmapped mount, which takes CAP_SYS_ADMIN over the disk's
file system: mount_setattr(2).

    <root>/shifted/<digest>/        the files, owned as the map has it
    <root>/shifted/<digest>.json    of which layers, and by which map
"""

from __future__ import annotations

import fcntl
import os

from newroot.errors import UnsupportedError
from newroot.linux.trees import remove_tree
from newroot.oci import json
from newroot.rootfs.copy_up import copy_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.rootfs.mount_ids import IdMaps, Ranges


def shifted(root: str, lower: tuple[str, ...], maps: IdMaps) -> str:
    """The directory with what *lower* (topmost first) shows, its owners shifted by *maps*.

    Raises UnsupportedError for an owner that the map does not have.
    """
    from hashlib import sha256

    about = json.dumps({"lower": list(lower), "maps": [[list(r) for r in m] for m in maps]})
    place = f"{root}/shifted/{sha256(about.encode()).hexdigest()}"
    if os.path.isdir(place):
        return place
    os.makedirs(f"{root}/shifted", mode=0o711, exist_ok=True)
    lock = os.open(f"{root}/shifted", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(place):  # else somebody made it meanwhile
            _remove_stale(f"{root}/shifted")
            remove_tree(f"{place}.new")
            copy_tree(lower, "/", f"{place}.new", own=_Owners(maps))
            with open(f"{place}.json", "w", encoding="utf-8") as file:
                file.write(about)
            os.rename(f"{place}.new", place)
    finally:
        os.close(lock)
    return place


class _Owners:
    """Owners on the disk become those that the map makes of them."""

    def __init__(self, maps: IdMaps) -> None:
        self._maps = maps

    def __call__(self, uid: int, gid: int) -> tuple[int, int]:
        uids, gids = self._maps
        return _shift(uids, uid, "user"), _shift(gids, gid, "group")


def _shift(ranges: Ranges, number: int, what: str) -> int:
    for inside, outside, size in ranges:
        if inside <= number < inside + size:
            return outside + number - inside
    raise UnsupportedError(
        f"the image has files of {what} {number}, whom the container's user namespace has not",
        feature="shifted owners",
        hint="a larger range in /etc/subuid and /etc/subgid, or --userns host",
    )


def _remove_stale(directory: str) -> None:
    """Copies of layers that are gone."""
    for name in os.listdir(directory):
        if not name.endswith(".json"):
            continue
        path = f"{directory}/{name}"
        with open(path, "rb") as file:
            about = json.loads(file.read(), what=path)
        layers = about.get("lower") if isinstance(about, dict) else None
        if isinstance(layers, list) and all(os.path.isdir(str(layer)) for layer in layers):
            continue
        remove_tree(path.removesuffix(".json"))
        os.unlink(path)
