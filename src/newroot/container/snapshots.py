"""Snapshots: uppers that were sealed, shared by the containers that stand on them.

    snapshots/<id>/snapshot.json    what it stands on, and what it was made of
    snapshots/<id>/root/            the upper of then; nothing writes into it any more
    snapshots/.gone-<id>/           one being removed; a crash may leave it, ``collect`` takes it

To seal an upper is to move it here, which takes as long for a gigabyte as for a byte.  Who makes a
snapshot holds a shared flock on ``snapshots/`` until something names it; who removes those that
nothing names holds an exclusive one.  Both end with their process.
"""

from __future__ import annotations

import fcntl
import os

from newroot.errors import UsageError
from newroot.linux.trees import remove_tree
from newroot.oci import json
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_GONE = ".gone-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@record
class Sealed:
    """What is known of one snapshot."""

    id: str
    below: tuple[str, ...]  #: the snapshots that it stands on, topmost first
    base: tuple[str, ...]  #: the layers that those stand on
    created: float  #: seconds since the epoch
    container: str  #: the id of the one whose upper it was
    name: str | None  #: what that was called
    merged: tuple[str, ...] = ()  #: the snapshots that it holds in one, topmost first


class Making:
    """A context manager: what is sealed meanwhile is not taken for what nobody needs."""

    def __init__(self, directory: str) -> None:
        os.makedirs(directory, mode=0o711, exist_ok=True)
        self._fd = os.open(directory, _DIRECTORY)

    def __enter__(self) -> Making:
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


class SnapshotStore:
    """The snapshots below one root.  Safe to use from many processes and threads."""

    def __init__(self, root: str) -> None:
        self.directory = f"{root}/snapshots"

    def path(self, snapshot_id: str) -> str:
        """The lower directory that a snapshot is."""
        return f"{self.directory}/{snapshot_id}/root"

    def split(self, lower: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The ids of the snapshots among a container's lowers, and the layers below them."""
        ids: list[str] = []
        base: list[str] = []
        for path in lower:
            snapshot_id = self._id_of(path)
            if snapshot_id is None:
                base.append(path)
            else:
                ids.append(snapshot_id)
        return tuple(ids), tuple(base)

    def _id_of(self, path: str) -> str | None:
        if not path.startswith(f"{self.directory}/"):
            return None
        return path[len(self.directory) + 1 :].partition("/")[0]

    def making(self) -> Making:
        """To be entered by who makes a snapshot, until something names it."""
        return Making(self.directory)

    def new(
        self,
        *,
        lower: tuple[str, ...],
        container: str,
        name: str | None,
        merged: tuple[str, ...] = (),
    ) -> Sealed:
        """Write down a snapshot that has no files yet."""
        from time import time

        below, base = self.split(lower)
        made = Sealed(
            id=os.urandom(16).hex(),
            below=() if merged else below,
            base=base,
            created=time(),
            container=container,
            name=name,
            merged=merged,
        )
        directory = f"{self.directory}/{made.id}"
        os.mkdir(directory, 0o711)
        self._write(made)
        return made

    def _write(self, made: Sealed) -> None:
        path = f"{self.directory}/{made.id}/snapshot.json"
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(json.dumps(dict(vars(made))))
        os.rename(f"{path}.new", path)

    def find(self, snapshot_id: str) -> Sealed | None:
        """What is known of a snapshot; None when it is not there, or its document is damaged."""
        path = f"{self.directory}/{snapshot_id}/snapshot.json"
        try:
            with open(path, "rb", buffering=0) as file:
                said = json.loads(file.read(), what=path)
            return _read(said)
        except (OSError, UsageError, TypeError, KeyError, ValueError):
            return None

    def find_merged(self, ids: tuple[str, ...], base: tuple[str, ...]) -> str | None:
        """The snapshot that holds *ids* in one, on the same layers."""
        for snapshot_id in self.ids():
            found = self.find(snapshot_id)
            if found is not None and (found.merged, found.base) == (ids, base):
                if os.path.isdir(self.path(snapshot_id)):
                    return snapshot_id
        return None

    def ids(self) -> list[str]:
        """All that are there."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if not name.startswith("."))

    def lower(self, snapshot_id: str) -> tuple[str, ...]:
        """The lowers of a container that stands on a snapshot.  Raises LookupError."""
        found = self.find(snapshot_id)
        if found is None:
            raise LookupError(snapshot_id)
        return (*(self.path(each) for each in (snapshot_id, *found.below)), *found.base)

    def orphans(self, needed: Iterable[str]) -> list[str]:
        """What nobody needs, and what a removal that was killed has left."""
        keep = set(needed)
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if name not in keep)

    def collect(self, find_needed: Callable[[], Iterable[str] | None]) -> list[str]:
        """Remove the snapshots that are not among *find_needed()*; return their names.

        Nothing is removed while somebody makes one, or when it returns None: the next one does it.
        """
        try:
            lock = os.open(self.directory, _DIRECTORY)
        except FileNotFoundError:
            return []
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            needed = find_needed()
            gone = [] if needed is None else self.orphans(needed)
            doomed = [self._take_away(name) for name in gone]
        except BlockingIOError:
            return []
        finally:
            os.close(lock)
        for path in doomed:
            remove_tree(path)
        return gone

    def _take_away(self, name: str) -> str:
        """Where it is once nobody finds it any more."""
        path = f"{self.directory}/{name}"
        if name.startswith(_GONE):
            return path
        gone = f"{self.directory}/{_GONE}{name}"
        try:
            os.rename(path, gone)
        except FileNotFoundError:
            pass
        return gone


def _read(said: Any) -> Sealed:
    return Sealed(
        id=str(said["id"]),
        below=tuple(map(str, said["below"])),
        base=tuple(map(str, said["base"])),
        created=float(said["created"]),
        container=str(said["container"]),
        name=said.get("name"),
        merged=tuple(map(str, said.get("merged") or ())),
    )
