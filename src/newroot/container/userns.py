"""``--userns``: whose ids a container has, and where they come from.

    host            those of who starts it: for root the host's, for a user those of its namespace
    auto, private   a range of its own, that no other container has while it runs
    keep-id         the user outside is the same user inside, with uid= and gid= another one
    nomap           the subordinate ids alone: the user outside is nobody inside
    container:NAME  those of a container that runs

Root sees the files of layers and volumes through idmapped mounts (decision 0017).  A user may not
map the ids of a disk's file system, so the image is copied once for each map, its owners shifted,
and the copy is kept: shifted.py.
"""

from __future__ import annotations

import os

from newroot.errors import UnsupportedError, UsageError, WrongStatus
from newroot.linux.user_namespaces import read_map
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.storage import ContainerStorage
    from newroot.rootfs.mount_ids import IdMaps, Ranges

#: As many containers with a range of their own can a user have at once, with 65536 ids.
_AT_ONCE = 16


@record
class UserIds:
    """The ids of one container's user namespace, ours while *fd* is open."""

    maps: IdMaps
    fd: int = -1
    path: str | None = None  #: of a namespace that is there, to be joined
    shifts: bool = False  #: files are seen as they are on the disk: copies are shifted
    user: tuple[int, int] | None = None  #: who a command is, unless told otherwise

    @property
    def oci(self) -> dict[str, Any]:
        """The maps as parts of a runtime config's ``linux``."""
        return {
            key: [{"containerID": i, "hostID": o, "size": n} for i, o, n in ranges]
            for key, ranges in zip(("uidMappings", "gidMappings"), self.maps, strict=True)
        }

    @property
    def root(self) -> tuple[int, int]:
        """Who its root is, out here."""
        uid, gid = (_outside(ranges, 0) for ranges in self.maps)
        return uid, gid


def parse_userns(text: str) -> str:
    """Read ``--userns``; ``auto`` is ``private``.  Raises UsageError."""
    mode, _, options = text.partition(":")
    if mode in ("auto", "private", "host", "nomap") and not options and text == mode:
        return "private" if mode == "auto" else mode
    if mode == "container" and options:
        return text
    if mode == "keep-id":
        _keep_options(options)
        return text
    raise UsageError(
        f"invalid user namespace {text!r}",
        hint="auto, private, keep-id[:uid=N,gid=N], nomap, container:NAME or host",
    )


def find_ids(
    userns: str, storage: ContainerStorage, *, inner: bool, before: str | None = None
) -> UserIds | None:
    """The ids for a container that asks for *userns*; None where they are the caller's own.

    *inner*: the caller is in a user namespace itself; *before* is a container that may have run
    with ids of its own, to whom its files belong.  Raises UnsupportedError for what only an
    ordinary user can have, or where there are too few ids; NotFound, WrongStatus.
    """
    if userns.startswith("container:"):
        return _of_container(userns.partition(":")[2], storage, inner=inner)
    if not inner:
        return _for_root(userns, storage)
    uids, gids = (_count(kind) for kind in ("uid", "gid"))
    if min(uids, gids) < 2:
        raise UnsupportedError(
            "another user namespace for a container: this user has a single id",
            feature=f"--userns {userns}",
            hint="newroot doctor says how to have a range of them",
        )
    if userns == "private":
        return _piece(storage, min(uids, gids) - 1, before)
    if userns == "nomap":
        return UserIds(maps=(((0, 1, uids - 1),), ((0, 1, gids - 1),)), shifts=True)
    return _keep_id(userns, uids, gids)


def _for_root(userns: str, storage: ContainerStorage) -> UserIds:
    if userns != "private":
        raise UnsupportedError(
            f"--userns {userns} for root, who is no other user to be kept",
            feature=f"--userns {userns}",
            hint="--userns auto gives a container ids of its own",
        )
    from newroot.isolation.id_ranges import take_range

    taken = take_range(f"{storage.root}/ids")
    return UserIds(maps=taken.maps, fd=taken.fd)


