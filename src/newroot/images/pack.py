"""A tar out of files: what ``commit``, ``export`` and ``save`` write.

The same files give the same bytes: members come in the order they are given, nothing in the archive
says who made it or when, and with *epoch* no time in it is later (reproducible-builds.org,
SOURCE_DATE_EPOCH).  Ustar, with PAX headers where ustar does not reach: long names, large numbers,
times finer than a second, extended attributes, sparse files (GNU's form 1.0, which Go, GNU tar and
libarchive read).

A file is opened on its directory's descriptor, without following a link and without waiting, and is
what it was seen to be or is left out: what it belongs to may run meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from zlib import adler32

from newroot.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 512
_CHUNK = 1 << 20
_FLUSH = 256 << 10
_ZEROS = bytes(BLOCK)
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_TYPES = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}
_HARD_LINK = b"1"
_ID_MAX = 0o7777777
_SIZE_MAX = 0o77777777777
_PIECES_MAX = 65_536  # as Limits.sparse_pieces, or our own reader would refuse it
_HOLE_MIN = 4096

#: How an overlay keeps its books, and what was escaped from it when the layer was unpacked.
_OVERLAY = ("trusted.overlay.", "user.overlay.")
#: Labels of this machine, which mean nothing on another: unpack.py drops them likewise.
_FOREIGN = ("security.selinux", "system.nfs4_acl", "security.nfs4_acl")


class Packer:
    """Writes members; each method gives the bytes to append to the archive."""

    def __init__(
        self,
        *,
        what: str,
        epoch: int | None = None,
        ids: Callable[[int, int], tuple[int, int]] | None = None,
    ) -> None:
        self._what = what
        self._ids = ids  # what an owner of the host's is called in the archive
        self._latest_ns = None if epoch is None else epoch * 1_000_000_000
        self._first: dict[tuple[int, int], bytes] = {}  # of a file with several names

    def file(
        self, path: bytes, parent: int, name: bytes, status: os.stat_result
    ) -> Iterator[bytes]:
        """Whatever is called *name* in the directory *parent*, as *path*; nothing for a socket."""
        kind = stat.S_IFMT(status.st_mode)
        if kind not in _TYPES:
            return
        key = (status.st_dev, status.st_ino)
        if kind != stat.S_IFDIR and status.st_nlink > 1:
            if key in self._first:
                yield self._header(path, status, _HARD_LINK, link=self._first[key])
                return
            self._first[key] = path
        if kind == stat.S_IFREG:
            yield from self._regular(path, parent, name)
            return
        proc = f"/proc/self/fd/{parent}/{os.fsdecode(name)}"
        try:
            link = os.readlink(name, dir_fd=parent) if kind == stat.S_IFLNK else b""
            xattrs = self._xattrs(path, proc)
        except FileNotFoundError:
            return
        yield self._header(path, status, _TYPES[kind], link=link, xattrs=xattrs)

    def data(self, path: str, data: bytes, *, mode: int = 0o644) -> bytes:
        """A file of ours, with the oldest of all times."""
        return self.begin(path, len(data), mode=mode) + data + padding(len(data))

    def begin(self, path: str, size: int, *, mode: int = 0o644) -> bytes:
        """The header of a file of ours; its data and ``padding(size)`` are the caller's."""
        return self._ours(path.encode(), stat.S_IFREG | mode, size)

    def directory(self, path: str) -> bytes:
        """A directory of ours."""
        return self._ours(path.encode(), stat.S_IFDIR | 0o755, 0)

    def whiteout(self, path: bytes) -> bytes:
        """The mark that hides *path* of the layers below: image-spec, layer.md."""
        directory, slash, name = path.rpartition(b"/")
        return self._ours(directory + slash + b".wh." + name, stat.S_IFREG, 0)

    def opaque(self, path: bytes) -> bytes:
        """The mark that hides all that the layers below have in the directory *path*."""
        return self._ours(path + b"/.wh..wh..opq", stat.S_IFREG, 0)

    def end(self) -> bytes:
        """The end of the archive: two empty blocks."""
        return 2 * _ZEROS

    # ── regular files ────────────────────────────────────────────────────────────────────────

    def _regular(self, path: bytes, parent: int, name: bytes) -> Iterator[bytes]:
        try:
            fd = os.open(name, _OPEN, dir_fd=parent)
        except OSError as error:
            # Removed, or replaced by a link or a socket, since it was seen.
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                return
            raise
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return
            xattrs = self._xattrs(path, fd)
            pieces = _pieces(fd, status)
            if pieces is None:
                yield self._header(path, status, b"0", size=status.st_size, xattrs=xattrs)
                yield from _exactly(fd, 0, status.st_size)
                yield padding(status.st_size)
            else:
                yield from self._sparse(path, fd, status, pieces, xattrs)
        finally:
            os.close(fd)

    def _sparse(
        self,
        path: bytes,
        fd: int,
        status: os.stat_result,
        pieces: list[tuple[int, int]],
        xattrs: list[tuple[bytes, bytes]],
    ) -> Iterator[bytes]:
        """GNU tar manual, "Storing Sparse Files", PAX format version 1.0."""
        numbers = [len(pieces), *(number for piece in pieces for number in piece)]
        text = b"".join(b"%d\n" % number for number in numbers)
        text += padding(len(text))
        size = len(text) + sum(length for _, length in pieces)
        records = [
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", path),
            (b"GNU.sparse.realsize", b"%d" % status.st_size),
        ]
        directory, slash, name = path.rpartition(b"/")
        stand_in = directory + slash + b"GNUSparseFile.0/" + name
        yield self._header(stand_in, status, b"0", size=size, xattrs=xattrs, records=records)
        yield text
        for offset, length in pieces:
            yield from _exactly(fd, offset, length)
        yield padding(size)

    # ── headers ──────────────────────────────────────────────────────────────────────────────

    def _ours(self, path: bytes, mode: int, size: int) -> bytes:
        kind = _TYPES[stat.S_IFMT(mode)]
        records: list[tuple[bytes, bytes]] = []
        if kind == b"5":
            path += b"/"
        name = _field(b"path", path, 100, records)
        block = _block(name, mode, 0, 0, _large(b"size", size, _SIZE_MAX, records), 0, kind, b"")
        return _pax(records) + block

    def _header(
        self,
        path: bytes,
        status: os.stat_result,
        kind: bytes,
        *,
        link: bytes = b"",
        size: int = 0,
        xattrs: list[tuple[bytes, bytes]] | None = None,
        records: list[tuple[bytes, bytes]] | None = None,
    ) -> bytes:
        records = records or []
        if kind == b"5":
            path += b"/"
        is_device = kind in (b"3", b"4")
        uid, gid = status.st_uid, status.st_gid
        if self._ids is not None:
            uid, gid = self._ids(uid, gid)
        block = _block(
            _field(b"path", path, 100, records),
            status.st_mode,
            _large(b"uid", uid, _ID_MAX, records),
            _large(b"gid", gid, _ID_MAX, records),
            _large(b"size", size, _SIZE_MAX, records),
            self._time(status.st_mtime_ns, records),
            kind,
            _field(b"linkpath", link, 100, records),
            os.major(status.st_rdev) if is_device else 0,
            os.minor(status.st_rdev) if is_device else 0,
        )
        for key, value in xattrs or ():
            records.append((b"SCHILY.xattr." + key, value))
        return _pax(records) + block if records else block

    def _time(self, mtime_ns: int, records: list[tuple[bytes, bytes]]) -> int:
        if self._latest_ns is not None and mtime_ns > self._latest_ns:
            mtime_ns = self._latest_ns
        seconds, rest = divmod(mtime_ns, 1_000_000_000)
        if not rest and 0 <= seconds <= _SIZE_MAX:
            return seconds
        sign = b""
        if mtime_ns < 0:
            sign, (seconds, rest) = b"-", divmod(-mtime_ns, 1_000_000_000)
        fraction = b".%09d" % rest if rest else b""
        records.append((b"mtime", sign + b"%d" % seconds + fraction.rstrip(b"0")))
        return seconds if not sign and seconds <= _SIZE_MAX else 0

    def _xattrs(self, path: bytes, target: int | str) -> list[tuple[bytes, bytes]]:
        follow = isinstance(target, int)
        try:
            keys = os.listxattr(target, follow_symlinks=follow)
        except OSError as error:
            if error.errno == errno.ENOTSUP:
                return []
            raise
        found = []
        for key in sorted(keys):
            name = _unescaped(key)
            if name is None:
                continue
            if "=" in name:
                raise ImageError(
                    f"pack {self._what}: {os.fsdecode(path)!r} has the extended attribute "
                    f"{name!r}, and no tar can hold a name with '='",
                    hint="setfattr -x removes it",
                )
            try:
                value = os.getxattr(target, key, follow_symlinks=follow)
            except OSError as error:
                if error.errno == errno.ENODATA:
                    continue
                raise
            found.append((os.fsencode(name), value))
        return found


