"""One layer, from a tar stream into a directory in overlay form.

A whiteout becomes what overlayfs knows: a character device 0:0, or ``trusted.overlay.opaque`` on
the directory (``user.overlay.opaque`` too, for a mount with ``userxattr`` reads only that).  It
speaks of the layers below and so never removes what its own layer brings.  Owners, modes, times
and extended attributes of directories come last, for everything before changes them.

The archive is hostile until the last byte: names lead only through ``Tree``.  A known gap: aufs'
``.wh..wh.plnk`` is skipped, so a hard link into it is refused.
"""

from __future__ import annotations

import errno
import os
import stat

from newroot.errors import ImageError, SyscallError, UnsafeEntry
from newroot.images.below import Attributes, attributes_below
from newroot.images.limits import DEFAULT, Limits
from newroot.images.tar import (
    CHAR,
    DEVICE,
    DIRECTORY,
    FIFO,
    FILE,
    HARD_LINK,
    SYMLINK,
    Entry,
    TarReader,
)
from newroot.images.tree import Tree, show
from newroot.linux.user_namespaces import has_single_id
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

#: Kept from an archive as they are they would speak to the overlay that we mount.  Escaped once
#: more they show inside the container under the name they had: kernel overlayfs.rst, "Nesting
#: overlayfs mounts" (Linux 6.7; before that they are plain attributes without a meaning).
_OVERLAY_XATTRS = (b"trusted.overlay.", b"user.overlay.")
#: Labels of the machine that made the archive, which mean nothing on this one.
_FOREIGN_XATTRS = (b"security.selinux", b"system.nfs4_acl", b"security.nfs4_acl")
_XATTR_REFUSED = (errno.ENOTSUP, errno.EPERM)
_ID_MAX = (1 << 32) - 2  # (uid_t) -1 means "leave it" to chown(2)
_SECONDS_MAX = (1 << 63) - 1


@record
class Unpacked:
    """What one layer was."""

    entries: int
    size: int  #: apparent bytes of its regular files
    #: directories that it needs and does not name, whose metadata comes from the layers below
    implied: frozenset[bytes]


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
    layer = _Layer(
        directory, reader, what=what, limits=limits, absolute_names=absolute_names, below=below
    )
    entry = None
    entries = 0
    try:
        layer.begin()
        for entry in reader:
            entries += 1
            layer.add(entry)
        layer.finish()
    except OSError as error:
        if isinstance(error, SyscallError):
            raise
        raise _refused(error, entry, what) from error
    finally:
        layer.close()
    return Unpacked(entries=entries, size=layer.size, implied=layer.implied_directories())


def _refused(error: OSError, entry: Entry | None, what: str) -> SyscallError:
    number = error.errno or 0
    name = errno.errorcode.get(number, str(number))
    target = show(entry.name) if entry is not None else "the layer's root"
    hints = {
        errno.ENOSPC: "the file system of the store is full",
        errno.EDQUOT: "the disk quota of the store's owner is used up",
        errno.EINVAL: "an owner may have no mapping in this user namespace",
    }
    return SyscallError(
        f"unpack {what}: entry {target}: {os.strerror(number)} ({name})",
        errno=number,
        call="unpack",
        target=target,
        hint=hints.get(number),
    )