def _piece(storage: ContainerStorage, count: int, before: str | None) -> UserIds:
    from newroot.isolation.id_ranges import take_piece

    size = max(1, min(65536, count // _AT_ONCE))
    firsts = range(1, count - size + 2, size)
    pieces = [(first, first, size) for first in firsts]
    hint = "stop a container that has one"
    own = recorded_maps(storage.directory(before)) if before is not None else None
    if own is not None:
        pieces = [(own[0][0][1], own[1][0][1], own[0][0][2])]
        hint = "its files belong to ids that another container has now: stop that one"
    taken = take_piece(f"{storage.root}/ids", pieces, hint=hint)
    return UserIds(maps=taken.maps, fd=taken.fd, shifts=True)


def recorded_maps(directory: str) -> IdMaps | None:
    """The maps of the container whose files are in *directory*, when it last ran."""
    from newroot.oci import json
    from newroot.rootfs.mount_ids import container_maps

    path = f"{directory}/config.json"
    try:
        with open(path, "rb") as file:
            config = json.loads(file.read(), what=path)
    except (OSError, UsageError):
        return None
    return container_maps(config.get("linux") or {}) if isinstance(config, dict) else None


def _keep_id(userns: str, uids: int, gids: int) -> UserIds:
    options = _keep_options(userns.partition(":")[2])
    uid, gid = options.get("uid"), options.get("gid")
    outside = [read_map("self", kind)[0][1] for kind in ("uid", "gid")]
    uid = outside[0] if uid is None else uid
    gid = outside[1] if gid is None else gid
    maps = _kept(uid, uids), _kept(gid, gids)
    return UserIds(maps=maps, shifts=True, user=(uid, gid))


def _kept(number: int, count: int) -> Ranges:
    """*number* inside is root's id here, the user's own; all others are those after it.

    >>> _kept(2, 10)
    ((0, 1, 2), (2, 0, 1), (3, 3, 7))
    """
    below = min(number, count - 1)
    above = count - 1 - below
    return (
        *(((0, 1, below),) if below else ()),
        (number, 0, 1),
        *(((number + 1, below + 1, above),) if above else ()),
    )


def _keep_options(text: str) -> dict[str, int]:
    found = {}
    for option in filter(None, text.split(",")):
        key, _, value = option.partition("=")
        if key not in ("uid", "gid") or not value.isascii() or not value.isdigit():
            raise UsageError(f"invalid option {option!r} of keep-id", hint="keep-id:uid=N,gid=N")
        if int(value) > 2**31 - 1:
            raise UsageError(f"keep-id: {value} is no id")
        found[key] = int(value)
    return found


def _of_container(name: str, storage: ContainerStorage, *, inner: bool) -> UserIds | None:
    container_id = storage.resolve(name)
    pid = storage.state(container_id).get("pid")
    if not isinstance(pid, int) or not storage.is_running(container_id):
        raise WrongStatus(
            f"share the ids of container {name}: it is not running",
            status="exited",
            wanted="running",
            hint=f"newroot start {name}",
        )
    path = f"/proc/{pid}/ns/user"
    if os.stat(path).st_ino == os.stat("/proc/self/ns/user").st_ino:
        return None
    maps = read_map(pid, "uid"), read_map(pid, "gid")
    from newroot.isolation.id_ranges import share_range

    fd = share_range(f"{storage.root}/ids", _outside(maps[0], 0))
    return UserIds(maps=maps, fd=fd, path=path, shifts=inner)


def _count(kind: str) -> int:
    return sum(size for _, _, size in read_map("self", kind))


def _outside(ranges: Ranges, inside: int) -> int:
    for first, outside, size in ranges:
        if first <= inside < first + size:
            return outside + inside - first
    return 65534  # nobody: proc_sys_kernel(5), overflowuid