def padding(size: int) -> bytes:
    """What fills the data of a member of *size* bytes up to whole blocks."""
    return bytes(-size % BLOCK)


def gathered(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks that are worth handing on."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= _FLUSH:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _unescaped(key: str) -> str | None:
    """The name that the container sees; None for what is the overlay's, or this machine's."""
    if key in _FOREIGN:
        return None
    for prefix in _OVERLAY:
        if key.startswith(prefix):
            rest = key.removeprefix(prefix)
            return prefix + rest.removeprefix("overlay.") if rest.startswith("overlay.") else None
    return key


def _pieces(fd: int, status: os.stat_result) -> list[tuple[int, int]] | None:
    """Where the data of a sparse file is; None when it is not one, or not worth it."""
    size = status.st_size
    if status.st_blocks * 512 + _HOLE_MIN > size:
        return None
    pieces = []
    at = 0
    while at < size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # ENXIO: nothing but a hole from here
                return None
            break
        at = min(os.lseek(fd, begin, os.SEEK_HOLE), size)
        pieces.append((begin, at - begin))
        if len(pieces) > _PIECES_MAX - 1:
            return None
    if sum(length for _, length in pieces) == size:
        return None
    # GNU tar and Go want the map to end where the file does.
    if not pieces or sum(pieces[-1]) < size:
        pieces.append((size, 0))
    return pieces


def _exactly(fd: int, offset: int, size: int) -> Iterator[bytes]:
    """So many bytes, whatever happens to the file: one that shrinks goes on with zeros."""
    while size:
        chunk = os.pread(fd, min(_CHUNK, size), offset) or bytes(min(_CHUNK, size))
        offset += len(chunk)
        size -= len(chunk)
        yield chunk


def _field(key: bytes, value: bytes, length: int, records: list[tuple[bytes, bytes]]) -> bytes:
    if len(value) <= length:
        return value
    try:
        value.decode()
    except UnicodeDecodeError:
        # pax(1): without this a path is UTF-8
        if (b"hdrcharset", b"BINARY") not in records:
            records.insert(0, (b"hdrcharset", b"BINARY"))
    records.append((key, value))
    return value[:length]


def _large(key: bytes, value: int, most: int, records: list[tuple[bytes, bytes]]) -> int:
    if value <= most:
        return value
    records.append((key, b"%d" % value))
    return 0


def _block(
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    kind: bytes,
    link: bytes,
    major: int = 0,
    minor: int = 0,
) -> bytes:
    """One ustar header: pax(1), "ustar Interchange Format"."""
    block = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%bustar\00000%64b%07o\0%07o\0%167b" % (
        name.ljust(100, b"\0"), mode & 0o7777, uid, gid, size, mtime, kind, link.ljust(100, b"\0"),
        b"\0" * 64, major, minor, b"\0" * 167,
    )  # fmt: skip
    # The lower half of Adler-32 is one more than the sum (RFC 1950), which in half a block stays
    # below the modulus; it is ten times faster than adding up here.
    total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
    return b"%b%06o\0 %b" % (block[:148], total, block[156:])


def _pax(records: list[tuple[bytes, bytes]]) -> bytes:
    if not records:
        return b""
    data = b"".join(_record(key, value) for key, value in records)
    header = _block(b"PaxHeaders.0", stat.S_IFREG | 0o644, 0, 0, len(data), 0, b"x", b"")
    return header + data + padding(len(data))


def _record(key: bytes, value: bytes) -> bytes:
    """``LENGTH KEY=VALUE\\n``, where LENGTH counts itself."""
    body = b" %b=%b\n" % (key, value)
    length = len(body)
    while length != len(body) + len(b"%d" % length):
        length = len(body) + len(b"%d" % length)
    return b"%d" % length + body
