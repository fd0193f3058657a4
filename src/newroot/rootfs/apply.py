"""Carry out on a directory what an upper would change in it: ``newroot try apply``.

Everything is by descriptor, no component of a path may be a link, and a file appears under its
name whole or not at all.  First all is looked at: what somebody else has changed since then is
named, and nothing is done.
"""

from __future__ import annotations

import os
import stat

from newroot.errors import StateError
from newroot.linux.trees import remove_at
from newroot.rootfs.diff import ADDED, DELETED, changes
from newroot.rootfs.upper_copy import copy_at, dress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from newroot.rootfs.diff import Change

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SHOWN = 10


def conflicts(
    uppers: Sequence[str], target: str, since_ns: int, *, made: frozenset[bytes] = frozenset()
) -> list[str]:
    """The paths that both the uppers and, since then, somebody else have changed."""
    return [
        "/" + os.fsdecode(change.path)
        for change in _to_do(uppers, target, made)
        if _is_newer(target, change, since_ns)
    ]


def apply(
    uppers: Sequence[str], target: str, since_ns: int, *, made: frozenset[bytes] = frozenset()
) -> int:
    """Change *target* as *uppers* have changed it for themselves; return how many paths it were.

    *since_ns* is when they began, by the clock of files.  Raises StateError when somebody else has
    changed one of the same paths since; nothing is changed then.  Raises OSError, as for a full
    disk: each path is then as it was or as it is to be, and it can be done again.
    """
    both = conflicts(uppers, target, since_ns, made=made)
    if both:
        more = f" and {len(both) - _SHOWN} more" if len(both) > _SHOWN else ""
        raise StateError(
            f"apply to {target}: changed there meanwhile: {', '.join(both[:_SHOWN])}{more}",
            hint="nothing was applied; look at both, then run the command again, or drop it",
        )
    count = 0
    for change in _to_do(uppers, target, made):
        parent = _open_parent(target, change.path)
        try:
            _carry_out(parent, change)
        finally:
            os.close(parent)
        count += 1
    return count


def _to_do(uppers: Sequence[str], target: str, made: frozenset[bytes]) -> Iterator[Change]:
    for change in changes(uppers, [target], made=made):
        if change.kind is not None and change.path not in made:
            yield change


def _is_newer(target: str, change: Change, since_ns: int) -> bool:
    try:
        parent = _open_parent(target, change.path)
    except OSError:
        # What it is to go into may be yet to be made; a link in the way is somebody else's.
        return change.kind != ADDED
    try:
        name = change.path.rpartition(b"/")[2]
        now = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return change.kind not in (ADDED, DELETED)
    finally:
        os.close(parent)
    # A directory's own time is that of what was last made or removed in it.
    both_directories = stat.S_ISDIR(now.st_mode) and change.kind != DELETED and change.found.is_dir
    return now.st_ctime_ns >= since_ns and not both_directories


def _open_parent(target: str, path: bytes) -> int:
    fd = os.open(target, _DIRECTORY & ~os.O_NOFOLLOW)
    for part in path.split(b"/")[:-1]:
        try:
            below = os.open(part, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


def _carry_out(parent: int, change: Change) -> None:
    name = change.path.rpartition(b"/")[2]
    there = _status(parent, name)
    if change.kind == DELETED:
        remove_at(parent, os.fsdecode(name))
        return
    found = change.found
    if found.is_dir:
        if there is not None and not stat.S_ISDIR(there.st_mode):
            remove_at(parent, os.fsdecode(name))
            there = None
        if there is None:
            os.mkdir(name, 0o700, dir_fd=parent)
        _dress_directory(found.parent, found.name, parent, name)
        return
    beside = b".newroot-" + os.urandom(8).hex().encode()
    try:
        copy_at(found.parent, found.name, parent, beside)
        if there is not None and stat.S_ISDIR(there.st_mode):
            remove_at(parent, os.fsdecode(name))
        os.rename(beside, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        remove_at(parent, os.fsdecode(beside))
        raise


def _status(parent: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _dress_directory(above: int, name: bytes, parent: int, target: bytes) -> None:
    source = os.open(name, _DIRECTORY, dir_fd=above)
    try:
        made = os.open(target, _DIRECTORY, dir_fd=parent)
        try:
            dress(source, made, marks=False)
        finally:
            os.close(made)
    finally:
        os.close(source)
