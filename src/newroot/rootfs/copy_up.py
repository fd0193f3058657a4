"""Copy one directory out of the union of layers, as overlay would show it, without a mount.

Layers are directories in overlay form: a character device 0:0 is a whiteout, the xattr
``overlay.opaque`` hides what is below (Documentation/filesystems/overlayfs.rst).  What is in them
was written by strangers, and a layer may be a directory that a container is changing now, so each
component is opened without following links.  The destination is ours alone.

linux/merged.py reads single files of such a union and keeps every level of a path open meanwhile;
here a whole tree is walked, and of hundreds of layers only one directory is open at a time.
"""

from __future__ import annotations

import errno
import os
import stat

from newroot.errors import SyscallError
from newroot.linux.durable import fsync_directory
from newroot.record import record
from newroot.rootfs.sparse import copy_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Unpacked layers, topmost first.
Layers = tuple[str, ...]

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.")
_MAX_LINKS = 40  # path_resolution(7)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@record
class _Directory:
    """A directory of the union: its components, and the layers that have a part of it."""

    parts: tuple[str, ...]
    layers: Layers


@record
class _Entry:
    """What the union has under one name: where it was found, and the layers of a directory."""

    layer: str
    status: os.stat_result
    layers: Layers


def copy_tree(
    layers: Layers,
    path: str,
    destination: str,
    *,
    own: Callable[[int, int], tuple[int, int]] | None = None,
) -> bool:
    """Copy the directory *path* of the union to *destination*, which is made.

    Owners, modes, times, extended attributes, symlinks, hard links and devices come along, also
    those of the directory itself; sockets do not.  *own* makes other owners of theirs.  False, and
    nothing is made, when *path* is not a directory there.
    """
    directory = _resolve(layers, path)
    if directory is None:
        return False
    os.mkdir(destination, 0o700)
    _copy_directory(directory, destination, _Copy(own))
    _sync_file_system(destination)
    return True


def move_into(source: str, destination: str) -> None:
    """Move what is in *source* into *destination* with *source*'s own metadata; remove *source*.

    May be called again after a crash.  A name that *destination* has already stays as it is.
    """
    status = os.stat(source)
    for name in sorted(os.listdir(source)):
        moved, target = f"{source}/{name}", f"{destination}/{name}"
        if os.path.lexists(target):
            _discard(moved)
        else:
            _rename(moved, target)
    _set_metadata(destination, status, _read_xattrs(source), (status.st_uid, status.st_gid))
    fsync_directory(destination)
    os.rmdir(source)


# --- looking things up in the union --------------------------------------------------------------


def _resolve(layers: Layers, path: str) -> _Directory | None:
    """The directory that *path* leads to inside the union, or None."""
    directory = _Directory(parts=(), layers=layers)
    rest = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    links = 0
    while rest:
        name = rest.pop()
        if name == "..":
            directory = _walk(layers, directory.parts[:-1])
            continue
        entry = _look_up(directory, name)
        if entry is None:
            return None
        if stat.S_ISLNK(entry.status.st_mode):
            links += 1
            if links > _MAX_LINKS:
                return None
            target = _read_link(entry.layer, directory.parts, name)
            rest += [part for part in reversed(target.split("/")) if part not in ("", ".")]
            if target.startswith("/"):
                directory = _Directory(parts=(), layers=layers)
        elif entry.layers:
            directory = _Directory(parts=(*directory.parts, name), layers=entry.layers)
        else:
            return None
    return directory


def _walk(layers: Layers, parts: tuple[str, ...]) -> _Directory:
    directory = _Directory(parts=(), layers=layers)
    for name in parts:
        entry = _look_up(directory, name)
        if entry is None or not entry.layers:
            raise SyscallError(
                f"reading /{'/'.join(parts)} of the image: it changed meanwhile",
                errno=errno.ESTALE,
                call="open",
                target=name,
            )
        directory = _Directory(parts=(*directory.parts, name), layers=entry.layers)
    return directory


def _look_up(directory: _Directory, name: str) -> _Entry | None:
    with _Opened(directory) as opened:
        return opened.look_up(name)


class _Opened:
    """A directory of the union with its parts open, one descriptor for each layer that has one."""

    def __init__(self, directory: _Directory) -> None:
        self.fds: dict[str, int] = {}
        try:
            for layer in directory.layers:
                self.fds[layer] = _open_directory(layer, directory.parts)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        for fd in self.fds.values():
            os.close(fd)
        self.fds.clear()

    def look_up(self, name: str) -> _Entry | None:
        """What is seen under *name*: a file of the topmost layer, or the parts of a directory."""
        parts: list[tuple[str, os.stat_result]] = []
        for layer, fd in self.fds.items():
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if _is_whiteout(status):
                break
            if not stat.S_ISDIR(status.st_mode):
                if not parts:
                    return _Entry(layer=layer, status=status, layers=())
                break
            parts.append((layer, status))
            if _is_opaque(name, fd):
                break
        if not parts:
            return None
        return _Entry(
            layer=parts[0][0], status=parts[0][1], layers=tuple(layer for layer, _ in parts)
        )

    def entries(self) -> Iterator[tuple[str, _Entry]]:
        """All that is seen in the directory, by name."""
        names: set[str] = set()
        for fd in self.fds.values():
            names.update(os.listdir(fd))
        for name in sorted(names):
            entry = self.look_up(name)
            if entry is not None:
                yield name, entry


