"""What a container has changed: its uppers, compared with the layers that they stand on.

The laws are Docker's (moby/go-archive, changes.go): a file is changed when its mode, owner, device,
size, time or extended attributes are not those it had; a directory when it itself is, or something
in it is.  A removed directory is named alone, of an added one each file too.  The root itself is
never named.

One walk of the upper serves ``newroot diff`` and the layer that ``newroot commit`` makes.  For the
layer some things are there that are no change: all that an opaque directory shows, for the mark
hides what is below it, and every name of a file with several, so that they stay one file.
"""

from __future__ import annotations

import os

from newroot.linux.merged_tree import Directory, Found, is_whiteout, names, open_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

ADDED, CHANGED, DELETED = "A", "C", "D"

_OVERLAY = ("trusted.overlay.", "user.overlay.")


class Change:
    """One path: what happened to it, and where what is there now can be read."""

    __slots__ = ("anew", "found", "kind", "opaque")

    def __init__(
        self, kind: str | None, found: Found, *, opaque: bool = False, anew: bool = False
    ) -> None:
        self.kind = kind  #: None: no change, but the layer needs it
        self.found = found  #: of what is deleted, its path alone
        self.opaque = opaque  #: hides what the layers below have in it; or is hidden so itself
        self.anew = anew  #: and has not all the attributes of the directory that it replaces

    @property
    def path(self) -> bytes:
        return self.found.path


def changes(
    uppers: Sequence[str], lower: Sequence[str], *, made: Collection[bytes] = ()
) -> Iterator[Change]:
    """The changes of *uppers* against *lower* (topmost first), parents before what is in them.

    *made* are paths of mount points: what stands in the upper for a mount alone, empty and with no
    like below, is no change.  Each change is good until the next.  Raises OSError.
    """
    comparison = _Comparison(frozenset(made))
    new, old = open_root(uppers), open_root(lower)
    try:
        yield from comparison.run(new, old)
    finally:
        new.close()
        old.close()


class _Level:
    """One directory of the upper on the way down."""

    __slots__ = ("full", "new", "old", "pending", "todo")

    def __init__(
        self, new: Directory, old: Directory | None, pending: Change | None, *, full: bool
    ) -> None:
        self.new = new
        self.old = old  # None where nothing was below
        self.pending = pending  # itself, told only when something in it is
        self.full = full  # all of it is told, changed or not
        self.todo = iter(sorted(_names(new)))

    def close(self) -> None:
        self.new.close()
        if self.old is not None:
            self.old.close()


class _Comparison:
    def __init__(self, made: frozenset[bytes]) -> None:
        self._made = made
        self._above_made = {parent for path in made for parent in _parents(path)}
        self._levels: list[_Level] = []

    def run(self, new: Directory, old: Directory) -> Iterator[Change]:
        root = _Level(Directory(b"", _dup(new)), Directory(b"", _dup(old)), None, full=False)
        self._levels.append(root)
        try:
            while self._levels:
                level = self._levels[-1]
                name = next(level.todo, None)
                if name is None:
                    self._levels.pop().close()
                else:
                    yield from self._one(level, name)
        finally:
            for level in self._levels:
                level.close()
            self._levels.clear()

    def _one(self, level: _Level, name: bytes) -> Iterator[Change]:
        now = level.new.look(name)
        if now is None:
            return
        was = None if level.old is None else level.old.find(name)
        status = now.status
        if is_whiteout(status):
            if was is not None:
                yield from self._told(Change(DELETED, was))
            return
        kind = ADDED if was is None else CHANGED if _differs(was, now) else None
        if now.is_dir:
            yield from self._directory(level, now, was, kind)
        elif kind or level.full or status.st_nlink > 1:
            if not (kind == ADDED and now.path in self._made and status.st_size == 0):
                yield from self._told(Change(kind, now))

    def _directory(
        self, level: _Level, now: Found, was: Found | None, kind: str | None
    ) -> Iterator[Change]:
        new = level.new.enter(now.name)
        if new is None:
            return
        old = None
        if level.old is not None and was is not None and was.is_dir:
            old = level.old.enter(now.name)
        hides = old is not None and (level.full or new.hides)
        change = Change(kind, now, opaque=hides and not level.full)
        if change.opaque and was is not None:
            change.anew = not attributes(was).keys() <= attributes(now).keys()
        pending = None
        if (kind or hides or level.full) and not self._is_for_mounts(kind, now, new):
            told = self._told(change)
        else:
            told, pending = iter(()), change
        try:
            yield from told
        except BaseException:
            new.close()
            raise
        self._levels.append(_Level(new, old, pending, full=hides or level.full))
        if hides and old is not None:
            there = _names(new)
            for gone in old.list():
                if gone.name not in there:
                    yield from self._told(Change(DELETED, gone, opaque=True))

    def _is_for_mounts(self, kind: str | None, now: Found, new: Directory) -> bool:
        """Whether a directory was made for what is mounted there, or below it."""
        if kind != ADDED:
            return False
        return now.path in self._above_made or (now.path in self._made and not _names(new))

    def _told(self, change: Change) -> Iterator[Change]:
        """The change itself, after the directories above it that were not told yet."""
        for level in self._levels:
            if level.pending is not None:
                pending, level.pending = level.pending, None
                yield pending
        yield change


def listed(found: Iterable[Change]) -> list[tuple[str, bytes]]:
    """What ``newroot diff`` says: kind and path, sorted by path."""
    kinds: dict[bytes, str | None] = {}
    for change in found:
        kinds[change.path] = change.kind
    for path in [path for path, kind in kinds.items() if kind]:
        for parent in _parents(path):
            if kinds.get(parent, "") is None:
                kinds[parent] = CHANGED  # something in it has: in Docker's words it has too
    return sorted(((kind, path) for path, kind in kinds.items() if kind), key=lambda one: one[1])


def _differs(was: Found, now: Found) -> bool:
    a, b = was.status, now.status
    if (a.st_mode, a.st_uid, a.st_gid, a.st_rdev) != (b.st_mode, b.st_uid, b.st_gid, b.st_rdev):
        return True
    # A directory's size and time say little of itself: moby issue 9874.
    if not now.is_dir and (a.st_size, a.st_mtime_ns) != (b.st_size, b.st_mtime_ns):
        return True
    return attributes(was) != attributes(now)


def attributes(found: Found) -> dict[str, bytes]:
    """The extended attributes of a file, without those by which an overlay keeps its books."""
    # The magic link ends at our descriptor, and the last component is not followed.
    path = f"/proc/self/fd/{found.parent}/{os.fsdecode(found.name)}"
    try:
        keys = os.listxattr(path, follow_symlinks=False)
        return {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in keys
            if not key.startswith(_OVERLAY)
        }
    except OSError:
        return {}  # gone meanwhile, or a file system without any


def _names(directory: Directory) -> set[bytes]:
    return {name for part in directory.parts for name in names(part)}


def _dup(directory: Directory) -> list[int]:
    return [os.dup(part) for part in directory.parts]


def _parents(path: bytes) -> Iterator[bytes]:
    while path := path.rpartition(b"/")[0]:
        yield path
