"""Look into an overlay without mounting it: its layers, topmost first, seen as one tree.

Whiteouts (a character device 0:0) hide, opaque directories (``trusted.overlay.opaque`` or
``user.overlay.opaque`` is ``y``) hide what lies below them, symlinks are walked in the merged tree
and never out of it: Documentation/filesystems/overlayfs.rst.  What newroot reads of an image before
its container exists (/etc/passwd, what a volume is filled with, why an exec failed) is read here.

Not followed are ``overlay.redirect`` and ``overlay.metacopy``, which no layer of newroot's has, and
whiteouts by xattr (Linux 6.7), which only a nested overlay writes.
"""

from __future__ import annotations

import errno
import os
import stat

from newroot.linux.paths import (
    EROFS_SUFFIX,
    READ_LIMIT,
    Entry,
    Walk,
    look_up,
    read_found,
    reopen,
    resolve_or_none,
)

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


def _open(layer: str) -> int:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    if not layer.endswith(EROFS_SUFFIX):
        return os.open(layer, flags)
    from newroot.linux.erofs import open_layer

    return open_layer(layer, flags)


class MergedView:
    """The tree that an overlay of *layers* (directories, topmost first) would show.

    A context manager; it holds one descriptor for each layer.  Paths are the container's, from its
    root.  Raises OSError when a layer cannot be opened.
    """

    def __init__(self, layers: tuple[str, ...]) -> None:
        fds: list[int] = []
        try:
            for layer in layers:
                fds.append(_open(layer))
        except OSError:
            _close(fds)
            raise
        self._root = Entry(tuple(fds), stat.S_IFDIR)

    def __enter__(self) -> MergedView:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the layers go.  Doing it twice is doing it once."""
        fds, self._root = self._root.fds, Entry((), stat.S_IFDIR)
        _close(fds)

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result | None:
        """What stat(2) says of *path*, lstat(2) without *follow*; None where there is nothing."""
        with self._walk() as walk:
            found = resolve_or_none(walk, path, follow=follow)
            return None if found is None else os.fstat(found.fds[0])

    def exists(self, path: str) -> bool:
        """Whether *path* leads to anything."""
        return self.stat(path) is not None

    def readlink(self, path: str) -> str | None:
        """The text of the symlink at *path*; None where there is no symlink."""
        with self._walk() as walk:
            found = resolve_or_none(walk, path, follow=False)
            if found is None or not found.is_link:
                return None
            return os.readlink("", dir_fd=found.fds[0])

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes | None:
        """The contents of the regular file at *path*; None where there is none.

        Raises SyscallError (EFBIG) for one of more than *limit* bytes.
        """
        with self._walk() as walk:
            return read_found(walk, path, limit)

    def list(self, path: str) -> tuple[str, ...] | None:
        """The names in the directory at *path*, sorted; None where there is no directory."""
        with self._walk() as walk:
            found = resolve_or_none(walk, path)
            if found is None or not found.is_dir:
                return None
            return tuple(sorted(_names(found)))

    def open(self, path: str, *, follow: bool = True) -> int | None:
        """A descriptor for what is at *path* (O_PATH; of a merged directory, its topmost part).

        None where there is nothing.  The caller closes it, and ``paths.reopen`` opens it for use.
        """
        with self._walk() as walk:
            found = resolve_or_none(walk, path, follow=follow)
            return None if found is None else os.dup(found.fds[0])

    def _walk(self) -> Walk:
        return Walk(self._root, _look_up)


def read_from_layers(
    layers: tuple[str, ...], path: str, *, limit: int = READ_LIMIT
) -> bytes | None:
    """The contents of a regular file of an overlay of *layers*, topmost first; None without one."""
    with MergedView(layers) as view:
        return view.read(path, limit=limit)


def _look_up(directory: Entry, name: str) -> Entry | None:
    parts: list[int] = []
    mode = 0
    try:
        for part in directory.fds:
            found = look_up(Entry((part,), stat.S_IFDIR), name)
            if found is None:
                continue
            (fd,) = found.fds
            if parts and not found.is_dir:
                os.close(fd)  # a file below a directory is hidden, and hides what is below
                break
            if _is_whiteout(fd, found.mode):
                os.close(fd)
                break
            parts.append(fd)
            mode = mode or found.mode
            if not found.is_dir or _is_opaque(fd):
                break
    except BaseException:
        _close(parts)
        raise
    return Entry(tuple(parts), mode) if parts else None


def _names(directory: Entry) -> set[str]:
    seen: dict[str, bool] = {}  # name: whether it is there
    for part in directory.fds:
        fd = reopen(part, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in os.listdir(fd):
                if name not in seen:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    seen[name] = not _is_device_zero(status)
        finally:
            os.close(fd)
    return {name for name, there in seen.items() if there}


def _is_whiteout(fd: int, mode: int) -> bool:
    return stat.S_ISCHR(mode) and _is_device_zero(os.fstat(fd))


def _is_device_zero(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(fd: int) -> bool:
    # By way of /proc, because O_PATH descriptors have no xattrs of their own: open(2).
    path = f"/proc/self/fd/{fd}"
    return any(_xattr(path, name) == b"y" for name in _OPAQUE)


def _xattr(path: str, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EACCES):
            return None
        raise


def _close(fds: tuple[int, ...] | list[int]) -> None:
    for fd in fds:
        os.close(fd)
