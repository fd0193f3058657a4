"""Uppers, as what can be sealed and put on one another: a fresh one, and several made one.

An upper is a directory in overlay form: a character device 0:0 is a whiteout, the xattr
``overlay.opaque`` hides what is below (Documentation/filesystems/overlayfs.rst).  Its own mode and
owner are those of the container's root.  What is in it was written by strangers: every step is by
descriptor, and follows no link.
"""

from __future__ import annotations

import os
import stat

from newroot.linux.merged_tree import enter_all, names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_OVERLAY = ("trusted.overlay.", "user.overlay.")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def fresh_upper(path: str, like: str) -> None:
    """Make an empty upper at *path*, unless there is one; its own attributes are *like*'s.

    They are the root's.  It appears with them, or not at all.
    """
    if os.path.isdir(path):
        return
    beside = f"{path}.new"
    try:
        os.mkdir(beside, 0o700)
    except FileExistsError:
        pass  # who made it was killed
    fd, source = os.open(beside, _DIRECTORY), os.open(like, _DIRECTORY)
    try:
        _dress(source, fd)
    finally:
        os.close(fd)
        os.close(source)
    os.rename(beside, path)


def is_untouched(upper: str, like: str | None) -> bool:
    """Whether nothing was written into an upper, nor its own attributes changed.

    *like* is what it was made like: ``fresh_upper()``; without, it was made for the image.
    """
    try:
        with os.scandir(upper) as entries:
            if next(entries, None) is not None:
                return False
    except FileNotFoundError:
        return True
    status = os.stat(upper)
    now = (status.st_mode, status.st_uid, status.st_gid), _attributes(upper)
    if like is None:
        return now == ((stat.S_IFDIR | 0o755, os.geteuid(), os.getegid()), {})
    old = os.stat(like)
    return now == ((old.st_mode, old.st_uid, old.st_gid), _attributes(like))


def _attributes(path: str | int) -> dict[str, bytes]:
    try:
        keys = os.listxattr(path)
    except OSError:
        return {}  # a file system without any
    return {key: os.getxattr(path, key) for key in keys if not key.startswith(_OVERLAY)}


# ── several made one ─────────────────────────────────────────────────────────────────────────


def merge(uppers: Sequence[str], destination: str) -> None:
    """Make *destination* the one upper that shows what *uppers*, topmost first, show together.

    Files are linked, not copied: a sealed upper is never written to, so two may share them.
    Raises OSError, as EMLINK for a file of 65,000 names, and then a part of it is there.
    """
    parts = [os.open(upper, _DIRECTORY & ~os.O_NOFOLLOW) for upper in uppers]
    os.mkdir(destination, 0o700)
    fd = os.open(destination, _DIRECTORY)
    try:
        _merge(parts, fd)
        _dress(parts[0], fd)
    finally:
        os.close(fd)
        for part in parts:
            os.close(part)


def _merge(parts: list[int], target: int) -> None:
    seen: set[bytes] = set()
    for depth, part in enumerate(parts):
        for name in names(part):
            if name in seen:
                continue
            seen.add(name)
            status = os.stat(name, dir_fd=part, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                _merge_directory(parts[depth:], name, target)
            else:
                os.link(name, name, src_dir_fd=part, dst_dir_fd=target, follow_symlinks=False)


def _merge_directory(parts: list[int], name: bytes, target: int) -> None:
    below, hides = enter_all(parts, name)
    try:
        os.mkdir(name, 0o700, dir_fd=target)
        fd = os.open(name, _DIRECTORY, dir_fd=target)
        try:
            _merge(below, fd)
            _dress(below[0], fd)
            if hides:
                _set_opaque(fd)
        finally:
            os.close(fd)
    finally:
        for part in below:
            os.close(part)


def _dress(source: int, target: int) -> None:
    """Give a directory the attributes of another."""
    status = os.fstat(source)
    os.chown(target, status.st_uid, status.st_gid)
    for key, value in _attributes(source).items():
        os.setxattr(target, key, value)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _set_opaque(fd: int) -> None:
    try:
        os.setxattr(fd, "trusted.overlay.opaque", b"y")
    except PermissionError:  # without CAP_SYS_ADMIN overlays are mounted with userxattr
        os.setxattr(fd, "user.overlay.opaque", b"y")
