"""A blob on its way in: hashed as it comes, decompressed, hashed again, counted, kept.

    raw chunks ─▶ sha256 (digest) ─▶ keep ─▶ decompress ─▶ sha256 (diff ID) ─▶ tar reader

Everything is checked in the reader (STYLE, rule 13): who reads to the end and calls ``verify`` has
read what the descriptor names, and whoever does not has nothing.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections import deque
from contextlib import contextmanager

from newroot.errors import DigestMismatch, ImageError, SizeMismatch, UnsafeEntry
from newroot.images.compression import CHUNK, decompressed, sniff
from newroot.images.limits import DEFAULT, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    Chunks = Callable[[], bytes]


def file_chunks(file: BinaryIO) -> Chunks:
    """The chunks of an open file, from where it stands."""
    return lambda: file.read(CHUNK) or b""


def fd_chunks(fd: int, *, offset: int | None = None, size: int | None = None) -> Chunks:
    """The chunks of a descriptor; with *offset*, of *size* bytes from there, without seeking."""
    if offset is None or size is None:
        return lambda: os.read(fd, CHUNK)
    at, end = offset, offset + size

    def next_chunk() -> bytes:
        nonlocal at
        chunk = os.pread(fd, min(CHUNK, end - at), at) if at < end else b""
        at += len(chunk)
        return chunk

    return next_chunk


def plain_chunks(file: BinaryIO, what: str) -> Chunks:
    """The chunks of an open archive, decompressed when it is compressed."""
    raw = file_chunks(file)
    head = raw()
    while 0 < len(head) < 512 and (more := raw()):  # a pipe may give less than a magic number has
        head += more
    first = [head]

    def whole() -> bytes:
        return first.pop() if first else raw()

    kind = sniff(head)
    return whole if kind is None else decompressed(whole, kind, what)


class LayerStream:
    """One layer's blob, read once.  ``next`` gives the uncompressed bytes.

    ``compression`` is known at once.  ``keep``, when it is set before the first ``next``, is given
    every byte of the blob as it came.
    """

    def __init__(
        self,
        chunks: Chunks,
        *,
        what: str,
        limits: Limits = DEFAULT,
    ) -> None:
        self.what = what
        self.blob_size = 0
        self.size = 0
        self._chunks = chunks
        self.keep: Callable[[bytes], object] | None = None
        self._limit = limits.size_bytes
        self._blob_hash = hashlib.sha256()
        head = self._raw()
        # A pipe may give fewer bytes than a magic number has.
        while 0 < len(head) < 6 and (more := self._raw()):
            head += more
        self._head = head
        self.compression = sniff(head)
        if self.compression is None:
            self._inner: Chunks = self._from_head
            self._hash = self._blob_hash
        else:
            self._inner = decompressed(self._from_head, self.compression, what)
            self._hash = hashlib.sha256()

    def next(self) -> bytes:
        """The next uncompressed bytes, ``b""`` at the end."""
        chunk = self._inner()
        self.size += len(chunk)
        if self.size > self._limit:
            raise UnsafeEntry(
                f"read {self.what}: more than {self._limit} bytes when unpacked",
                hint="raise Limits(size_bytes=…) if that is right",
            )
        if self.compression is not None:
            self._hash.update(chunk)
        return chunk

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Meanwhile, decompress in a thread of its own, so that hashing what comes out overlaps."""
        if self.compression is None:
            yield
            return
        with ReadAhead(self._inner) as decompressed_ahead:
            self._inner = decompressed_ahead.next
            yield

    def drain(self) -> None:
        """Read to the end: a digest covers the bytes after the end of the archive too."""
        while self.next():
            pass

    @property
    def digest(self) -> str:
        """Of the blob as it came; whole after ``drain``."""
        return f"sha256:{self._blob_hash.hexdigest()}"

    @property
    def diff_id(self) -> str:
        """Of the uncompressed bytes; whole after ``drain``."""
        return f"sha256:{self._hash.hexdigest()}"

    def verify(
        self, *, digest: str | None = None, size: int | None = None, diff_id: str | None = None
    ) -> None:
        """Compare what came with what was named, after ``drain``."""
        if size is not None and size != self.blob_size:
            raise SizeMismatch(
                f"read {self.what}: {size} bytes were promised, {self.blob_size} came"
            )
        if digest is not None and digest != self.digest:
            raise DigestMismatch(f"read {self.what}: its digest is {self.digest}, not {digest}")
        if diff_id is not None and diff_id != self.diff_id:
            raise DigestMismatch(
                f"read {self.what}: its diff ID is {self.diff_id}, not {diff_id}",
                hint="the image's config does not belong to its layers",
            )

    def _raw(self) -> bytes:
        try:
            chunk = self._chunks()
        except OSError as error:
            words = error.strerror or str(error)
            raise ImageError(f"read {self.what}: {words}") from error
        self.blob_size += len(chunk)
        self._blob_hash.update(chunk)
        return chunk

    def _from_head(self) -> bytes:
        chunk, self._head = self._head or self._raw(), b""
        if self.keep is not None:
            self.keep(chunk)
        return chunk


_BEHIND = 4


class ReadAhead:
    """Run a stream in a thread of its own, a few chunks ahead of who reads it.

    Hashing and decompressing hold no GIL, so they overlap with making files.  Use it as a context
    manager: leaving ends the thread, whatever happened.
    """

    _AHEAD = 4

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._ready: deque[bytes | BaseException] = deque()
        self._changed = threading.Condition()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="newroot-layer", daemon=True)

    def __enter__(self) -> ReadAhead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        self._thread.join()

    def next(self) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._ready)
            item = self._ready[0]
            if isinstance(item, BaseException):
                raise item
            if item:  # the last, empty chunk stays for whoever asks again
                self._ready.popleft()
            self._changed.notify_all()
            return item

    def drain(self) -> None:
        """Read to the end."""
        while self.next():
            pass

    def _run(self) -> None:
        more = True
        while more:
            try:
                item: bytes | BaseException = self._chunks()
            except BaseException as error:
                item = error
            more = bool(item) and not isinstance(item, BaseException)
            with self._changed:
                self._changed.wait_for(lambda: len(self._ready) < self._AHEAD or self._stop)
                if self._stop:
                    return
                self._ready.append(item)
                self._changed.notify_all()


class WriteBehind:
    """Do something with chunks in a thread of its own, a few behind who hands them over.

    Use it as a context manager: leaving waits until all is done, unless an error is on its way.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._waiting: queue.Queue[bytes] = queue.Queue(_BEHIND)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="newroot-blob", daemon=True)

    def __enter__(self) -> WriteBehind:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._waiting.put(b"")
        self._thread.join()
        if kind is None and self._failure is not None:
            raise self._failure

    def write(self, chunk: bytes) -> None:
        """Hand a chunk over.  Raises what an earlier one's writing raised."""
        if self._failure is not None:
            raise self._failure
        if chunk:
            self._waiting.put(chunk)

    def _run(self) -> None:
        while chunk := self._waiting.get():
            if self._failure is None:
                try:
                    self._write(chunk)
                except BaseException as error:
                    self._failure = error


def read_document(chunks: Chunks, limit: int, what: str) -> bytes:
    """A whole small blob.  Raises ImageError when it is larger than *limit* bytes."""
    parts = []
    size = 0
    while chunk := chunks():
        size += len(chunk)
        if size > limit:
            raise ImageError(f"read {what}: it is larger than {limit} bytes")
        parts.append(chunk)
    return b"".join(parts)
