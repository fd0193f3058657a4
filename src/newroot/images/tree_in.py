"""A tar is laid into a tree that is there, and may be somebody else's: ``cp``, ``volume import``.

Unlike unpack.py, which fills a directory that nobody else sees, this writes where a container may
be running, and lying: every directory is found below the root, a component at a time and by
descriptor (linux/paths.py), and what is made is made in a directory that is held.  A file comes
whole, under a name of its own, and is renamed; so nothing is ever written through a link, and a
reader sees the old one or the new one.

Docker's rules for what is there already: a directory takes in a directory, and nothing else may
take a directory's place, nor a directory that of anything else (moby, pkg/archive,
NoOverwriteDirNonDir).
"""

from __future__ import annotations

import errno
import os
import stat

from newroot.errors import ImageError, UnsafeEntry, UsageError
from newroot.images.limits import Limits
from newroot.images.tar import CHAR, DEVICE, DIRECTORY, FIFO, FILE, HARD_LINK, SYMLINK, TarReader
from newroot.images.tree import show
from newroot.linux.paths import Entry, Walk, look_up
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from newroot.images.tar import Entry as Member

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HELD_AT_ONCE = 64
_REFUSED = (errno.ENOTSUP, errno.EPERM)
#: Of this machine, of an overlay, or rights that a file has no more once it is another's: chown(2).
_FOREIGN = (b"security.selinux", b"system.nfs4_acl", b"security.nfs4_acl")
_OVERLAY = (b"trusted.overlay.", b"user.overlay.")
_RIGHTS = b"security.capability"
_SECONDS_MAX = (1 << 63) - 1
#: A copy is as large as who asks for it wants.
_LIMITS = Limits(entries=1 << 62, size_bytes=1 << 62)


@record
class Laid:
    """What was laid down."""

    files: int = 0
    size: int = 0  #: bytes of regular files
    left_out: tuple[str, ...] = ()  #: device nodes, which only *archive* takes along


