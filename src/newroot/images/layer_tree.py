"""What the entries of a layer's tar mean, whatever kind of layer is made of them.

A whiteout becomes what overlayfs knows: a character device 0:0, or ``trusted.overlay.opaque`` on
the directory (``user.overlay.opaque`` too, for a mount with ``userxattr`` reads only that).  It
speaks of the layers below and so never removes what its own layer brings.  The later of two entries
of one name wins.

The archive is hostile until the last byte: names lead only through ``Tree``.  A known gap: aufs'
``.wh..wh.plnk`` is skipped, so a hard link into it is refused.
"""

from __future__ import annotations

import errno
import os
import stat

from newroot.errors import ImageError, SyscallError, UnsafeEntry
from newroot.images.limits import DEFAULT, Limits
from newroot.images.tar import CHAR, DEVICE, DIRECTORY, FIFO, FILE, HARD_LINK, SYMLINK
from newroot.images.tree import Tree, show
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from newroot.images.tar import Entry, TarReader

OPAQUE = ("user.overlay.opaque", "trusted.overlay.opaque")
NODES = {CHAR: stat.S_IFCHR, DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}

_WHITEOUT = b".wh."
_OPAQUE_NAME = b".wh..wh..opq"
_AUFS = b".wh..wh."
#: Kept from an archive as they are they would speak to the overlay that we mount.  Escaped once
#: more they show inside the container under the name they had: kernel overlayfs.rst, "Nesting
#: overlayfs mounts" (Linux 6.7; before that they are plain attributes without a meaning).
_OVERLAY_XATTRS = (b"trusted.overlay.", b"user.overlay.")
#: Labels of the machine that made the archive, which mean nothing on this one.
_FOREIGN_XATTRS = (b"security.selinux", b"system.nfs4_acl", b"security.nfs4_acl")
_ID_MAX = (1 << 32) - 2  # (uid_t) -1 means "leave it" to chown(2)
_SECONDS_MAX = (1 << 63) - 1


@record
class Unpacked:
    """What one layer was."""

    entries: int
    size: int  #: apparent bytes of its regular files
    #: directories that it needs and does not name, whose metadata comes from the layers below
    implied: frozenset[bytes]


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


