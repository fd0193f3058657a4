"""Images into one archive: the other way of archive.py.

    docker-archive   manifest.json, and the same files as an OCI layout: what Docker has written
                     since its version 25, for readers of both kinds
    oci-archive      a tar of an OCI layout

Blobs go in as they are stored, so what comes out elsewhere has the same digests; each is there
once, however many images share it.  The same images give the same bytes.
"""

from __future__ import annotations

import os

from newroot.errors import ImageError, UsageError
from newroot.images.pack import Packer, padding
from newroot.images.store import descriptor_of, name_of
from newroot.oci import json
from newroot.oci.image import (
    CONTAINERD_NAME,
    INDEX,
    LAYOUT_VERSION,
    REF_NAME,
    Descriptor,
    Manifest,
    read_manifest,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from newroot.images.store import ImageStore

FORMATS = ("docker-archive", "oci-archive")
_CHUNK = 1 << 30
_BLOBS = "blobs/sha256"


def save_images(
    store: ImageStore, names: Sequence[str], fd: int, *, format: str = "docker-archive"
) -> None:
    """Write the images called *names* to the open file *fd*, which may be a pipe.

    An image that is named by its ID goes without a name.  Raises NotFound, ImageError for one that
    is not whole, OSError when *fd* does not take it.
    """
    if format not in FORMATS:
        raise UsageError(f"save as {format!r}", hint=f"one of {', '.join(FORMATS)}")
    chosen = _chosen(store, names)
    writer = _Writer(store, fd)
    try:
        writer.directories()
        for image in chosen:
            writer.blobs(image)
        writer.documents(chosen, docker=format == "docker-archive")
    finally:
        writer.close()


class _Chosen:
    """One image to save, and the names that were asked for."""

    def __init__(self, descriptor: Descriptor, manifest: Manifest) -> None:
        self.descriptor = descriptor
        self.manifest = manifest
        self.names: list[str] = []


def _chosen(store: ImageStore, names: Sequence[str]) -> list[_Chosen]:
    """Each image once, in the order of the names."""
    entries = store.entries()
    found: dict[str, _Chosen] = {}
    for name in names:
        entry = store.find_entry(entries, name)
        if entry is None:
            raise store.not_found(name)
        descriptor = descriptor_of(entry)
        if descriptor.digest not in found:
            manifest = read_manifest(store.document(descriptor, f"the manifest of {name}"))
            found[descriptor.digest] = _Chosen(descriptor, manifest)
        called = name_of(entry)
        names_of_it = found[descriptor.digest].names
        if called and not _is_id(name, entry) and called not in names_of_it:
            names_of_it.append(called)
    return list(found.values())


def _is_id(name: str, entry: dict[str, Any]) -> bool:
    digits = name.removeprefix("sha256:")
    return len(digits) >= 4 and str(entry.get("digest")).startswith(f"sha256:{digits}")


class _Writer:
    def __init__(self, store: ImageStore, fd: int) -> None:
        self._store = store
        self._fd = fd
        self._packer = Packer(what="images")
        self._written: set[str] = set()
        self._held = bytearray()

    def close(self) -> None:
        self._held.clear()

    def directories(self) -> None:
        self._write(self._packer.directory("blobs") + self._packer.directory(_BLOBS))

    def blobs(self, image: _Chosen) -> None:
        manifest = image.manifest
        for descriptor in (image.descriptor, manifest.config, *manifest.layers):
            if descriptor.digest not in self._written:
                self._blob(descriptor)
                self._written.add(descriptor.digest)

    def documents(self, images: list[_Chosen], *, docker: bool) -> None:
        index = [entry for image in images for entry in _index_entries(image)]
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": index}
        self._document("index.json", document)
        if docker:
            self._document("manifest.json", [_docker_entry(image) for image in images])
        self._document("oci-layout", {"imageLayoutVersion": LAYOUT_VERSION})
        self._write(self._packer.end())
        self._flush()

    def _document(self, name: str, document: object) -> None:
        self._write(self._packer.data(name, json.dumps(document).encode()))

    def _blob(self, descriptor: Descriptor) -> None:
        path = self._store.blob_path(descriptor.digest)
        try:
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ImageError(
                f"save: blob {descriptor.digest} is not in {self._store.images}",
                hint="newroot doctor --repair, or load or pull the image again",
            ) from None
        try:
            size = os.fstat(source).st_size
            if size != descriptor.size:
                raise ImageError(
                    f"save: blob {descriptor.digest} has {size} bytes, not {descriptor.size}",
                    hint="newroot doctor --repair",
                )
            self._write(self._packer.begin(f"{_BLOBS}/{descriptor.digest[7:]}", size))
            self._flush()
            self._copy(source, size)
            self._write(padding(size))
        finally:
            os.close(source)

    def _copy(self, source: int, size: int) -> None:
        """By the kernel: sendfile(2) writes to anything since Linux 5.12, a pipe too."""
        at = 0
        while at < size:
            sent = os.sendfile(self._fd, source, at, min(_CHUNK, size - at))
            if not sent:
                raise ImageError("save: a blob became shorter meanwhile")
            at += sent

    def _write(self, data: bytes) -> None:
        self._held += data

    def _flush(self) -> None:
        view = memoryview(bytes(self._held))
        self._held.clear()
        while view:
            view = view[os.write(self._fd, view) :]


def _index_entries(image: _Chosen) -> list[dict[str, Any]]:
    plain = image.descriptor.document()
    if not image.names:
        return [plain]
    # The whole name stands in both: podman and skopeo read the first, containerd the second.
    return [
        {**plain, "annotations": {REF_NAME: name, CONTAINERD_NAME: name}} for name in image.names
    ]


def _docker_entry(image: _Chosen) -> dict[str, Any]:
    from newroot.images.reference import familiar

    return {
        "Config": f"{_BLOBS}/{image.manifest.config.digest[7:]}",
        "RepoTags": [familiar(name) for name in image.names] or None,
        "Layers": [f"{_BLOBS}/{layer.digest[7:]}" for layer in image.manifest.layers],
    }
