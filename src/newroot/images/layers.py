"""One layer into the store: its blob kept as it came, its tree unpacked, everything verified.

Import, load and pull all come through ``add_layer``; they differ in what they know beforehand.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack

from newroot.errors import ImageError
from newroot.images.compression import gzip_compressor
from newroot.images.limits import DEFAULT, Limits
from newroot.images.stream import LayerStream, ReadAhead, WriteBehind
from newroot.images.unpack import unpack_layer
from newroot.oci.image import LAYER, LAYER_GZIP, LAYER_ZSTD, Descriptor
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from newroot.images.change import Change
    from newroot.images.layer_tree import Unpacked
    from newroot.images.staged import Staged

#: What a blob of ours is called.  bzip2 and xz have no name in image-spec: they become gzip.
_MEDIA_TYPES = {None: LAYER, "gzip": LAYER_GZIP, "zstd": LAYER_ZSTD}


@record
class Layer:
    """A layer that is in the store now."""

    blob: Descriptor
    diff_id: str


@record
class Expected:
    """What a manifest and a config say of a layer before it comes."""

    diff_id: str
    blob: Descriptor | None = None  #: None in a docker-archive, which names no blobs
    #: gives the unpacked layers that it stands on, topmost first; called when they are needed
    below: Callable[[], Sequence[str]] = tuple


def add_layer(
    change: Change, chunks: Callable[[], bytes], expected: Expected, *, what: str, limits: Limits
) -> Layer:
    """Add a layer of which the diff ID is known, doing only what is not done already.

    Raises DigestMismatch, SizeMismatch, UnsafeEntry, ImageError; *change* then takes all back.
    """
    with change.unpacking(expected.diff_id):
        unpacked = change.has_layer(expected.diff_id)
        known = expected.blob
        if known is None:
            known = _plain_blob(change, expected.diff_id, chunks, unpacked=unpacked)
        if known is not None and change.has_blob(known):
            if unpacked:
                change.pairs.check(known, expected.diff_id)
                return Layer(blob=known, diff_id=expected.diff_id)
        return read_layer(change, chunks, expected, unpack=not unpacked, what=what, limits=limits)


def _plain_blob(
    change: Change, diff_id: str, chunks: Callable[[], bytes], *, unpacked: bool
) -> Descriptor | None:
    """An uncompressed blob's digest is its diff ID, so it may be here though nobody named it."""
    size = getattr(chunks, "size", None)
    if not unpacked or size is None:
        return None
    return Descriptor(media_type=LAYER, digest=diff_id, size=size)


def read_layer(
    change: Change,
    chunks: Callable[[], bytes],
    expected: Expected,
    *,
    unpack: bool,
    blob: Staged | None = None,
    already: int = 0,
    what: str,
    limits: Limits,
) -> Layer:
    """Read a layer through, and publish what of it is not in the store: its blob, its tree.

    *blob* is where to write it down, a new one unless given, of which the first *already* bytes
    are there.  The caller holds the layer's lock.
    """
    stream = LayerStream(chunks, what=what, limits=limits)
    media_type = expected.blob.media_type if expected.blob else _MEDIA_TYPES.get(stream.compression)
    if media_type is None:
        raise ImageError(f"read {what}: a layer may not be compressed with {stream.compression}")
    stored = expected.blob is not None and blob is None and change.has_blob(expected.blob)
    if not stored:
        blob = blob or change.new_blob()
        stream.keep = _Rest(blob, already).write if already else blob.write
    tree = change.new_layer() if unpack else None
    _read_through(
        stream,
        tree,
        what=what,
        strict=False,
        absolute_names=True,
        below=expected.below,
        limits=limits,
    )
    digest, size = (expected.blob.digest, expected.blob.size) if expected.blob else (None, None)
    stream.verify(digest=digest, size=size, diff_id=expected.diff_id)
    if tree is not None:
        change.publish_layer(tree, stream.diff_id)
    if blob is not None:
        change.publish_blob(blob, stream.digest)
    descriptor = Descriptor(media_type=media_type, digest=stream.digest, size=stream.blob_size)
    return Layer(blob=descriptor, diff_id=stream.diff_id)


