"""The image-spec's documents: descriptors, manifests, indexes, layouts.

A manifest comes from outside and is not believed: what newroot reads of it is checked here, field
by field, and an error names the place.  The image config stays the plain dictionary it is.
``newroot run`` walks through here, so only cheap imports.
"""

from __future__ import annotations

from newroot.errors import SpecError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# image-spec, media-types.md
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
# distribution, image manifest version 2 schema 2: the same documents under older names
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"

INDEXES = (INDEX, DOCKER_INDEX)
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
CONFIGS = (CONFIG, DOCKER_CONFIG)
LAYERS = (LAYER, LAYER_GZIP, LAYER_ZSTD, DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD)

# image-spec, annotations.md
REF_NAME = "org.opencontainers.image.ref.name"
#: containerd's and Docker's word for the whole name, where ``ref.name`` holds the tag alone
CONTAINERD_NAME = "io.containerd.image.name"

LAYOUT_VERSION = "1.0.0"

_PATH_MAX = 4096
_HEX = frozenset("0123456789abcdef")


@record
class Descriptor:
    """A blob by what it is: media type, digest, size."""

    media_type: str
    digest: str
    size: int

    def document(self) -> dict[str, Any]:
        """As image-spec writes it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@record
class Manifest:
    """One image: its config, and its layers from the bottom to the top."""

    config: Descriptor
    layers: tuple[Descriptor, ...]

    def document(self) -> dict[str, Any]:
        """As image-spec writes it."""
        return {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.config.document(),
            "layers": [layer.document() for layer in self.layers],
        }


def read_descriptor(untrusted: object, pointer: str) -> Descriptor:
    """Check one descriptor.  Raises SpecError with the place of what is wrong."""
    fields = read_object(untrusted, pointer)
    media_type = fields.get("mediaType")
    if not isinstance(media_type, str):
        raise SpecError("is missing or not a string", pointer=f"{pointer}/mediaType")
    size = fields.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise SpecError("is missing or not a size in bytes", pointer=f"{pointer}/size")
    digest = read_digest(fields.get("digest"), f"{pointer}/digest")
    return Descriptor(media_type=media_type, digest=digest, size=size)


def read_manifest(untrusted: object) -> Manifest:
    """Check an image manifest.  Raises SpecError with the place of what is wrong."""
    fields = read_object(untrusted, "")
    if fields.get("schemaVersion") != 2:
        raise SpecError(
            "is not 2", pointer="/schemaVersion", hint="newroot reads OCI and Docker schema 2"
        )
    if "config" not in fields:
        raise SpecError("is missing: this is no image manifest", pointer="/config")
    config = read_descriptor(fields["config"], "/config")
    layers = read_list(fields.get("layers"), "/layers")
    return Manifest(
        config=config,
        layers=tuple(read_descriptor(layer, f"/layers/{i}") for i, layer in enumerate(layers)),
    )


def read_diff_ids(untrusted_config: object) -> tuple[str, ...]:
    """The diff IDs of an image config, from the bottom to the top."""
    rootfs = read_object(read_object(untrusted_config, "").get("rootfs"), "/rootfs")
    if rootfs.get("type", "layers") != "layers":
        raise SpecError("is not 'layers'", pointer="/rootfs/type")
    # Go writes an empty list that was never filled as null.
    ids = read_list(rootfs.get("diff_ids") or [], "/rootfs/diff_ids")
    return tuple(read_digest(digest, f"/rootfs/diff_ids/{i}") for i, digest in enumerate(ids))


def read_run_config(untrusted: object) -> dict[str, Any]:
    """What an image says about running it (its config's ``config``), each field of its shape.

    A field that is null is as if it were not there, as Go has it.
    """
    fields = read_object(untrusted, "/config")
    found = {name: value for name, value in fields.items() if value is not None}
    for name in ("User", "WorkingDir", "StopSignal"):
        if name in found:
            _check_text(found[name], f"/config/{name}")
    for name in ("Env", "Entrypoint", "Cmd"):
        for index, word in enumerate(read_list(found.get(name, []), f"/config/{name}")):
            _check_text(word, f"/config/{name}/{index}")
    for path in read_object(found.get("Volumes", {}), "/config/Volumes"):
        _check_text(path, "/config/Volumes")
        names = path.strip("/").split("/")
        if not path.startswith("/") or len(path) >= _PATH_MAX or names == [""] or ".." in names:
            raise SpecError(f"{path!r:.80} is no place for a volume", pointer="/config/Volumes")
    return found


def _check_text(untrusted: object, pointer: str) -> None:
    if not isinstance(untrusted, str):
        raise SpecError("is not a string", pointer=pointer)
    try:
        if b"\0" not in untrusted.encode():
            return
    except UnicodeEncodeError:  # JSON can write half a surrogate pair
        pass
    raise SpecError("is not text that the kernel can be told", pointer=pointer)


def read_object(untrusted: object, pointer: str) -> dict[str, Any]:
    if not isinstance(untrusted, dict):
        raise SpecError("is missing or not an object", pointer=pointer)
    return untrusted


def read_list(untrusted: object, pointer: str) -> list[Any]:
    if not isinstance(untrusted, list):
        raise SpecError("is missing or not a list", pointer=pointer)
    return untrusted


def read_digest(untrusted: object, pointer: str) -> str:
    """A well-formed sha256 digest.  It becomes a file name, so nothing else passes."""
    if not isinstance(untrusted, str):
        raise SpecError("is missing or not a string", pointer=pointer)
    algorithm, _, encoded = untrusted.partition(":")
    if algorithm != "sha256" or len(encoded) != 64 or not _HEX.issuperset(encoded):
        raise SpecError(f"{untrusted[:80]!r} is not a sha256 digest", pointer=pointer)
    return untrusted