class _Layer(Tree):
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
        super().__init__(root, what=what, limits=limits)
        self.size = 0
        self._reader = reader
        self._absolute_names = absolute_names
        self._below = below
        self._directories: dict[bytes, Entry | None] = {}  # real path → who gives its metadata
        self._whiteouts: set[bytes] = set()
        # Where there is one id, all is its: isolation/fake_ids.py.
        self._is_root = os.geteuid() == 0 and not has_single_id()
        self._make: dict[int, Callable[[Entry, bytes, bytes], None]] = {
            FILE: self._file,
            HARD_LINK: self._hard_link,
            SYMLINK: self._symlink,
            CHAR: self._node,
            DEVICE: self._node,
            FIFO: self._node,
            DIRECTORY: self._directory,
        }

    def begin(self) -> None:
        # A set-group-ID parent would hand its group down to every file in the layer.
        os.fchown(self._root, -1, os.getegid())
        os.fchmod(self._root, 0o700)
        self._directories[b""] = None

    def add(self, entry: Entry) -> None:
        name = entry.name
        self._check(entry)
        if _AUFS in name and self._is_of_aufs(name):
            return
        parent, last = self.split(name)
        if not last:
            if entry.kind != DIRECTORY:
                raise self.unsafe(name, "it would replace the root itself")
            self._directories[b""] = entry
            return
        if _WHITEOUT in name and self._is_hidden(name, parent, last):
            return
        real = parent + b"/" + last if parent else last
        try:
            self._make[entry.kind](entry, real, last)
        except FileExistsError:
            self._replace(entry, real, last)

    def implied_directories(self) -> frozenset[bytes]:
        """Those of which the archive says nothing."""
        return frozenset(real for real, entry in self._directories.items() if entry is None)

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

    # ── checks ───────────────────────────────────────────────────────────────────────────────

    def _check(self, entry: Entry) -> None:
        if not entry.name:
            raise self.unsafe(entry.name, "it has no name")
        if b"\0" in entry.name or b"\0" in entry.link:
            raise self.unsafe(entry.name, "it has a NUL in its name")
        if entry.name[0] == 0x2F and not self._absolute_names:
            raise UnsafeEntry(
                f"unpack {self._what}: entry {show(entry.name)}: its name is absolute",
                hint="make the archive without 'tar -P'",
            )
        if not (0 <= entry.uid <= _ID_MAX and 0 <= entry.gid <= _ID_MAX):
            raise self.unsafe(entry.name, f"no owner can be {entry.uid}:{entry.gid}")
        self.size += entry.size
        if self.size > self._limits.size_bytes:
            raise UnsafeEntry(
                f"unpack {self._what}: its files are larger than {self._limits.size_bytes} bytes",
                hint="raise Limits(size_bytes=…) if that is right",
            )

    # ── whiteouts ────────────────────────────────────────────────────────────────────────────

    def _is_of_aufs(self, name: bytes) -> bool:
        return any(part.startswith(_AUFS) and part != _OPAQUE for part in name.split(b"/"))

    def _is_hidden(self, name: bytes, parent: bytes, last: bytes) -> bool:
        """Carry out a whiteout; False when the entry is an ordinary one after all."""
        components = name.split(b"/")
        if last == _OPAQUE:
            self._set_opaque(self.fd(parent))
            return True
        if any(part.startswith(_WHITEOUT) for part in components[:-1]):
            raise self.unsafe(name, "it lies below a whiteout")
        if not last.startswith(_WHITEOUT):
            return False
        hidden = last[len(_WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise self.unsafe(name, "a whiteout of nothing")
        self._hide(parent, hidden)
        return True

    def _hide(self, parent: bytes, hidden: bytes) -> None:
        real = parent + b"/" + hidden if parent else hidden
        fd = self.fd(parent)
        try:
            # 0:0 needs no CAP_MKNOD since Linux 5.8: mknod(2), vfs_mknod().
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=fd)
        except FileExistsError:
            # This layer's own: it stays, and what the layers below have there goes.
            if stat.S_ISDIR(os.stat(hidden, dir_fd=fd, follow_symlinks=False).st_mode):
                self._set_opaque(self.fd(real))
        else:
            self._whiteouts.add(real)

    def _set_opaque(self, fd: int) -> None:
        os.setxattr(fd, "user.overlay.opaque", b"y")
        if self._is_root:
            try:
                os.setxattr(fd, "trusted.overlay.opaque", b"y")
            except PermissionError:
                pass  # root of a user namespace: its overlay reads user.overlay

    # ── what is there already ────────────────────────────────────────────────────────────────

    def _replace(self, entry: Entry, real: bytes, last: bytes) -> None:
        """The later of two entries of one name wins; a directory stays one and is not emptied."""
        if entry.kind == DIRECTORY and self._is_directory(real, last):
            self._directories[real] = entry
            return
        if entry.kind == HARD_LINK and self._target(entry) == real:
            return
        mode = self.remove(real)
        if stat.S_ISDIR(mode):
            below = real + b"/"
            for path in [p for p in self._directories if p == real or p.startswith(below)]:
                del self._directories[path]
        was_whiteout = real in self._whiteouts
        self._whiteouts.discard(real)
        self._make[entry.kind](entry, real, last)
        if was_whiteout and entry.kind == DIRECTORY:
            self._set_opaque(self.fd(real))

    def _is_directory(self, real: bytes, last: bytes) -> bool:
        fd = self.fd(real.rpartition(b"/")[0])
        return stat.S_ISDIR(os.stat(last, dir_fd=fd, follow_symlinks=False).st_mode)

    def implied(self, real: bytes) -> None:
        self.make_directory(real)
        self._directories[real] = None

    def in_the_way(self, real: bytes, name: bytes) -> None:
        if real not in self._whiteouts:
            super().in_the_way(real, name)
        self.remove(real)
        self._whiteouts.discard(real)
        self.implied(real)
        self._set_opaque(self.fd(real))

    # ── one kind of entry each ───────────────────────────────────────────────────────────────

    def _parent_fd(self, real: bytes) -> int:
        return self.fd(real.rpartition(b"/")[0])

    def _directory(self, entry: Entry, real: bytes, last: bytes) -> None:
        self.make_directory(real)
        self._directories[real] = entry

    def _file(self, entry: Entry, real: bytes, last: bytes) -> None:
        fd = os.open(last, _CREATE, 0o600, dir_fd=self._parent_fd(real))
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

    def _symlink(self, entry: Entry, real: bytes, last: bytes) -> None:
        if not entry.link:
            raise self.unsafe(entry.name, "a symbolic link to nothing")
        if len(entry.link) > self._limits.path_bytes:
            raise self.unsafe(
                entry.name, f"its target is longer than {self._limits.path_bytes} bytes"
            )
        os.symlink(entry.link, last, dir_fd=self._parent_fd(real))
        self._finish_node(entry, real, last)

    def _node(self, entry: Entry, real: bytes, last: bytes) -> None:
        kind = {CHAR: stat.S_IFCHR, DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}[entry.kind]
        major, minor = entry.device
        if not (0 <= major < 1 << 32 and 0 <= minor < 1 << 32):
            raise self.unsafe(entry.name, f"no device can be {major}:{minor}")
        fd = self._parent_fd(real)
        try:
            os.mknod(last, kind | 0o600, os.makedev(major, minor), dir_fd=fd)
        except PermissionError:
            # Without CAP_MKNOD there are no devices to be had; a container's /dev is ours anyway.
            return
        os.chmod(last, entry.mode, dir_fd=fd)
        self._finish_node(entry, real, last)
        os.chmod(last, entry.mode, dir_fd=fd)

    def _finish_node(self, entry: Entry, real: bytes, last: bytes) -> None:
        fd = self._parent_fd(real)
        if self._is_root:
            os.chown(last, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
        if entry.xattrs:
            # There is no setxattrat before Linux 6.13; the magic link ends at our descriptor, and
            # the last component is not followed.
            self._set_xattrs(entry, b"/proc/self/fd/%d/%s" % (fd, last))
        os.utime(last, ns=_times(entry), dir_fd=fd, follow_symlinks=False)

    def _target(self, entry: Entry) -> bytes:
        if b"\0" in entry.link or not entry.link:
            raise self.unsafe(entry.name, "a hard link to nothing")
        try:
            parent, last = self.find(entry.link)
        except FileNotFoundError:
            raise self._no_target(entry) from None
        if not last:
            raise self.unsafe(entry.name, "a hard link to the root")
        return parent + b"/" + last if parent else last

    def _no_target(self, entry: Entry) -> ImageError:
        return ImageError(
            f"unpack {self._what}: entry {show(entry.name)}: "
            f"a hard link to {show(entry.link)}, which this layer does not have"
        )

    def _hard_link(self, entry: Entry, real: bytes, last: bytes) -> None:
        target = self._target(entry)
        if target in self._whiteouts:
            raise self.unsafe(entry.name, "a hard link to a whiteout")
        parent, _, name = target.rpartition(b"/")
        source = os.dup(self.fd(parent))  # the next call of fd() may close it
        try:
            # linkat(2) without AT_SYMLINK_FOLLOW: a link to a symlink, not to what it points at.
            os.link(
                name,
                last,
                src_dir_fd=source,
                dst_dir_fd=self._parent_fd(real),
                follow_symlinks=False,
            )
        except FileNotFoundError:
            raise self._no_target(entry) from None
        except PermissionError:
            raise self.unsafe(entry.name, "a hard link to a directory") from None
        finally:
            os.close(source)

    # ── metadata ─────────────────────────────────────────────────────────────────────────────

    def _own(self, fd: int, entry: Entry) -> None:
        if self._is_root:
            os.fchown(fd, entry.uid, entry.gid)

    def _set_xattrs(self, entry: Entry, target: int | bytes) -> None:
        for key, value in (entry.xattrs or {}).items():
            if not key or b"\0" in key or key in _FOREIGN_XATTRS:
                continue
            for prefix in _OVERLAY_XATTRS:
                if key.startswith(prefix):
                    key = prefix + b"overlay." + key[len(prefix) :]
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
    limit = _SECONDS_MAX * 1_000_000_000
    nanoseconds = max(-limit, min(limit, entry.mtime_ns))
    return nanoseconds, nanoseconds
