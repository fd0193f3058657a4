"""Which blob is which layer: a blob's digest says nothing of what is in it when it is unpacked.

Whoever brings a blob reads it through, and so proves its diff ID.  Where blob and layer are both
here already nobody reads, and a manifest and a config that do not belong together would put one
image's layer under another's blob: it would run with the one and be pushed with the other.  So a
pair is taken from an image that is here, which has proved it, or is proved by reading the blob.
"""

from __future__ import annotations

import os

from newroot.errors import NewrootError
from newroot.images.store import descriptor_of
from newroot.images.stream import LayerStream, fd_chunks
from newroot.oci.image import read_diff_ids, read_manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from newroot.images.store import ImageStore
    from newroot.oci.image import Descriptor


class Pairs:
    """The pairs of blob and diff ID that are known to a store; made for one change."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._known: set[tuple[str, str]] | None = None

    def check(self, blob: Descriptor, diff_id: str) -> None:
        """Both are here: see that they are one.  Raises DigestMismatch."""
        if blob.digest == diff_id:
            return  # not compressed
        if self._known is None:
            self._known = set(_pairs(self._store))
        if (blob.digest, diff_id) in self._known:
            return
        fd = os.open(self._store.blob_path(blob.digest), os.O_RDONLY | os.O_CLOEXEC)
        try:
            stream = LayerStream(fd_chunks(fd), what=f"layer {blob.digest}")
            with stream.ahead():
                stream.drain()
            stream.verify(diff_id=diff_id)
        finally:
            os.close(fd)
        self._known.add((blob.digest, diff_id))


def _pairs(store: ImageStore) -> Iterator[tuple[str, str]]:
    for entry in store.entries():
        try:
            manifest = read_manifest(store.document(descriptor_of(entry), "a manifest"))
            config = store.document(manifest.config, "a config")
            diff_ids = read_diff_ids(config)
        except NewrootError:  # an index, or damaged: it proves nothing
            continue
        for blob, diff_id in zip(manifest.layers, diff_ids, strict=False):
            yield blob.digest, diff_id
