"""Which ids an ordinary user's namespace has: its own as root, and those of /etc/subuid after it.

What the files say is taken for what it may be worth: a range that holds the user's own id, that
another one overlaps, or that is beyond what the kernel takes in lines is left out; newuidmap(1),
which writes the map, compares what is left with the files again.
"""

from __future__ import annotations

from newroot.linux.idmap import MAX_LINES, IdMap, read_subids, rootless
from newroot.linux.user_namespaces import may_map, read_map
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SUBUID, SUBGID = "/etc/subuid", "/etc/subgid"


@record
class OwnIds:
    """The maps of a user's namespace, and why they are no longer."""

    uids: tuple[IdMap, ...]
    gids: tuple[IdMap, ...]
    by_us: bool = False  #: the maps are ours to write; else newuidmap(1)'s
    why_single: str = ""  #: empty: there is a range
    remedy: str = ""

    @property
    def is_single(self) -> bool:
        return bool(self.why_single)


def usable(own_id: int, subids: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The ranges (first, size) of *subids* that can stand in one map beside *own_id*, in order."""
    taken = [(own_id, 1)]
    found: list[tuple[int, int]] = []
    inside = 1  # where the next one would begin in the namespace
    for first, size in subids:
        overlaps = any(first < at + n and at < first + size for at, n in taken)
        if overlaps or inside + size > 2**32 - 1 or len(taken) == MAX_LINES:
            continue
        taken.append((first, size))
        found.append((first, size))
        inside += size
    return tuple(found)


def single(uid: int, gid: int, why: str, remedy: str = "") -> OwnIds:
    """Nothing but the user itself, as root."""
    return OwnIds(
        uids=rootless(uid, ()), gids=rootless(gid, ()), by_us=True, why_single=why, remedy=remedy
    )


def all_ids() -> OwnIds:
    """Every id that this process's own namespace has, as it is: for root of a container."""
    uids, gids = (
        tuple(IdMap(container_id=first, host_id=first, size=size) for first, _, size in maps)
        for maps in (read_map("self", "uid"), read_map("self", "gid"))
    )
    why = "this process's own namespace has no more" if sum(m.size for m in uids) == 1 else ""
    return OwnIds(uids=uids, gids=gids, by_us=True, why_single=why)


def own_ids(uid: int, gid: int, *, subuid: str = SUBUID, subgid: str = SUBGID) -> OwnIds:
    """The ids that *uid*'s namespace can have."""
    import pwd

    if uid == 0 and may_map():
        return all_ids()

    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)  # subuid(5) takes numbers too
    maps = []
    for path, number in ((subuid, uid), (subgid, gid)):
        # The groups' file is by the user's name or number as well: newgidmap(1).
        ranges = usable(number, read_subids(path, name=name, number=uid))
        if not ranges:
            return single(
                uid,
                gid,
                f"{path} gives {name} no range of ids",
                f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}",
            )
        maps.append(rootless(number, ranges))
    missing = [program for program in ("newuidmap", "newgidmap") if find_program(program) is None]
    if missing:
        return single(
            uid, gid, f"{missing[0]} is not there to map them", "install the package uidmap"
        )
    return OwnIds(uids=maps[0], gids=maps[1])


def find_program(name: str) -> str | None:
    """Where a program of the host's is: on PATH, or where distributions keep those of root."""
    import os

    for directory in (*os.environ.get("PATH", "").split(":"), "/usr/bin", "/usr/sbin", "/sbin"):
        if directory.startswith("/") and os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    return None
