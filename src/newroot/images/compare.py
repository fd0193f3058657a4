"""Two directory trees, file by file: is the one still what the other is?"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1 << 20


def first_difference(
    one: int, other: int, *, implied: Container[bytes] = (), path: bytes = b""
) -> str | None:
    """What first differs below two directories' descriptors, in words; None when nothing does.

    Directories in *implied* have their metadata from elsewhere, and only their contents count.
    """
    if path not in implied and (words := _metadata(os.fstat(one), os.fstat(other), one, other)):
        return f"{_show(path)}: {words}"
    names, others = set(os.listdir(one)), set(os.listdir(other))
    if names != others:
        name = min(names ^ others)
        return f"{_show(_join(path, name))}: {'too much' if name in names else 'missing'}"
    for name in sorted(names):
        words = _file(one, other, name, implied, _join(path, name))
        if words is not None:
            return words
    return None


def _file(one: int, other: int, name: str, implied: Container[bytes], path: bytes) -> str | None:
    a = os.stat(name, dir_fd=one, follow_symlinks=False)
    b = os.stat(name, dir_fd=other, follow_symlinks=False)
    kind = stat.S_IFMT(a.st_mode)
    if kind != stat.S_IFMT(b.st_mode):
        return f"{_show(path)}: another kind of file"
    if kind == stat.S_IFDIR or kind == stat.S_IFREG:
        flags = _OPEN | (os.O_DIRECTORY if kind == stat.S_IFDIR else 0)
        fd = os.open(name, flags, dir_fd=one)
        try:
            fd_other = os.open(name, flags, dir_fd=other)
            try:
                if kind == stat.S_IFDIR:
                    return first_difference(fd, fd_other, implied=implied, path=path)
                words = _metadata(a, b, fd, fd_other) or _content(fd, fd_other)
            finally:
                os.close(fd_other)
        finally:
            os.close(fd)
        return words and f"{_show(path)}: {words}"
    if kind == stat.S_IFCHR and a.st_rdev == b.st_rdev == 0:
        return None  # a whiteout is nothing but its name
    targets = (f"/proc/self/fd/{one}/{name}", f"/proc/self/fd/{other}/{name}")
    words = _metadata(a, b, *targets)
    if not words and kind == stat.S_IFLNK:
        links = (os.readlink(name, dir_fd=one), os.readlink(name, dir_fd=other))
        words = "another target" if links[0] != links[1] else None
    return words and f"{_show(path)}: {words}"


def _metadata(a: os.stat_result, b: os.stat_result, one: int | str, other: int | str) -> str | None:
    if a.st_mode != b.st_mode:
        return f"mode {a.st_mode & 0o7777:o}, not {b.st_mode & 0o7777:o}"
    if (a.st_uid, a.st_gid) != (b.st_uid, b.st_gid):
        return f"owner {a.st_uid}:{a.st_gid}, not {b.st_uid}:{b.st_gid}"
    if not stat.S_ISDIR(a.st_mode):
        if a.st_size != b.st_size:
            return f"{a.st_size} bytes, not {b.st_size}"
        if a.st_nlink != b.st_nlink:
            return f"{a.st_nlink} names, not {b.st_nlink}"
    if a.st_rdev != b.st_rdev:
        return "another device"
    if a.st_mtime_ns != b.st_mtime_ns:
        return "another time"
    if _xattrs(one) != _xattrs(other):
        return "other extended attributes"
    return None


def _xattrs(target: int | str) -> dict[str, bytes]:
    follow = isinstance(target, int)
    try:
        return {
            key: os.getxattr(target, key, follow_symlinks=follow)
            for key in os.listxattr(target, follow_symlinks=follow)
        }
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise


def _content(one: int, other: int) -> str | None:
    while True:
        a, b = os.read(one, _CHUNK), os.read(other, _CHUNK)
        if a != b:
            return "other content"
        if not a:
            return None


def _join(path: bytes, name: str) -> bytes:
    return path + b"/" + os.fsencode(name) if path else os.fsencode(name)


def _show(path: bytes) -> str:
    return repr(os.fsdecode(b"/" + path))