class Layer:
    """Lays the members of one archive below *root*, into the directory *where*.

    *owner*, as this host counts, is whose everything becomes; set-user-ID bits and capabilities
    go then.  Without it everything keeps its owner, which *ids* may translate, and device nodes
    come along.  A *strict* archive has an end, or was cut.
    """

    def __init__(
        self,
        root: int,
        where: bytes,
        *,
        what: str,
        owner: tuple[int, int] | None = None,
        ids: Callable[[int, int], tuple[int, int]] | None = None,
        strict: bool = False,
    ) -> None:
        self._root = root
        self._where = where.rstrip(b"/")
        self._what = what
        self._owner = owner
        self._ids = ids
        self._strict = strict
        self._is_root = os.geteuid() == 0
        self._held: dict[bytes, int] = {}  # directories by their names, least recently opened first
        self._directories: dict[bytes, Member] = {}
        self._files = 0
        self._size = 0
        self._left_out: list[str] = []
        self._make: dict[int, Callable[[Member, int, bytes], None]] = {
            FILE: self._file,
            HARD_LINK: self._hard_link,
            SYMLINK: self._symlink,
            CHAR: self._node,
            DEVICE: self._node,
            FIFO: self._node,
        }

    def take(self, next_chunk: Callable[[], bytes]) -> Laid:
        """Lay down all of the archive that *next_chunk* gives.

        On failure what came before stays.  Raises UsageError where one thing stands in another's
        way, UnsafeEntry for a name that leads out, ImageError for a damaged archive, OSError.
        """
        self._reader = TarReader(next_chunk, what=self._what, strict=self._strict, limits=_LIMITS)
        try:
            for member in self._reader:
                self._add(member)
            for name in sorted(self._directories, reverse=True):
                self._finish_directory(name, self._directories[name])
        finally:
            for fd in self._held.values():
                os.close(fd)
            self._held.clear()
        return Laid(files=self._files, size=self._size, left_out=tuple(self._left_out))

    # ── names ────────────────────────────────────────────────────────────────────────────────

    def _add(self, member: Member) -> None:
        name = self._cleaned(member.name)
        if not name:
            return  # the directory itself, which is as it is
        parent, _, last = name.rpartition(b"/")
        self._files += 1
        if member.kind == DIRECTORY:
            self._directory(member, name, self._fd(parent), last)
        else:
            self._make[member.kind](member, self._fd(parent), last)

    def _cleaned(self, name: bytes) -> bytes:
        parts: list[bytes] = []
        for part in name.split(b"/"):
            if part == b"..":
                if not parts:
                    raise self._unsafe(name, "it climbs above where it is put")
                parts.pop()
            elif part not in (b"", b"."):
                parts.append(part)
        if b"\0" in name:
            raise self._unsafe(name, "it has a NUL in its name")
        return b"/".join(parts)

    def _unsafe(self, name: bytes, words: str) -> UnsafeEntry:
        return UnsafeEntry(f"copy {self._what}: entry {show(name)}: {words}")

    def _fd(self, name: bytes) -> int:
        """A descriptor of the directory *name*, made if it is missing; good until the next call."""
        fd = self._held.get(name)
        if fd is None:
            fd = self._open(name)
            if fd is None:
                parent, _, last = name.rpartition(b"/")
                try:
                    os.mkdir(last, 0o755, dir_fd=self._fd(parent))
                except FileExistsError:
                    raise UsageError(
                        f"copy {self._what}: {show(name)} is a link that leads nowhere"
                    ) from None
                self._give(self._owner, self._fd(parent), last)
                fd = self._open(name)
            if fd is None:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), os.fsdecode(name))
            if len(self._held) >= _HELD_AT_ONCE:
                os.close(self._held.pop(next(iter(self._held))))
            self._held[name] = fd
        return fd

    def _open(self, name: bytes) -> int | None:
        """The directory *name*, links followed below the root; None when it is not there."""
        path = self._where + b"/" + name
        with Walk(Entry((self._root,), stat.S_IFDIR), look_up) as walk:
            try:
                found = walk.resolve(os.fsdecode(path))[2]
            except FileNotFoundError:
                return None
            if found is None:
                return None
            if not found.is_dir:
                raise UsageError(f"copy {self._what}: {show(name)} is not a directory")
            return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=found.fds[0])

    # ── one kind each ────────────────────────────────────────────────────────────────────────

    def _directory(self, member: Member, name: bytes, parent: int, last: bytes) -> None:
        try:
            os.mkdir(last, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode):
                raise UsageError(
                    f"copy {self._what}: {show(member.name)} is a directory, and what is there "
                    "is none"
                ) from None
        self._directories[name] = member

    def _finish_directory(self, name: bytes, member: Member) -> None:
        fd = self._fd(name)
        if self._is_root:
            os.fchown(fd, *self._owner_of(member))
        self._set_xattrs(member, fd)
        os.fchmod(fd, member.mode)
        os.utime(fd, ns=_times(member))

    def _file(self, member: Member, parent: int, last: bytes) -> None:
        beside = b".newroot-" + os.urandom(8).hex().encode()
        fd = os.open(beside, _CREATE, 0o600, dir_fd=parent)
        try:
            if member.pieces is not None:
                for offset, length in member.pieces:
                    os.lseek(fd, offset, os.SEEK_SET)
                    self._reader.copy_to(fd, length)
                os.ftruncate(fd, member.size)
            elif member.size:
                self._reader.copy_to(fd, member.size)
            # chown(2) clears set-user-ID and file capabilities: so owner, then mode, then these.
            if self._is_root:
                os.fchown(fd, *self._owner_of(member))
            os.fchmod(fd, self._mode_of(member))
            self._set_xattrs(member, fd)
            os.utime(fd, ns=_times(member))
            self._put(beside, parent, last)
        except BaseException:
            _unlink(beside, parent)
            raise
        finally:
            os.close(fd)
        self._size += member.size

    def _symlink(self, member: Member, parent: int, last: bytes) -> None:
        beside = b".newroot-" + os.urandom(8).hex().encode()
        os.symlink(member.link, beside, dir_fd=parent)
        try:
            self._give(self._owner_of(member), parent, beside)
            os.utime(beside, ns=_times(member), dir_fd=parent, follow_symlinks=False)
            self._put(beside, parent, last)
        except BaseException:
            _unlink(beside, parent)
            raise

    def _node(self, member: Member, parent: int, last: bytes) -> None:
        if member.kind != FIFO and self._owner is not None:
            # A device that a stranger chose, readable by all, is not what a copy is asked for.
            self._left_out.append(os.fsdecode(member.name))
            return
        kind = {CHAR: stat.S_IFCHR, DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}[member.kind]
        beside = b".newroot-" + os.urandom(8).hex().encode()
        os.mknod(beside, kind | 0o600, os.makedev(*member.device), dir_fd=parent)
        try:
            self._give(self._owner_of(member), parent, beside)
            # It is ours, but the directory may not be: the mode is set on what is held.
            fd = os.open(beside, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                if stat.S_IFMT(os.fstat(fd).st_mode) == kind:
                    os.chmod(f"/proc/self/fd/{fd}", self._mode_of(member))
            finally:
                os.close(fd)
            os.utime(beside, ns=_times(member), dir_fd=parent, follow_symlinks=False)
            self._put(beside, parent, last)
        except BaseException:
            _unlink(beside, parent)
            raise

    def _hard_link(self, member: Member, parent: int, last: bytes) -> None:
        target = self._cleaned(member.link)
        directory, _, name = target.rpartition(b"/")
        if not name:
            raise self._unsafe(member.name, "a hard link to a directory")
        held = os.dup(parent)  # the next call of _fd() may close it
        try:
            source = self._fd(directory)
            beside = b".newroot-" + os.urandom(8).hex().encode()
            # linkat(2) without AT_SYMLINK_FOLLOW: a link to a symlink, not to what it points at.
            os.link(name, beside, src_dir_fd=source, dst_dir_fd=held, follow_symlinks=False)
            try:
                self._put(beside, held, last)
            finally:
                # rename(2) does nothing where both names are one file.
                _unlink(beside, held)
        except FileNotFoundError:
            raise ImageError(
                f"copy {self._what}: entry {show(member.name)}: a hard link to "
                f"{show(member.link)}, which is not there"
            ) from None
        finally:
            os.close(held)

    def _put(self, beside: bytes, parent: int, last: bytes) -> None:
        """Give a whole file its name.  rename(2) follows no link, and replaces no directory."""
        try:
            os.rename(beside, last, src_dir_fd=parent, dst_dir_fd=parent)
        except IsADirectoryError:
            raise UsageError(
                f"copy {self._what}: a directory {show(last)} is there, and cannot be replaced "
                "by what is none"
            ) from None

    # ── metadata ─────────────────────────────────────────────────────────────────────────────

    def _owner_of(self, member: Member) -> tuple[int, int]:
        if self._owner is not None:
            return self._owner
        return (member.uid, member.gid) if self._ids is None else self._ids(member.uid, member.gid)

    def _mode_of(self, member: Member) -> int:
        return member.mode & 0o1777 if self._owner is not None else member.mode

    def _give(self, owner: tuple[int, int] | None, parent: int, name: bytes) -> None:
        if self._is_root and owner is not None:
            os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)

    def _set_xattrs(self, member: Member, fd: int) -> None:
        for key, value in (member.xattrs or {}).items():
            if not key or b"\0" in key or key in _FOREIGN or key.startswith(_OVERLAY):
                continue
            if key == _RIGHTS and self._owner is not None:
                continue
            try:
                os.setxattr(fd, key, value)
            except OSError as error:
                # A file system without them, or no right to set them: as every engine does.
                if error.errno not in _REFUSED:
                    raise


def _unlink(name: bytes, parent: int) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass


def _times(member: Member) -> tuple[int, int]:
    limit = _SECONDS_MAX * 1_000_000_000
    nanoseconds = max(-limit, min(limit, member.mtime_ns))
    return nanoseconds, nanoseconds
