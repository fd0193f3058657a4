"""Ranges of ids for user namespaces, given to one container each: subuid(5).

The ranges are those that /etc/subuid and /etc/subgid give to ``containers``, as podman's
``--userns auto`` has them, in pieces of 65536.  Without such an entry they are 2^31 and above,
where the entry that podman's manual page suggests is too, less what those files give to anybody.

Who uses a piece holds a lock on one byte of a file, through an open file description (fcntl(2),
F_OFD_SETLK): given to the launcher, the lock ends with the container, whatever is killed when.
Two roots of newroot's do not know of each other.
"""

from __future__ import annotations

import fcntl
import os
from struct import Struct

from newroot.errors import UnsupportedError
from newroot.linux.idmap import MAX_ID, read_subids
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Ranges = tuple[tuple[int, int, int], ...]

PIECE = 65536
OWNER = "containers"
_DEFAULT = (2**31, MAX_ID - 2**31 + 1 - PIECE)

_FLOCK = Struct("hhqqi4x")  # struct flock of a 64-bit kernel
_F_OFD_SETLK = 37


@record
class IdRange:
    """As many ids as *size*, from *uid* and *gid* on, that are ours while *fd* is open."""

    uid: int
    gid: int
    size: int
    fd: int

    @property
    def maps(self) -> tuple[Ranges, Ranges]:
        """From 0 on inside: of users, of groups."""
        return ((0, self.uid, self.size),), ((0, self.gid, self.size),)

    @property
    def oci(self) -> dict[str, list[dict[str, int]]]:
        """The same as parts of a runtime config's ``linux``."""
        return {
            key: [{"containerID": 0, "hostID": first, "size": self.size}]
            for key, first in (("uidMappings", self.uid), ("gidMappings", self.gid))
        }


def first_range(*, subuid: str = "/etc/subuid", subgid: str = "/etc/subgid") -> IdRange:
    """The range that would be the first to be taken; not taken."""
    uid, gid, size = next(pieces(subuid, subgid))
    return IdRange(uid=uid, gid=gid, size=size, fd=-1)


def take_range(
    lock_file: str, *, subuid: str = "/etc/subuid", subgid: str = "/etc/subgid"
) -> IdRange:
    """Take the first range that nobody has.  Raises UnsupportedError when there is none left."""
    hint = f"give {OWNER} a larger range in {subuid} and {subgid}: subuid(5)"
    return take_piece(lock_file, pieces(subuid, subgid), hint=hint)


def take_piece(lock_file: str, found: Iterable[tuple[int, int, int]], *, hint: str) -> IdRange:
    """Take the first of the pieces *found* that nobody has.  Raises UnsupportedError."""
    fd = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for uid, gid, size in found:
            # Locked is the byte of that number; the file stays empty.  Taken by a lock that nobody
            # else may have, and kept by one that those who share it have too.
            if _try_lock(fd, uid, fcntl.F_WRLCK) and _try_lock(fd, uid, fcntl.F_RDLCK):
                return IdRange(uid=uid, gid=gid, size=size, fd=fd)
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    raise UnsupportedError(
        "no range of ids is left for another user namespace",
        feature="--userns private",
        hint=hint,
    )


def share_range(lock_file: str, uid: int) -> int:
    """Have the range that begins with *uid* too, which somebody has; ours while the descriptor
    that is returned is open."""
    fd = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _try_lock(fd, uid, fcntl.F_RDLCK)
    return fd


def pieces(subuid: str, subgid: str) -> Iterator[tuple[int, int, int]]:
    """The ranges that there are: (first uid, first gid, size)."""
    uids, gids = (read_subids(path, name=OWNER, number=-1) for path in (subuid, subgid))
    if not uids or not gids:
        taken = _all_of(subuid) + _all_of(subgid)
        first, size = _DEFAULT
        for start in range(first, first + size, PIECE):
            if not any(start < at + n and at < start + PIECE for at, n in taken):
                yield start, start, PIECE
        return
    for (uid, uid_size), (gid, gid_size) in zip(_cut(uids), _cut(gids), strict=False):
        yield uid, gid, min(uid_size, gid_size)


def _cut(ranges: tuple[tuple[int, int], ...]) -> Iterator[tuple[int, int]]:
    """Whole pieces; a range that is smaller than one is one."""
    for first, size in ranges:
        for start in range(first, first + max(size - PIECE, 0) + 1, PIECE):
            yield start, min(PIECE, size)


def _all_of(path: str) -> tuple[tuple[int, int], ...]:
    """What a file gives to anybody."""
    try:
        with open(path, "rb") as file:
            lines = [line.split(b":") for line in file.read().split(b"\n")]
    except FileNotFoundError:
        return ()
    names = {line[0] for line in lines if len(line) == 3}
    found = (read_subids(path, name=os.fsdecode(name), number=-1) for name in names)
    return tuple(each for ranges in found for each in ranges)


def _try_lock(fd: int, byte: int, kind: int) -> bool:
    try:
        fcntl.fcntl(fd, _F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0))
    except BlockingIOError:
        return False
    return True