def add_unknown_layer(
    change: Change,
    chunks: Callable[[], bytes],
    *,
    what: str,
    absolute_names: bool,
    limits: Limits = DEFAULT,
    recompress: bool = False,
    below: tuple[str, ...] = (),
) -> Layer:
    """Add a layer of which nothing is known: a flat tar, perhaps from a pipe.

    With *recompress* its blob becomes gzip whatever it was.  *below* are the unpacked layers that
    it stands on, topmost first.
    """
    stream = LayerStream(chunks, what=what, limits=limits)
    blob, tree = change.new_blob(), change.new_layer()
    media_type = None if recompress else _MEDIA_TYPES.get(stream.compression)
    recompressed = _Recompressed(blob)
    with ExitStack() as meanwhile:
        next_chunk = stream.next
        if media_type is not None:
            stream.keep = blob.write
        else:
            behind = meanwhile.enter_context(WriteBehind(recompressed.write))
            next_chunk = _tee(stream.next, behind.write)
        _read_through(
            stream, tree, next_chunk, what=what, strict=True, absolute_names=absolute_names,
            limits=limits, below=lambda: below,
        )  # fmt: skip
    if media_type is None:
        descriptor = recompressed.finish()
    else:
        descriptor = Descriptor(
            media_type=media_type, digest=stream.digest, size=stream.blob_size
        )  # fmt: skip
    change.publish_layer(tree, stream.diff_id)
    change.publish_blob(blob, descriptor.digest)
    return Layer(blob=descriptor, diff_id=stream.diff_id)


def _read_through(
    stream: LayerStream,
    tree: Staged | None,
    next_chunk: Callable[[], bytes] | None = None,
    *,
    what: str,
    strict: bool,
    absolute_names: bool,
    limits: Limits,
    below: Callable[[], Sequence[str]] = tuple,
) -> None:
    """Read a blob to its end, unpacking it on the way unless it is unpacked already."""
    if tree is None:
        with stream.ahead():
            stream.drain()
        return
    with stream.ahead(), ReadAhead(next_chunk or stream.next) as ahead:
        fill_layer(
            ahead.next,
            tree,
            what=what,
            strict=strict,
            absolute_names=absolute_names,
            below=below,
            limits=limits,
        )
        ahead.drain()


def fill_layer(next_chunk: Callable[[], bytes], tree: Staged, **words: Any) -> Unpacked:
    """Unpack a tar into a new layer, whichever kind that is; *words* as for ``unpack_layer``."""
    if tree.is_directory:
        return unpack_layer(next_chunk, tree.fd, **words)
    from newroot.images.erofs import write_layer

    return write_layer(next_chunk, tree, **words)


class _Rest:
    """Writes a blob of which the beginning is written."""

    def __init__(self, blob: Staged, already: int) -> None:
        self._blob = blob
        self._skip = already

    def write(self, data: bytes) -> None:
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        if skipped < len(data):
            self._blob.write(data[skipped:])


def _tee(chunks: Callable[[], bytes], write: Callable[[bytes], object]) -> Callable[[], bytes]:
    def next_chunk() -> bytes:
        chunk = chunks()
        write(chunk)
        return chunk

    return next_chunk


class _Recompressed:
    """A blob that is written as gzip."""

    def __init__(self, blob: Staged) -> None:
        self._blob = blob
        self._compressor = gzip_compressor()
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        self._keep(self._compressor.compress(data))

    def finish(self) -> Descriptor:
        self._keep(self._compressor.flush())
        digest = f"sha256:{self._hash.hexdigest()}"
        return Descriptor(media_type=LAYER_GZIP, digest=digest, size=self._size)

    def _keep(self, data: bytes) -> None:
        self._hash.update(data)
        self._size += len(data)
        self._blob.write(data)
