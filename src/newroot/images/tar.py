"""Read a tar archive from a stream: ustar, PAX, GNU, v7; sparse files of every make.

It reads headers and hands over data, and touches no file.  Nothing that it gives out has been
checked for where it leads: names are bytes, as they stood in the archive.  Go's archive/tar is the
reference where POSIX is silent, for that is what made most layers.

The formats: pax(1) in POSIX.1-2017, tar(5) of libarchive, "Basic Tar Format" and "Storing Sparse
Files" in the GNU tar manual.
"""

from __future__ import annotations

import os
import struct
from zlib import adler32

from newroot.errors import ImageError, UnsafeEntry
from newroot.images.limits import DEFAULT, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 512
FILE, HARD_LINK, SYMLINK, CHAR, DEVICE, DIRECTORY, FIFO = range(7)

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
_ZERO_BLOCK = bytes(BLOCK)
_KINDS = {
    b"0": FILE,
    b"\0": FILE,
    b"7": FILE,  # contiguous, which no system of today tells apart
    b"S": FILE,
    b"1": HARD_LINK,
    b"2": SYMLINK,
    b"3": CHAR,
    b"4": DEVICE,
    b"5": DIRECTORY,
    b"6": FIFO,
}
_META = (b"x", b"g", b"X", b"L", b"K", b"V")
_XATTR = b"SCHILY.xattr."
_HEADERS_PER_ENTRY = 16
_NUMBERS_KEPT = 1000


class Entry:
    """One member: what its headers say of it, nothing checked."""

    __slots__ = (
        "data_size",
        "device",
        "gid",
        "kind",
        "link",
        "mode",
        "mtime_ns",
        "name",
        "pieces",
        "size",
        "uid",
        "xattrs",
    )

    name: bytes
    kind: int
    mode: int
    uid: int
    gid: int
    size: int  #: apparent size of the file
    data_size: int  #: bytes of it in the archive
    mtime_ns: int
    link: bytes
    device: tuple[int, int]
    xattrs: dict[bytes, bytes] | None
    pieces: list[tuple[int, int]] | None  #: (offset, length) of a sparse file's data