class LayerTree(Tree):
    """A layer while it fills; a subclass knows how files are made."""

    def __init__(
        self,
        reader: TarReader,
        *,
        what: str,
        absolute_names: bool = True,
        limits: Limits = DEFAULT,
    ) -> None:
        super().__init__(what=what, limits=limits)
        self.size = 0
        self._reader = reader
        self._absolute_names = absolute_names
        self._directories: dict[bytes, Entry | None] = {b"": None}  # real path → whose metadata
        self._whiteouts: set[bytes] = set()
        self._make: dict[int, Callable[[Entry, bytes, bytes], None]] = {
            FILE: self.file,
            HARD_LINK: self._hard_link,
            SYMLINK: self._symlink,
            CHAR: self._node,
            DEVICE: self._node,
            FIFO: self._node,
            DIRECTORY: self._directory,
        }

    # ── how files are made: each raises FileExistsError ──────────────────────────────────────

    def begin(self) -> None:
        """Called before the first entry."""

    def close(self) -> None:
        """Called at the end, whatever it was."""

    def finish(self) -> None:
        """Called after the last entry: owners, modes and times of directories, and what else."""
        raise NotImplementedError

    def file(self, entry: Entry, real: bytes, last: bytes) -> None:
        raise NotImplementedError

    def symlink(self, entry: Entry, parent: bytes, last: bytes) -> None:
        raise NotImplementedError

    def node(self, entry: Entry, parent: bytes, last: bytes) -> None:
        raise NotImplementedError

    def link(self, target: bytes, parent: bytes, last: bytes) -> None:
        """Raises FileNotFoundError, PermissionError for a directory."""
        raise NotImplementedError

    def whiteout(self, parent: bytes, last: bytes) -> None:
        raise NotImplementedError

    def set_opaque(self, real: bytes) -> None:
        raise NotImplementedError

    # ── the archive ──────────────────────────────────────────────────────────────────────────

    def read(self) -> Unpacked:
        """Read the archive through.

        Raises UnsafeEntry for an entry that tries to leave, ImageError for a damaged archive,
        SyscallError when the host refuses.
        """
        entry = None
        entries = 0
        try:
            self.begin()
            for entry in self._reader:
                entries += 1
                self.add(entry)
            self.finish()
        except OSError as error:
            if isinstance(error, SyscallError):
                raise
            raise _refused(error, entry, self._what) from error
        finally:
            self.close()
        return Unpacked(entries=entries, size=self.size, implied=self.implied_directories())

    # ── one entry ────────────────────────────────────────────────────────────────────────────

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
        return any(part.startswith(_AUFS) and part != _OPAQUE_NAME for part in name.split(b"/"))

    def _is_hidden(self, name: bytes, parent: bytes, last: bytes) -> bool:
        """Carry out a whiteout; False when the entry is an ordinary one after all."""
        components = name.split(b"/")
        if last == _OPAQUE_NAME:
            self.set_opaque(parent)
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
        try:
            self.whiteout(parent, hidden)
        except FileExistsError:
            # This layer's own: it stays, and what the layers below have there goes.
            if stat.S_ISDIR(self.mode_of(parent, hidden)):
                self.set_opaque(real)
        else:
            self._whiteouts.add(real)

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
            self.set_opaque(real)

    def _is_directory(self, real: bytes, last: bytes) -> bool:
        return stat.S_ISDIR(self.mode_of(real.rpartition(b"/")[0], last))

    def implied(self, real: bytes) -> None:
        self.make_directory(real)
        self._directories[real] = None

    def in_the_way(self, real: bytes, name: bytes) -> None:
        if real not in self._whiteouts:
            super().in_the_way(real, name)
        self.remove(real)
        self._whiteouts.discard(real)
        self.implied(real)
        self.set_opaque(real)

    # ── one kind of entry each ───────────────────────────────────────────────────────────────

    def _directory(self, entry: Entry, real: bytes, last: bytes) -> None:
        self.make_directory(real)
        self._directories[real] = entry

    def _symlink(self, entry: Entry, real: bytes, last: bytes) -> None:
        if not entry.link:
            raise self.unsafe(entry.name, "a symbolic link to nothing")
        if len(entry.link) > self._limits.path_bytes:
            raise self.unsafe(
                entry.name, f"its target is longer than {self._limits.path_bytes} bytes"
            )
        self.symlink(entry, real.rpartition(b"/")[0], last)

    def _node(self, entry: Entry, real: bytes, last: bytes) -> None:
        major, minor = entry.device
        if not (0 <= major < 1 << 32 and 0 <= minor < 1 << 32):
            raise self.unsafe(entry.name, f"no device can be {major}:{minor}")
        self.node(entry, real.rpartition(b"/")[0], last)

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
        try:
            self.link(target, real.rpartition(b"/")[0], last)
        except FileNotFoundError:
            raise self._no_target(entry) from None
        except PermissionError:
            raise self.unsafe(entry.name, "a hard link to a directory") from None


# ── metadata ─────────────────────────────────────────────────────────────────────────────────


def kept_xattrs(entry: Entry) -> Iterator[tuple[bytes, bytes]]:
    """The extended attributes of an entry that mean something here, under the names they get."""
    for key, value in (entry.xattrs or {}).items():
        if not key or b"\0" in key or key in _FOREIGN_XATTRS:
            continue
        for prefix in _OVERLAY_XATTRS:
            if key.startswith(prefix):
                key = prefix + b"overlay." + key[len(prefix) :]
        yield key, value


def time_of(entry: Entry) -> int:
    """Its time in nanoseconds, within what a kernel takes."""
    limit = _SECONDS_MAX * 1_000_000_000
    return max(-limit, min(limit, entry.mtime_ns))
