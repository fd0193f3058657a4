"""The image store: names, manifests and unpacked layers, as plain files (DESIGN, section 3).

    <root>/images/            an OCI image layout at all times
    <root>/layers/<diff ID>/  one unpacked layer each, in overlay form, shared by all images
    <root>/layers/<diff ID>.erofs  or as one file, to be mounted

Readers take no lock: what they see is whole, because writers write beside and rename.  Looking an
image up is on the way of every ``newroot run``, so this file imports little; whatever changes the
store is in change.py and loads when it is needed.
"""

from __future__ import annotations

import errno
import os

from newroot.errors import BlobNotFound, ImageError, NotFound, SizeMismatch, UsageError
from newroot.images.reference import parse
from newroot.linux.paths import EROFS_SUFFIX
from newroot.oci import json
from newroot.oci.image import (
    INDEXES,
    REF_NAME,
    Descriptor,
    read_descriptor,
    read_diff_ids,
    read_list,
    read_manifest,
    read_object,
)
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

    from newroot.oci.image import Manifest

    Entry = dict[str, Any]
    Entries = list[Entry]

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_DOCUMENT_MAX = 16 << 20
_HEX = frozenset("0123456789abcdef")


@record
class Image:
    """An image that is here, ready to be a container's root."""

    reference: str  #: whole name, ``docker.io/library/busybox:latest``; ``""`` when it has none
    digest: str  #: of its manifest
    config: dict[str, Any]  #: the OCI image config
    layers: tuple[str, ...]  #: absolute paths of the unpacked layers, topmost first
    created: str | None  #: RFC 3339, as the config has it
    size: int  #: bytes of its config and of its layers as they are stored


@record
class Removed:
    """What ``remove`` took away."""

    untagged: tuple[str, ...]  #: names
    deleted: tuple[str, ...]  #: digests of manifests


