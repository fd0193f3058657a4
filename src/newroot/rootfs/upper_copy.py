"""Copy an upper as it is: whiteouts, marks and all.

For an upper that cannot be sealed because an overlay is still mounted on it.  Where the file system
can share data between files (XFS, btrfs) nothing but names is copied; elsewhere the kernel copies,
and leaves holes as holes.  Nothing may write into the source meanwhile; what is in it was written
by strangers, so every step is by descriptor, and follows no link.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from newroot.linux.merged_tree import names
from newroot.rootfs.sparse import copy_data

_FICLONE = 0x40049409  #: ioctl_ficlone(2)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: They say which file of the layers below this one was copied from; the copy was not.
_NOT_COPIED = ("trusted.overlay.origin", "user.overlay.origin")
_OVERLAY = ("trusted.overlay.", "user.overlay.")
#: The file system, or the pair of them, cannot share data.
_CANNOT = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM)


def copy_upper(source: str, destination: str) -> int:
    """Make *destination* a copy of the upper *source*; return how many bytes were not shared.

    Sockets stay behind: without its process one is nothing.  Raises OSError, and then a part of
    the copy is there.
    """
    copy = _Copy()
    source_fd = os.open(source, _DIRECTORY)
    try:
        os.mkdir(destination, 0o700)
        made = os.open(destination, _DIRECTORY)
        try:
            copy.directory(source_fd, made)
        finally:
            os.close(made)
    finally:
        os.close(source_fd)
    return copy.copied


def copy_at(source: int, name: bytes, target: int, target_name: bytes) -> None:
    """Copy the file *name* of the directory *source* to *target_name* in *target*.

    No directory.  The marks of an overlay stay behind.  Raises OSError.
    """
    status = os.stat(name, dir_fd=source, follow_symlinks=False)
    _Copy().file(source, name, target, target_name, status)


class _Copy:
    def __init__(self) -> None:
        self.copied = 0
        self._shares = True  # until the first file that cannot
        self._links: dict[tuple[int, int], tuple[bytes, bytes]] = {}

    def directory(self, source: int, made: int) -> None:
        for name in sorted(names(source)):
            self._entry(source, name, made)
        dress(source, made)

    def _directory(self, above: int, name: bytes, parent: int) -> None:
        source = os.open(name, _DIRECTORY, dir_fd=above)
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
            made = os.open(name, _DIRECTORY, dir_fd=parent)
            try:
                self.directory(source, made)
            finally:
                os.close(made)
        finally:
            os.close(source)

    def _entry(self, source: int, name: bytes, target: int) -> None:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            self._directory(source, name, target)
        elif kind == stat.S_IFSOCK or self._is_linked(status, target, name):
            pass
        else:
            self.file(source, name, target, name, status)
        if kind != stat.S_IFDIR and status.st_nlink > 1 and kind != stat.S_IFSOCK:
            self._remember(status, target, name)

    def file(
        self, source: int, name: bytes, target: int, new: bytes, status: os.stat_result
    ) -> None:
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            self._regular(source, name, target, new, status)
            return
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), new, dir_fd=target)
        else:
            os.mknod(new, status.st_mode, status.st_rdev, dir_fd=target)
        _dress_at(source, name, target, new, status)

    def _is_linked(self, status: os.stat_result, target: int, name: bytes) -> bool:
        """Whether it is another name of a file that was copied: then it has that name too."""
        first = self._links.get((status.st_dev, status.st_ino))
        if status.st_nlink < 2 or first is None:
            return False
        path, base = first
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.link(base, name, src_dir_fd=fd, dst_dir_fd=target, follow_symlinks=False)
        finally:
            os.close(fd)
        return True

    def _remember(self, status: os.stat_result, target: int, name: bytes) -> None:
        # The copy is ours alone: nobody puts a link into its paths.
        directory = os.readlink(f"/proc/self/fd/{target}").encode(errors="surrogateescape")
        self._links.setdefault((status.st_dev, status.st_ino), (directory, name))

    def _regular(
        self, source: int, name: bytes, target: int, new: bytes, status: os.stat_result
    ) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        there = os.open(name, flags, dir_fd=source)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            copy = os.open(new, flags, 0o600, dir_fd=target)
            try:
                self._data(there, copy, status.st_size)
                dress(there, copy)
            finally:
                os.close(copy)
        finally:
            os.close(there)

    def _data(self, source: int, copy: int, size: int) -> None:
        if size and self._shares:
            try:
                fcntl.ioctl(copy, _FICLONE, source)
                return
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._shares = False
        self.copied += copy_data(source, copy, size)


def dress(source: int, target: int, *, marks: bool = True) -> None:
    """Give an open file the attributes of another; without *marks* none of an overlay's."""
    status = os.fstat(source)
    os.chown(target, status.st_uid, status.st_gid)  # first: it takes set-user-id bits away
    for key in os.listxattr(source):
        if key not in _NOT_COPIED and (marks or not key.startswith(_OVERLAY)):
            os.setxattr(target, key, os.getxattr(source, key))
    os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _dress_at(source: int, name: bytes, target: int, new: bytes, status: os.stat_result) -> None:
    """The same for what is not to be opened: links, fifos, devices."""
    os.chown(new, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    there = f"/proc/self/fd/{source}/".encode() + name
    copy = f"/proc/self/fd/{target}/".encode() + new
    for key in os.listxattr(there, follow_symlinks=False):
        if key not in _NOT_COPIED:
            value = os.getxattr(there, key, follow_symlinks=False)
            os.setxattr(copy, key, value, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(new, stat.S_IMODE(status.st_mode), dir_fd=target)
    times = status.st_atime_ns, status.st_mtime_ns
    os.utime(new, ns=times, dir_fd=target, follow_symlinks=False)