def _open_directory(layer: str, parts: tuple[str, ...]) -> int:
    fd = os.open(layer, os.O_RDONLY | os.O_DIRECTORY)
    for part in parts:
        try:
            below = os.open(part, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(name: str, parent: int) -> bool:
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        return any(_get_xattr(fd, key) == b"y" for key in _OPAQUE)
    finally:
        os.close(fd)


def _get_xattr(fd: int, key: str) -> bytes | None:
    try:
        return os.getxattr(fd, key)
    except OSError as error:
        # EPERM: trusted.* without CAP_SYS_ADMIN; such a layer says it by user.* (userxattr).
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
            return None
        raise


def _read_link(layer: str, parts: tuple[str, ...], name: str) -> str:
    fd = _open_directory(layer, parts)
    try:
        return os.readlink(name, dir_fd=fd)
    finally:
        os.close(fd)


# --- copying -------------------------------------------------------------------------------------


class _Copy:
    """One copy: what its files have in common."""

    def __init__(self, own: Callable[[int, int], tuple[int, int]] | None) -> None:
        self.own = own
        #: (layer's device, inode) -> where its first name was copied to
        self.links: dict[tuple[int, int], str] = {}

    def finish(
        self, path: str, status: os.stat_result, xattrs: tuple[tuple[str, bytes], ...]
    ) -> None:
        owner = status.st_uid, status.st_gid
        _set_metadata(path, status, xattrs, self.own(*owner) if self.own is not None else owner)


def _copy_directory(directory: _Directory, destination: str, copy: _Copy) -> None:
    """Fill *destination*, which is there, and give it the directory's metadata."""
    below: list[tuple[str, _Entry]] = []
    with _Opened(directory) as opened:
        for name, entry in opened.entries():
            if entry.layers:
                below.append((name, entry))
            else:
                _copy_file(opened.fds[entry.layer], name, f"{destination}/{name}", copy)
        top = opened.fds[directory.layers[0]]
        status, xattrs = os.fstat(top), _read_xattrs(top)
    for name, entry in below:
        os.mkdir(f"{destination}/{name}", 0o700)
        child = _Directory(parts=(*directory.parts, name), layers=entry.layers)
        _copy_directory(child, f"{destination}/{name}", copy)
    copy.finish(destination, status, xattrs)


def _copy_file(parent: int, name: str, target: str, copy: _Copy) -> None:
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    key = (status.st_dev, status.st_ino)
    if key in copy.links:
        os.link(copy.links[key], target, follow_symlinks=False)
        return
    if stat.S_ISREG(status.st_mode):
        status, xattrs = _copy_regular(parent, name, target)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=parent), target)
        xattrs = ()
    elif stat.S_ISSOCK(status.st_mode):
        return  # without its process it is nothing
    else:
        os.mknod(target, status.st_mode, status.st_rdev)
        xattrs = ()
    copy.finish(target, status, xattrs)
    if status.st_nlink > 1:
        copy.links[key] = target


def _copy_regular(
    parent: int, name: str, target: str
) -> tuple[os.stat_result, tuple[tuple[str, bytes], ...]]:
    # O_NONBLOCK: it may have become a pipe since it was looked at.
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            raise SyscallError(
                f"reading {name} of the image: it changed meanwhile",
                errno=errno.ESTALE,
                call="open",
                target=name,
            )
        copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            copy_data(source, copy, status.st_size)
        finally:
            os.close(copy)
        return status, _read_xattrs(source)
    finally:
        os.close(source)


def _read_xattrs(file: int | str) -> tuple[tuple[str, bytes], ...]:
    """The extended attributes, without overlay's own."""
    try:
        keys = os.listxattr(file)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return ()
        raise
    wanted = (key for key in keys if not key.startswith(_OVERLAY_XATTRS))
    return tuple((key, os.getxattr(file, key)) for key in wanted)


def _set_metadata(
    path: str,
    status: os.stat_result,
    xattrs: tuple[tuple[str, bytes], ...],
    owner: tuple[int, int],
) -> None:
    # chown takes away set-user-id bits and file capabilities, so it is first: chown(2).
    os.chown(path, *owner, follow_symlinks=False)
    for key, value in xattrs:
        _set_xattr(path, key, value)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(path, stat.S_IMODE(status.st_mode))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _set_xattr(path: str, key: str, value: bytes) -> None:
    try:
        os.setxattr(path, key, value, follow_symlinks=False)
    except OSError as error:
        # A volume's file system without xattrs, or security.* without the privilege: the file is
        # worth more than its label.  Anything else (no space) is a failure.
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise


# --- moving in -----------------------------------------------------------------------------------


def _rename(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except PermissionError:
        # To move a directory is to write its "..", which a mode of 0555 forbids its own owner.
        mode = stat.S_IMODE(os.stat(source, follow_symlinks=False).st_mode)
        os.chmod(source, mode | stat.S_IWUSR)
        os.rename(source, target)
        os.chmod(target, mode)


def _discard(path: str) -> None:
    import shutil

    if stat.S_ISDIR(os.stat(path, follow_symlinks=False).st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _sync_file_system(directory: str) -> None:
    """Bring everything to the disk with one syncfs(2), which Python has not."""
    import ctypes

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise SyscallError(
                f"syncfs, on {directory}: {os.strerror(number)}",
                errno=number,
                call="syncfs",
                target=directory,
            )
    finally:
        os.close(fd)
