"""Take a compressed stream apart, whichever of gzip, zstd, bzip2 and xz it is.

A stream here is a function that returns the next chunk, and ``b""`` when there is no more.  The
kind is told by the first bytes, never by a file's name or a media type: both lie.  Which library
does it and why: docs/decisions/0005-compression-libraries.md.  Libraries load at first use.
"""

from __future__ import annotations

import sys

from newroot.errors import ImageError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    Chunks = Callable[[], bytes]

    class Decompressor(Protocol):
        """What bz2, lzma, compression.zstd and igzip_lib have in common."""

        @property
        def eof(self) -> bool: ...
        @property
        def needs_input(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...

        def decompress(self, data: bytes, max_length: int, /) -> bytes: ...

    class Compressor(Protocol):
        def compress(self, data: bytes, /) -> bytes: ...

        def flush(self) -> bytes: ...

    Found = tuple[Callable[[], Decompressor], tuple[type[Exception], ...]]


CHUNK = 1 << 20

#: xz and zstd may ask for gigabytes of window.  128 MiB is zstd's own bound without --long, and
#: twice what xz -9 needs.
_MEMORY_MAX = 128 << 20
_ZSTD_WINDOW_LOG_MAX = 27

_MAGIC = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)


def sniff(head: bytes) -> str | None:
    """The compression that *head* begins, or None."""
    if head[257:262] == b"ustar":
        return None  # a tar, whose first member's name may begin with any magic number
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    # zstd skippable frames, which pzstd and zstd:chunked may put first: RFC 8878, 3.1.2
    if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:
        return "zstd"
    return None


def decompressed(chunks: Chunks, kind: str, what: str) -> Chunks:
    """The stream inside *chunks*, which is compressed as *kind*; *what* names it in errors.

    Raises ImageError when it is damaged or ends too early.
    """
    make, failures = _DECOMPRESSORS[kind]()
    return _Decompressed(chunks, make, failures, kind, what).next


class _Decompressed:
    """Streams one after the other, as gzip(1), zstd(1) and the others read them."""

    def __init__(
        self,
        chunks: Chunks,
        make: Callable[[], Decompressor],
        failures: tuple[type[Exception], ...],
        kind: str,
        what: str,
    ) -> None:
        self._chunks = chunks
        self._make = make
        self._failures = failures
        self._kind = kind
        self._what = what
        self._pending = b""
        self._decompressor: Decompressor | None = None

    def next(self) -> bytes:
        try:
            return self._next()
        except self._failures as error:
            raise ImageError(f"read {self._what}: damaged {self._kind} data: {error}") from None

    def _next(self) -> bytes:
        while True:
            if self._decompressor is None and not self._begin():
                return b""
            assert self._decompressor is not None
            out = self._decompressor.decompress(self._input(self._decompressor), CHUNK)
            if self._decompressor.eof:
                self._pending = self._decompressor.unused_data
                self._decompressor = None
            if out:
                return out

    def _begin(self) -> bool:
        """Start on the next stream, if there is one; zeros after a stream are padding."""
        while not self._pending.lstrip(b"\0"):
            self._pending = self._chunks()
            if not self._pending:
                return False
        self._pending = self._pending.lstrip(b"\0")
        self._decompressor = self._make()
        return True

    def _input(self, decompressor: Decompressor) -> bytes:
        if not decompressor.needs_input and not self._pending:
            return b""
        data = self._pending or self._chunks()
        self._pending = b""
        if not data:
            raise ImageError(
                f"read {self._what}: the {self._kind} data ends too early",
                hint="the file is truncated: fetch or make it again",
            )
        return data


def _gzip() -> Found:
    try:
        from isal import igzip_lib
    except ImportError:
        import zlib

        return _ZlibDecompressor, (zlib.error,)

    def make() -> Any:
        return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)

    failure: Any = igzip_lib.error  # its stub calls the class an instance
    return make, (failure, ValueError)  # ValueError: a header that it does not take


class _ZlibDecompressor:
    """zlib with the interface that the other decompressors have."""

    def __init__(self) -> None:
        import zlib

        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _zstd() -> Found:
    zstd = _zstd_module()
    options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG_MAX}
    return lambda: zstd.ZstdDecompressor(options=options), (zstd.ZstdError,)


def _zstd_module() -> Any:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as error:
        raise UnsupportedError(
            "read zstd data: this Python has no zstd module",
            feature="zstd",
            tried=str(error),
            hint="pip install backports.zstd",
        ) from None
    return zstd


def _bzip2() -> Found:
    import bz2

    return bz2.BZ2Decompressor, (OSError,)


def _xz() -> Found:
    import lzma

    return lambda: lzma.LZMADecompressor(memlimit=_MEMORY_MAX), (lzma.LZMAError,)


_DECOMPRESSORS = {"gzip": _gzip, "zstd": _zstd, "bzip2": _bzip2, "xz": _xz}


def gzip_compressor() -> Compressor:
    """A gzip compressor whose output depends on its input alone: no name, no time in the header."""
    try:
        from isal import isal_zlib
    except ImportError:
        import zlib

        return zlib.compressobj(level=1, wbits=31)
    made: Compressor = isal_zlib.compressobj(level=1, wbits=31)
    return made