class TarReader:
    """The members of an archive, one after the other.

    After each entry ``copy_to`` gives its data; what is not taken is skipped.  *strict* also wants
    the end-of-archive marker, without which a truncation between two members goes unseen; a layer
    has its diff ID for that.  With *seek*, which moves *next_chunk* forward by so many bytes, data
    is not read to be skipped.
    """

    def __init__(
        self,
        next_chunk: Callable[[], bytes],
        *,
        what: str,
        strict: bool = False,
        seek: Callable[[int], object] | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        self._seek = seek
        self._next_chunk = next_chunk
        self._what = what
        self._strict = strict
        self._limits = limits
        self._buffer = b""
        self._at = 0
        self._start = 0  # of the buffer, in the archive
        self._left = 0  # of the current member's data
        self._padding = 0
        self._entries = 0
        self._numbers: dict[bytes, int] = {}

    @property
    def offset(self) -> int:
        """Where in the archive the reader stands: after an entry, where its data begins."""
        return self._start + self._at

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._next_entry()) is not None:
            self._entries += 1
            if self._entries > self._limits.entries:
                raise UnsafeEntry(
                    f"read {self._what}: more than {self._limits.entries} entries",
                    hint="raise Limits(entries=…) if that is right",
                )
            yield entry
            self._skip(self._left + self._padding)

    def copy_to(self, fd: int, size: int) -> None:
        """Write the next *size* bytes of the current member to *fd*."""
        if size > self._left:
            raise self._bad("a sparse file has less data than its map says")
        self._left -= size
        while size:
            if self._at == len(self._buffer):
                self._refill()
            view = memoryview(self._buffer)[self._at : self._at + size]
            written = os.write(fd, view)
            self._at += written
            size -= written

    def take_data(self, size: int) -> bytes:
        """The next *size* bytes of the current member."""
        if size > self._left:
            raise self._bad("a member ends too early")
        self._left -= size
        return self._take(size)

    def _bad(self, words: str) -> ImageError:
        return ImageError(f"read {self._what}: at byte {self.offset}: {words}")

    def _cut_short(self) -> ImageError:
        return ImageError(
            f"read {self._what}: it ends too early, after {self.offset} bytes",
            hint="the archive is truncated: fetch or make it again",
        )

    # ── bytes ────────────────────────────────────────────────────────────────────────────────

    def _refill(self) -> None:
        self._start += len(self._buffer)
        self._at = 0
        self._buffer = self._next_chunk()
        if not self._buffer:
            raise self._cut_short()

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end <= len(self._buffer):
            data = self._buffer[self._at : end]
            self._at = end
            return data
        parts = []
        while size:
            if self._at == len(self._buffer):
                self._refill()
            part = self._buffer[self._at : self._at + size]
            parts.append(part)
            self._at += len(part)
            size -= len(part)
        return b"".join(parts)

    def _skip(self, size: int) -> None:
        self._left = self._padding = 0
        while size > len(self._buffer) - self._at:
            size -= len(self._buffer) - self._at
            if self._seek is not None:
                self._seek(size)
                self._start += len(self._buffer) + size
                self._buffer, self._at = b"", 0
                return
            self._refill()
        self._at += size

    def _block(self) -> bytes | None:
        """The next header, or None where the archive ends."""
        if self._at == len(self._buffer):
            self._start += len(self._buffer)
            self._at = 0
            self._buffer = self._next_chunk()
            if not self._buffer:
                if self._strict:
                    raise self._cut_short()
                return None
        block = self._take(BLOCK)
        return None if block == _ZERO_BLOCK else block

    # ── headers ──────────────────────────────────────────────────────────────────────────────

    def _next_entry(self) -> Entry | None:
        pax: dict[bytes, bytes] = {}
        sparse: list[int] = []
        long_name = long_link = None
        for _ in range(_HEADERS_PER_ENTRY):
            block = self._block()
            if block is None:
                return None
            kind = block[156:157]
            if kind not in _META:
                entry = self._entry(block, kind, long_name, pax, sparse)
                if long_link is not None and b"linkpath" not in pax:
                    entry.link = long_link
                return entry
            data = self._meta(block)
            if kind == b"L":
                long_name = data.partition(b"\0")[0]
            elif kind == b"K":
                long_link = data.partition(b"\0")[0]
            elif kind in b"xX":
                pax, sparse = self._pax(data)
            # A global header ("g") and a volume's label ("V") change nothing, as in Go.
        raise UnsafeEntry(
            f"read {self._what}: more than {_HEADERS_PER_ENTRY} extended headers for one entry"
        )

    def _meta(self, block: bytes) -> bytes:
        self._check(block)
        size = self._number(block[124:136], "size")
        if size > self._limits.header_bytes:
            raise UnsafeEntry(
                f"read {self._what}: at byte {self.offset}: an extended header of {size} bytes, "
                f"more than {self._limits.header_bytes}"
            )
        data = self._take(size)
        self._skip(-size % BLOCK)
        return data

    def _check(self, block: bytes) -> None:
        wanted = self._number(block[148:156], "checksum")
        # Adler-32's lower half is the sum of the bytes, plus one, modulo 65521 (RFC 1950): twenty
        # times faster than adding them up here, which is a third of all reading.
        spaced = block[:148] + b"        " + block[156:]
        if adler32(spaced) & 0xFFFF == (wanted + 1) % 65521:
            return
        # The checksum's own field counts as eight spaces: 256.
        found = sum(block) - sum(block[148:156]) + 256
        if wanted == found:
            return
        # Some ancient writers summed signed bytes.
        if wanted == found - 256 * sum(byte > 127 for byte in block):
            return
        if self.offset == BLOCK:
            raise ImageError(
                f"read {self._what}: it is not a tar archive",
                hint="a tar may be plain, or compressed with gzip, zstd, xz or bzip2",
            )
        raise self._bad("a damaged header (its checksum is wrong)")

    def _entry(
        self,
        block: bytes,
        kind: bytes,
        long_name: bytes | None,
        pax: dict[bytes, bytes],
        sparse: list[int],
    ) -> Entry:
        self._check(block)
        fields = _HEADER.unpack(block)
        number = self._number
        entry = Entry()
        entry.name = fields[0].partition(b"\0")[0]
        entry.mode = self._seldom_new(fields[1], "mode") & 0o7777
        entry.uid = self._seldom_new(fields[2], "uid")
        entry.gid = self._seldom_new(fields[3], "gid")
        entry.size = number(fields[4], "size")
        entry.mtime_ns = number(fields[5], "mtime") * 1_000_000_000
        entry.link = fields[8].partition(b"\0")[0]
        entry.xattrs = entry.pieces = None
        entry.device = (0, 0)
        if fields[9][:6] == b"ustar\0" and fields[14][0]:
            # GNU's magic is "ustar  ": there the prefix field holds other things.
            entry.name = fields[14].partition(b"\0")[0] + b"/" + entry.name
        try:
            entry.kind = _KINDS[kind]
        except KeyError:
            raise self._bad(f"an entry of the unknown type {kind!r}") from None
        if entry.kind in (CHAR, DEVICE):
            entry.device = (number(fields[12], "devmajor"), number(fields[13], "devminor"))
        # The header's own name is a long one's beginning, and may be cut behind a slash.
        if long_name is not None:
            entry.name = long_name
        if pax:
            self._apply_pax(entry, pax)
        if entry.kind == FILE and entry.name.endswith(b"/"):
            entry.kind = DIRECTORY  # how v7 tar writes a directory
        self._open_data(entry, block if kind == b"S" else None, pax, sparse)
        return entry

    def _seldom_new(self, field: bytes, what: str) -> int:
        """As ``_number``, for a field that is the same in nearly every header."""
        value = self._numbers.get(field)
        if value is None:
            value = self._number(field, what)
            if len(self._numbers) < _NUMBERS_KEPT:
                self._numbers[field] = value
        return value

    def _number(self, field: bytes, what: str) -> int:
        """Octal digits, or GNU's base-256 when the top bit is set."""
        text = field.rstrip(b"\0 ")
        if text.isdigit():
            try:
                return int(text, 8)
            except ValueError:
                pass
        if field[0] & 0x80:
            value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
            # The next bit is the sign: two's complement.
            bits = 8 * len(field) - 1
            return value - (1 << bits) if value >> (bits - 1) else value
        text = field.partition(b"\0")[0].strip(b" ")
        if not text:
            return 0
        try:
            if not text.isdigit():
                raise ValueError
            return int(text, 8)
        except ValueError:
            pass
        if self.offset == BLOCK:
            raise ImageError(
                f"read {self._what}: it is not a tar archive",
                hint="a tar may be plain, or compressed with gzip, zstd, xz or bzip2",
            )
        raise self._bad(f"a damaged header ({what} is {text[:20]!r})")

    # ── PAX ──────────────────────────────────────────────────────────────────────────────────

    def _pax(self, data: bytes) -> tuple[dict[bytes, bytes], list[int]]:
        """Records ``"%d %s=%s\\n"``; GNU's sparse 0.0 map is records of one name, many times."""
        records: dict[bytes, bytes] = {}
        sparse: list[int] = []
        at = 0
        while at < len(data):
            space = data.find(b" ", at, at + 20)
            digits = data[at:space] if space > 0 else b""
            end = at + int(digits) if digits.isdigit() else 0
            if not space < end <= len(data) or data[end - 1] != 0x0A:
                raise self._bad("a damaged PAX header")
            key, equals, value = data[space + 1 : end - 1].partition(b"=")
            if not equals:
                raise self._bad("a damaged PAX header")
            if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
                sparse.append(self._decimal(value, key))
            else:
                records[key] = value
            at = end
        return records, sparse

    def _apply_pax(self, entry: Entry, pax: dict[bytes, bytes]) -> None:
        for key, value in pax.items():
            if key.startswith(_XATTR):
                entry.xattrs = entry.xattrs or {}
                entry.xattrs[key[len(_XATTR) :]] = value
            elif not value:
                continue  # an empty value takes back a global header's, and there are none
            elif key == b"path":
                entry.name = value
            elif key == b"linkpath":
                entry.link = value
            elif key == b"mtime":
                entry.mtime_ns = self._nanoseconds(value)
            elif key == b"size":
                entry.size = self._decimal(value, key)
            elif key == b"uid":
                entry.uid = self._decimal(value, key)
            elif key == b"gid":
                entry.gid = self._decimal(value, key)

    def _decimal(self, value: bytes, key: bytes) -> int:
        if not value.isdigit() or len(value) > 20:
            raise self._bad(f"a damaged PAX header ({key.decode()} is {value[:20]!r})")
        return int(value)

    def _nanoseconds(self, value: bytes) -> int:
        negative = value.startswith(b"-")
        whole, _, fraction = value.lstrip(b"-").partition(b".")
        fraction = fraction[:9]
        if not whole.isdigit() or len(whole) > 20 or not (fraction.isdigit() or not fraction):
            raise self._bad(f"a damaged PAX header (mtime is {value[:20]!r})")
        nanoseconds = int(whole) * 1_000_000_000 + int(fraction.ljust(9, b"0"))
        return -nanoseconds if negative else nanoseconds

    # ── data, and sparse files ───────────────────────────────────────────────────────────────

    def _open_data(
        self, entry: Entry, gnu: bytes | None, pax: dict[bytes, bytes], sparse: list[int]
    ) -> None:
        if entry.kind != FILE:
            entry.size = 0  # a link or a directory has no data, whatever its size says: as in Go
        if entry.size < 0:
            raise self._bad("an entry of negative size")
        self._left = entry.data_size = entry.size
        self._padding = -entry.size % BLOCK
        if entry.kind != FILE:
            return
        if gnu is not None:
            self._gnu_sparse(entry, gnu)
        elif b"GNU.sparse.major" in pax or b"GNU.sparse.map" in pax or sparse:
            self._pax_sparse(entry, pax, sparse)

    def _gnu_sparse(self, entry: Entry, block: bytes) -> None:
        """GNU's own: four pieces in the header, 21 in each block that follows."""
        entry.size = self._number(block[483:495], "realsize")
        numbers: list[int] = []
        field, count, more = 386, 4, block[482]
        while True:
            for at in range(field, field + 24 * count, 24):
                if not block[at]:
                    break
                numbers.append(self._number(block[at : at + 12], "offset"))
                numbers.append(self._number(block[at + 12 : at + 24], "numbytes"))
            if not more:
                break
            self._count_pieces(len(numbers) // 2)
            block = self._take(BLOCK)
            field, count, more = 0, 21, block[504]
        self._set_pieces(entry, numbers)

    def _pax_sparse(self, entry: Entry, pax: dict[bytes, bytes], sparse: list[int]) -> None:
        """GNU's PAX forms: 0.0 in records, 0.1 in one record, 1.0 before the data."""
        version = (pax.get(b"GNU.sparse.major"), pax.get(b"GNU.sparse.minor"))
        if version[0] is not None and version not in ((b"0", b"0"), (b"0", b"1"), (b"1", b"0")):
            raise self._bad("a sparse file of an unknown version")
        entry.name = pax.get(b"GNU.sparse.name", entry.name)
        real = pax.get(b"GNU.sparse.realsize", pax.get(b"GNU.sparse.size"))
        if real is None:
            raise self._bad("a sparse file without its size")
        entry.size = self._decimal(real, b"GNU.sparse.realsize")
        if version[0] == b"1":
            numbers = self._map_before_data(entry)
        elif b"GNU.sparse.map" in pax:
            parts = pax[b"GNU.sparse.map"].split(b",") if pax[b"GNU.sparse.map"] else []
            numbers = [self._decimal(part, b"GNU.sparse.map") for part in parts]
        else:
            numbers = sparse
        self._set_pieces(entry, numbers)

    def _map_before_data(self, entry: Entry) -> list[int]:
        """Decimal numbers, one a line, the count first, filled up to a whole block."""
        text = b""

        def lines(count: int) -> list[bytes]:
            nonlocal text
            while text.count(b"\n") < count:
                text += self.take_data(min(BLOCK, self._left) or 1)
                if len(text) > self._limits.header_bytes:
                    raise UnsafeEntry(f"read {self._what}: a sparse map of {len(text)} bytes")
            return text.split(b"\n", count)[:count]

        count = self._decimal(lines(1)[0], b"sparse map")
        self._count_pieces(count)
        numbers = lines(1 + 2 * count)[1:]
        entry.data_size -= len(text)
        return [self._decimal(number, b"sparse map") for number in numbers]

    def _count_pieces(self, count: int) -> None:
        if count > self._limits.sparse_pieces:
            raise UnsafeEntry(
                f"read {self._what}: a sparse file of more than {self._limits.sparse_pieces} pieces"
            )

    def _set_pieces(self, entry: Entry, numbers: list[int]) -> None:
        self._count_pieces(len(numbers) // 2)
        pieces = list(zip(numbers[::2], numbers[1::2], strict=False))
        end = 0
        for offset, length in pieces:
            if offset < end or length < 0:
                raise self._bad("a sparse file whose pieces overlap")
            end = offset + length
        if len(numbers) % 2 or end > entry.size:
            raise self._bad("a sparse file with a damaged map")
        if sum(length for _, length in pieces) != entry.data_size:
            raise self._bad("a sparse file has more or less data than its map says")
        entry.pieces = pieces
