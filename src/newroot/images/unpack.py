"""One layer, from a tar stream into a directory in overlay form (images/layer_tree.py).

Owners, modes, times and extended attributes of directories come last, for everything before
changes them.  No path is handed to the kernel: each component is opened on its parent's descriptor
with O_NOFOLLOW.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat

from newroot.images.below import attributes_below
from newroot.images.layer_tree import (
    NODES,
    OPAQUE,
    LayerTree,
    kept_xattrs,
    time_of,
)
from newroot.images.limits import DEFAULT, Limits
from newroot.images.tar import TarReader
from newroot.linux.user_namespaces import has_single_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from newroot.images.below import Attributes
    from newroot.images.layer_tree import Unpacked
    from newroot.images.tar import Entry

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_AT_ONCE = 64
_XATTR_REFUSED = (errno.ENOTSUP, errno.EPERM)


def unpack_layer(
    next_chunk: Callable[[], bytes],
    directory: int,
    *,
    what: str,
    strict: bool = False,
    absolute_names: bool = True,
    below: Callable[[], Sequence[str]] = tuple,
    limits: Limits = DEFAULT,
) -> Unpacked:
    """Unpack the tar that *next_chunk* gives into *directory*, an empty one's descriptor.

    On failure the directory holds part of the layer: unpack beside, and rename when whole.
    *absolute_names* are taken from the layer's root, or refused.  *below* gives the layers that
    it stands on, topmost first, from which implied directories have their metadata; it is called
    at most once, at the end.

    Raises UnsafeEntry for an entry that tries to leave, ImageError for a damaged archive,
    SyscallError when the host refuses.
    """
    reader = TarReader(next_chunk, what=what, strict=strict, limits=limits)
    layer = _Directories(
        directory, reader, what=what, limits=limits, absolute_names=absolute_names, below=below
    )
    return layer.read()


class _Directories(LayerTree):
    """The directory of a layer while it fills."""

    def __init__(
        self,
        root: int,
        reader: TarReader,
        *,
        what: str,
        limits: Limits,
        absolute_names: bool,
        below: Callable[[], Sequence[str]],
    ) -> None:
        super().__init__(reader, what=what, limits=limits, absolute_names=absolute_names)
        self._root = root
        self._below = below
        self._open: dict[bytes, int] = {}  # least recently opened first
        # Where there is one id, all is its: isolation/fake_ids.py.
        self._is_root = os.geteuid() == 0 and not has_single_id()

    def begin(self) -> None:
        # A set-group-ID parent would hand its group down to every file in the layer.
        os.fchown(self._root, -1, os.getegid())
        os.fchmod(self._root, 0o700)

    def close(self) -> None:
        """Close every descriptor but the root's, which is the caller's."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def finish(self) -> None:
        """Owners, modes and times of directories, the deepest first."""
        implied = any(entry is None for entry in self._directories.values())
        below = self._below() if implied else ()
        for real in sorted(self._directories, reverse=True):
            fd = self.fd(real)
            entry = self._directories[real]
            if entry is None:
                self._inherit(fd, attributes_below(below, real))
                continue
            self._own(fd, entry)
            if entry.xattrs:
                self._set_xattrs(entry, fd)
            os.fchmod(fd, entry.mode)
            os.utime(fd, ns=_times(entry))

    def _inherit(self, fd: int, attributes: Attributes) -> None:
        if self._is_root:
            os.fchown(fd, attributes.uid, attributes.gid)
        for key, value in attributes.xattrs:
            os.setxattr(fd, key, value)
        os.fchmod(fd, attributes.mode)
        os.utime(fd, ns=(attributes.mtime_ns, attributes.mtime_ns))

    # ── where the names are kept ─────────────────────────────────────────────────────────────

    def fd(self, real: bytes) -> int:
        """A descriptor of the directory at *real*; good until the next call."""
        if not real:
            return self._root
        fd = self._open.get(real)
        if fd is None:
            parent, _, last = real.rpartition(b"/")
            # Recursion is no deeper than Limits.depth.
            fd = os.open(last, _DIRECTORY, dir_fd=self.fd(parent))
            if len(self._open) >= _OPEN_AT_ONCE:
                os.close(self._open.pop(next(iter(self._open))))
            self._open[real] = fd
        return fd

    def mode_of(self, parent: bytes, name: bytes) -> int:
        return os.stat(name, dir_fd=self.fd(parent), follow_symlinks=False).st_mode

    def link_of(self, parent: bytes, name: bytes) -> bytes:
        return os.readlink(name, dir_fd=self.fd(parent))

    def new_directory(self, parent: bytes, name: bytes) -> None:
        os.mkdir(name, 0o700, dir_fd=self.fd(parent))  # private until its own mode is set

    def delete(self, parent: bytes, name: bytes, mode: int) -> None:
        if stat.S_ISDIR(mode):
            self.close()
            shutil.rmtree(name, dir_fd=self.fd(parent))
        else:
            os.unlink(name, dir_fd=self.fd(parent))

    # ── how files are made ───────────────────────────────────────────────────────────────────

    def whiteout(self, parent: bytes, last: bytes) -> None:
        # 0:0 needs no CAP_MKNOD since Linux 5.8: mknod(2), vfs_mknod().
        os.mknod(last, stat.S_IFCHR, os.makedev(0, 0), dir_fd=self.fd(parent))

    def set_opaque(self, real: bytes) -> None:
        fd = self.fd(real)
        for key in OPAQUE if self._is_root else OPAQUE[:1]:
            try:
                os.setxattr(fd, key, b"y")
            except PermissionError:
                if key == OPAQUE[0]:
                    raise
                # root of a user namespace: its overlay reads user.overlay

    def file(self, entry: Entry, real: bytes, last: bytes) -> None:
        fd = os.open(last, _CREATE, 0o600, dir_fd=self.fd(real.rpartition(b"/")[0]))
        try:
            if entry.pieces is not None:
                self._fill_sparse(fd, entry)
            elif entry.size:
                self._reader.copy_to(fd, entry.size)
            # chown(2) clears set-user-ID and file capabilities: so owner, then mode, then these.
            if entry.uid or entry.gid or not self._is_root:
                self._own(fd, entry)
            os.fchmod(fd, entry.mode)
            if entry.xattrs:
                self._set_xattrs(entry, fd)
            os.utime(fd, ns=_times(entry))
        finally:
            os.close(fd)

    def _fill_sparse(self, fd: int, entry: Entry) -> None:
        for offset, length in entry.pieces or ():
            os.lseek(fd, offset, os.SEEK_SET)
            self._reader.copy_to(fd, length)
        os.ftruncate(fd, entry.size)

    def symlink(self, entry: Entry, parent: bytes, last: bytes) -> None:
        fd = self.fd(parent)
        os.symlink(entry.link, last, dir_fd=fd)
        self._finish_node(entry, fd, last)

    def node(self, entry: Entry, parent: bytes, last: bytes) -> None:
        fd = self.fd(parent)
        try:
            os.mknod(last, NODES[entry.kind] | 0o600, os.makedev(*entry.device), dir_fd=fd)
        except PermissionError:
            # Without CAP_MKNOD there are no devices to be had; a container's /dev is ours anyway.
            return
        os.chmod(last, entry.mode, dir_fd=fd)
        self._finish_node(entry, fd, last)
        os.chmod(last, entry.mode, dir_fd=fd)

    def _finish_node(self, entry: Entry, fd: int, last: bytes) -> None:
        if self._is_root:
            os.chown(last, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
        if entry.xattrs:
            # There is no setxattrat before Linux 6.13; the magic link ends at our descriptor, and
            # the last component is not followed.
            self._set_xattrs(entry, b"/proc/self/fd/%d/%s" % (fd, last))
        os.utime(last, ns=_times(entry), dir_fd=fd, follow_symlinks=False)

    def link(self, target: bytes, parent: bytes, last: bytes) -> None:
        there, _, name = target.rpartition(b"/")
        source = os.dup(self.fd(there))  # the next call of fd() may close it
        try:
            # linkat(2) without AT_SYMLINK_FOLLOW: a link to a symlink, not to what it points at.
            os.link(
                name,
                last,
                src_dir_fd=source,
                dst_dir_fd=self.fd(parent),
                follow_symlinks=False,
            )
        finally:
            os.close(source)

    # ── metadata ─────────────────────────────────────────────────────────────────────────────

    def _own(self, fd: int, entry: Entry) -> None:
        if self._is_root:
            os.fchown(fd, entry.uid, entry.gid)

    def _set_xattrs(self, entry: Entry, target: int | bytes) -> None:
        for key, value in kept_xattrs(entry):
            try:
                if isinstance(target, int):
                    os.setxattr(target, key, value)
                else:
                    os.setxattr(target, key, value, follow_symlinks=False)
            except OSError as error:
                # A file system without them, or no right to set them: as every engine does.
                if error.errno not in _XATTR_REFUSED:
                    raise


def _times(entry: Entry) -> tuple[int, int]:
    nanoseconds = time_of(entry)
    return nanoseconds, nanoseconds