class ImageStore:
    """The images below *root*.  Making one touches nothing; the first change makes the layout.

    Thread-safe, and safe against other processes: each change is one rename under a short lock.
    """

    def __init__(self, root: str | os.PathLike[str], *, layers_as: str | None = None) -> None:
        """*layers_as* says how new layers are kept: as ``$NEWROOT_LAYERS`` does, by default."""
        self.root = os.path.abspath(os.fspath(root))
        self.layers_as = layers_as or os.environ.get("NEWROOT_LAYERS") or "directories"
        #: why new layers are directories though EROFS was asked for, once that is known
        self.erofs_refused: str | None = None
        self.images = f"{self.root}/images"
        self.layers = f"{self.root}/layers"

    # ── reading ──────────────────────────────────────────────────────────────────────────────

    def find(self, name: str) -> Image | None:
        """The image called *name*, or None when there is none.

        *name* is a reference (``busybox``, ``localhost/a/b:1``), a digest, or the beginning of an
        image ID.  Raises ImageError when the image is there and damaged, UsageError when nothing
        could have that name.
        """
        entry = self.find_entry(self.entries(), name)
        return None if entry is None else self._image(entry)

    def get(self, name: str) -> Image:
        """The image called *name*.  Raises NotFound; otherwise as ``find``."""
        image = self.find(name)
        if image is None:
            raise self.not_found(name)
        return image

    def list(self) -> tuple[Image, ...]:
        """Every image, in the order in which they came.

        A damaged one is listed too, without layers or config: ``get`` tells what is wrong with it.
        """
        return tuple(self._listed(entry) for entry in self.entries())

    def entries(self) -> Entries:
        """What index.json lists: descriptors, unchecked but for being objects."""
        try:
            data = _read(f"{self.images}/index.json")
        except FileNotFoundError:
            return []
        what = f"{self.images}/index.json"
        try:
            index = read_object(json.loads(data, what=what), "")
            return [
                read_object(entry, f"/manifests/{i}")
                for i, entry in enumerate(read_list(index.get("manifests"), "/manifests"))
            ]
        except UsageError as error:
            raise _damaged(what, error) from None

    def manifest(self, name: str) -> Manifest:
        """The manifest of the image called *name*.  Errors as ``get``."""
        entry = self.find_entry(self.entries(), name)
        if entry is None:
            raise self.not_found(name)
        try:
            return read_manifest(self.document(descriptor_of(entry), f"the manifest of {name}"))
        except UsageError as error:
            raise _damaged(f"image {name}", error) from None

    def blob_path(self, digest: str) -> str:
        """Where the blob of a well-formed *digest* is or would be."""
        return f"{self.images}/blobs/sha256/{digest[7:]}"

    def layer_path(self, diff_id: str) -> str:
        """Where the layer of a well-formed *diff_id* is or would be unpacked.

        That is a directory, or one EROFS file (images/erofs.py) where that is there instead.
        """
        path = f"{self.layers}/{diff_id[7:]}"
        if not os.path.isdir(path) and os.path.exists(path + EROFS_SUFFIX):
            return path + EROFS_SUFFIX
        return path

    # ── changing ─────────────────────────────────────────────────────────────────────────────

    def tag(self, name: str, new_name: str) -> Image:
        """Give the image called *name* one more name, taking it from whoever has it."""
        from newroot.images.change import Change, give_name

        new = str(_taggable(new_name))
        if self.find_entry(self.entries(), name) is None:
            raise self.not_found(name)
        with Change(self) as change:

            def update(entries: Entries) -> None:
                entry = self.find_entry(entries, name)
                if entry is None:
                    raise self.not_found(name)
                give_name(entries, descriptor_of(entry), new)

            change.commit(update)
        return self.get(new)

    def remove(self, name: str, *, keep_layers: Collection[str] = ()) -> Removed:
        """Take a name away; with the last name goes the image, its blobs and its layers.

        *keep_layers* are paths of layers that containers stand on.  Raises NotFound, and StateError
        when *name* is an ID and the image has several names.
        """
        from newroot.images.change import remove_image

        return remove_image(self, name, keep_layers=keep_layers)

    # ── one image ────────────────────────────────────────────────────────────────────────────

    def find_entry(self, entries: Entries, name: str) -> Entry | None:
        wanted, digest, refused = [name], None, None
        try:
            reference = parse(name)
        except UsageError as error:
            refused = error
        else:
            digest = reference.digest
            # Peers write names into the layout as they like; podman's own are localhost/….
            wanted = [str(reference), name, f"localhost/{name}", f"localhost/{name}:latest"]
        for candidate in wanted:
            for entry in entries:
                if name_of(entry) == candidate:
                    return entry
        if digest is not None:
            return next((e for e in entries if e.get("digest") == digest), None)
        by_id = self._find_by_id(entries, name)
        if by_id is None and refused is not None and not name.startswith("sha256:"):
            if len(name) != 64 or not _HEX.issuperset(name):
                raise refused
        return by_id

    def _find_by_id(self, entries: Entries, name: str) -> Entry | None:
        """By the beginning of the digest of manifest or config (Docker's image ID)."""
        digits = name.removeprefix("sha256:")
        if len(digits) < 4 or not _HEX.issuperset(digits):
            return None
        if len(digits) == 64:  # a whole one needs no looking into every manifest
            whole = next((e for e in entries if e.get("digest") == f"sha256:{digits}"), None)
            if whole is not None:
                return whole
        found = [e for e in entries if self._has_id(e, f"sha256:{digits}")]
        digests = {e.get("digest") for e in found}
        if len(digests) > 1:
            raise UsageError(
                f"find image {name!r}: it is the beginning of {len(digests)} image IDs",
                hint="give more digits",
            )
        return found[0] if found else None

    def _has_id(self, entry: Entry, beginning: str) -> bool:
        if str(entry.get("digest")).startswith(beginning):
            return True
        try:
            manifest = read_manifest(self.document(descriptor_of(entry), "the manifest"))
        except (ImageError, UsageError):
            return False
        return manifest.config.digest.startswith(beginning)

    def _image(self, entry: Entry, *, unpacked: bool = True) -> Image:
        name = name_of(entry) or str(entry.get("digest"))
        try:
            return self._resolve(entry, name, unpacked=unpacked)
        except UsageError as error:
            raise _damaged(f"image {name}", error) from None

    def _resolve(self, entry: Entry, name: str, *, unpacked: bool) -> Image:
        descriptor = descriptor_of(entry)
        if descriptor.media_type in INDEXES:
            raise ImageError(
                f"resolve image {name}: it is an index of several platforms, none unpacked",
                hint=f"newroot load -i {self.images}",
            )
        manifest = read_manifest(self.document(descriptor, f"the manifest of {name}"))
        config = read_object(self.document(manifest.config, f"the config of {name}"), "")
        diff_ids = read_diff_ids(config)
        if len(diff_ids) != len(manifest.layers):
            raise ImageError(
                f"resolve image {name}: its manifest has {len(manifest.layers)} layers, "
                f"its config {len(diff_ids)}"
            )
        created = config.get("created")
        return Image(
            reference=name_of(entry) or "",
            digest=descriptor.digest,
            config=config,
            layers=tuple(self._stack(name, diff_ids)) if unpacked else (),
            created=created if isinstance(created, str) else None,
            size=manifest.config.size + sum(layer.size for layer in manifest.layers),
        )

    def _listed(self, entry: Entry) -> Image:
        try:
            return self._image(entry)
        except ImageError:
            pass
        try:
            return self._image(entry, unpacked=False)
        except ImageError:
            return Image(
                reference=name_of(entry) or "",
                digest=str(entry.get("digest")),
                config={},
                layers=(),
                created=None,
                size=0,
            )

    def _stack(self, name: str, diff_ids: tuple[str, ...]) -> Iterator[str]:
        """The layers' directories, topmost first, each once.

        overlayfs refuses a directory that stands in lowerdir twice (ELOOP, fs/overlayfs/super.c,
        ovl_setup_trap), and the lower of two equal layers adds nothing.  Nor does it heed an
        opaque root directory, so the stack ends at one.
        """
        seen: set[str] = set()
        for number in range(len(diff_ids) - 1, -1, -1):
            diff_id = diff_ids[number]
            if diff_id in seen:
                continue
            seen.add(diff_id)
            path = self.layer_path(diff_id)
            try:
                # An EROFS file of which the root is opaque has the mark itself.
                attributes = os.listxattr(path)
            except OSError as error:
                if error.errno != errno.ENOTSUP:
                    raise self._missing_layer(name, number, diff_ids, path, error) from None
                attributes = []
            yield path
            if attributes and any(key in attributes for key in _OPAQUE):
                return

    def _missing_layer(
        self, name: str, number: int, diff_ids: tuple[str, ...], path: str, error: OSError
    ) -> ImageError:
        code = errno.errorcode.get(error.errno or 0, str(error.errno))
        return ImageError(
            f"resolve image {name}: layer {number + 1} of {len(diff_ids)}, {diff_ids[number]}, "
            f"is not unpacked at {path}: {os.strerror(error.errno or 0)} ({code})",
            hint=f"unpack it again from the store's own blobs: newroot load -i {self.images}",
        )

    def document(self, descriptor: Descriptor, what: str) -> Any:
        try:
            data = _read(self.blob_path(descriptor.digest))
        except FileNotFoundError:
            raise BlobNotFound(
                f"read {what}: blob {descriptor.digest} is not in {self.images}",
                hint="load, import or pull the image again",
            ) from None
        if len(data) != descriptor.size:
            raise SizeMismatch(
                f"read {what}: blob {descriptor.digest} has {len(data)} bytes, "
                f"not the {descriptor.size} of its descriptor",
                hint="load, import or pull the image again",
            )
        return json.loads(data, what=f"{what}, blob {descriptor.digest}")

    def not_found(self, name: str) -> NotFound:
        return NotFound(f"find image {name!r}: there is none here", hint=self._near(name))

    def _near(self, name: str) -> str:
        from difflib import get_close_matches

        from newroot.images.reference import familiar

        names = {familiar(n): n for n in map(name_of, self.entries()) if n}
        bare = {n.removesuffix(":latest"): n for n in names}
        near = get_close_matches(name, {**bare, **dict.fromkeys(names, "")}, n=3, cutoff=0.6)
        if near:
            return f"perhaps {' or '.join(near)}; 'newroot images' lists what is here"
        return "'newroot images' lists what is here; 'newroot import' and 'newroot load' bring more"


def name_of(entry: Entry) -> str | None:
    """The name that an entry of index.json carries."""
    annotations = entry.get("annotations")
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else None


def _taggable(name: str) -> Any:
    reference = parse(name)
    if reference.digest is not None:
        raise UsageError(f"name an image {name!r}: a name to give may not have a digest")
    return reference


def descriptor_of(entry: Entry) -> Descriptor:
    return read_descriptor(entry, "")


def _damaged(what: str, error: UsageError) -> ImageError:
    words = str(error)
    return ImageError(words if words.startswith("read ") else f"read {what}: {words}")


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, 65536)
        # One read is the whole of nearly every document.
        while len(data) % 65536 == 0 and (more := os.read(fd, 65536)):
            data += more
            if len(data) > _DOCUMENT_MAX:
                raise ImageError(f"read {path}: it is larger than {_DOCUMENT_MAX} bytes")
        return data
    finally:
        os.close(fd)
