"""Images in one file or directory: docker-archive, OCI archive, OCI layout.

    docker-archive   a tar with manifest.json, a config and a layer.tar for each layer
    OCI archive      a tar of an OCI layout
    OCI layout       oci-layout, index.json, blobs/sha256/…, as a directory

What the archive is, its content says.  A whole archive is one change to the store: all its images
come, or none.
"""

from __future__ import annotations

import os
import stat

from newroot.errors import BlobNotFound, ImageError, SizeMismatch, UsageError
from newroot.images.change import Change, give_name
from newroot.images.layers import Expected, Layer, add_layer
from newroot.images.limits import DEFAULT, Limits
from newroot.images.platform import host_platform
from newroot.images.reference import parse
from newroot.images.stream import LayerStream, fd_chunks, file_chunks, read_document
from newroot.images.tar import FILE, HARD_LINK, SYMLINK, TarReader
from newroot.oci import json
from newroot.oci.image import (
    CONFIG,
    CONFIGS,
    CONTAINERD_NAME,
    INDEXES,
    LAYERS,
    MANIFEST,
    MANIFESTS,
    REF_NAME,
    Descriptor,
    Manifest,
    read_descriptor,
    read_diff_ids,
    read_list,
    read_manifest,
    read_object,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO, Protocol

    from newroot.images.store import Image, ImageStore

    class Members(Protocol):
        """The files of an archive, by name."""

        what: str

        def open(self, name: str) -> Chunks | None: ...

        def close(self) -> None: ...

    Named = list[tuple[Descriptor, tuple[str, ...]]]

_NESTED_MAX = 4  # indexes in indexes
_LINKS_MAX = 8


def load_archive(
    store: ImageStore,
    source: str | os.PathLike[str] | BinaryIO,
    *,
    name: str | None = None,
    limits: Limits = DEFAULT,
) -> list[Image]:
    """Bring in every image of *source*: a path of a tar or a layout, or an open binary file.

    Images get the names that the archive gives them; *name* replaces those of an archive of one
    image.  Loading the store's own ``images`` directory unpacks what is missing of its layers.  On
    any failure the store is as it was.  Raises ImageError and its kin.
    """
    if name is not None and parse(name).digest is not None:
        raise UsageError(f"load an image as {name!r}: the name may not have a digest")
    with Change(store) as change:
        members = _members(store, source, limits)
        try:
            found = _Loader(store, change, members, limits).load()
        except UsageError as error:
            raise ImageError(f"load {members.what}: {error}", hint=error.hint) from None
        finally:
            members.close()
        if name is not None:
            if len(found) != 1:
                raise UsageError(
                    f"load {members.what} as {name!r}: it holds {len(found)} images",
                    hint="load it without a name, then tag",
                )
            found = [(found[0][0], (str(parse(name)),))]

        def update(entries: list[dict[str, Any]]) -> None:
            for descriptor, names in found:
                for each in names or (None,):
                    give_name(entries, descriptor, each)

        change.commit(update)
    return [store.get((names or (descriptor.digest,))[0]) for descriptor, names in found]


class _Loader:
    """Reads what an archive's documents say, and brings over what they name."""

    def __init__(self, store: ImageStore, change: Change, members: Members, limits: Limits) -> None:
        self._store = store
        self._change = change
        self._members = members
        self._limits = limits

    def load(self) -> Named:
        # docker save has written both since Docker 25; its own names are whole in manifest.json.
        if self._members.open("manifest.json") is not None:
            return self._load_docker()
        if self._members.open("index.json") is not None:
            return self._load_oci()
        raise ImageError(
            f"load {self._members.what}: there is neither a manifest.json (docker-archive) "
            "nor an index.json (OCI) in it",
            hint="a flat tar of a root filesystem is for 'newroot import'",
        )

    # ── docker-archive ───────────────────────────────────────────────────────────────────────

    def _load_docker(self) -> Named:
        listed = read_list(self._read_json("manifest.json"), "")
        if not listed:
            raise ImageError(f"load {self._members.what}: its manifest.json lists no image")
        return [self._docker_image(item, f"/{i}") for i, item in enumerate(listed)]

    def _docker_image(self, item: object, pointer: str) -> tuple[Descriptor, tuple[str, ...]]:
        fields = read_object(item, pointer)
        config_name = _string(fields.get("Config"), f"{pointer}/Config")
        config_data = self._read(config_name, self._limits.config_bytes)
        diff_ids = read_diff_ids(self._parse(config_data, config_name))
        names = [
            _string(member, f"{pointer}/Layers/{i}")
            for i, member in enumerate(read_list(fields.get("Layers") or [], f"{pointer}/Layers"))
        ]
        self._check_count(len(names), diff_ids)
        layers = [
            self._add(self._open(member), self._expected(diff_ids, i), f"layer {member}")
            for i, member in enumerate(names)
        ]
        config = self._change.write_blob(config_data, CONFIG)
        manifest = Manifest(config=config, layers=tuple(layer.blob for layer in layers))
        written = self._change.write_blob(json.dumps(manifest.document()).encode(), MANIFEST)
        tags = read_list(fields.get("RepoTags") or [], f"{pointer}/RepoTags")
        return written, tuple(
            str(parse(_string(tag, f"{pointer}/RepoTags/{i}"))) for i, tag in enumerate(tags)
        )

    # ── OCI ──────────────────────────────────────────────────────────────────────────────────

    def _load_oci(self) -> Named:
        index = read_object(self._read_json("index.json"), "")
        entries = read_list(index.get("manifests"), "/manifests")
        found: dict[str, tuple[Descriptor, list[str]]] = {}
        for i, entry in enumerate(entries):
            pointer = f"/manifests/{i}"
            descriptor = self._image_below(entry, pointer, depth=0, alone=len(entries) == 1)
            if descriptor is None:
                continue
            name = _oci_name(read_object(entry, pointer))
            names = found.setdefault(descriptor.digest, (descriptor, []))[1]
            if name is not None:
                names.append(name)
        if not found:
            raise ImageError(f"load {self._members.what}: there is no image for this host in it")
        for descriptor, _ in found.values():
            self._oci_image(descriptor)
        return [(descriptor, tuple(names)) for descriptor, names in found.values()]

    def _image_below(
        self, entry: object, pointer: str, *, depth: int, alone: bool
    ) -> Descriptor | None:
        """The manifest that an index's entry means on this host; None for what is no image."""
        descriptor = read_descriptor(entry, pointer)
        if descriptor.media_type in MANIFESTS:
            platform = read_object(entry, pointer).get("platform")
            is_image = alone or depth == 0 or host_platform().rank(platform) is not None
            return descriptor if is_image else None
        if descriptor.media_type not in INDEXES:
            return None
        if depth == _NESTED_MAX:
            raise ImageError(f"load {self._members.what}: indexes nested {depth} deep")
        index = read_object(self._read_blob(descriptor, self._limits.document_bytes)[1], pointer)
        children = read_list(index.get("manifests"), f"{pointer}/manifests")
        for i, child in enumerate(children):
            found = self._image_below(
                child, f"{pointer}/manifests/{i}", depth=depth + 1, alone=len(children) == 1
            )
            if found is not None:
                return found
        return None

    def _oci_image(self, descriptor: Descriptor) -> None:
        data, document = self._read_blob(descriptor, self._limits.document_bytes)
        manifest = read_manifest(document)
        if manifest.config.media_type not in CONFIGS:
            raise ImageError(
                f"load {self._members.what}: {descriptor.digest} is no image but an artifact "
                f"({manifest.config.media_type})"
            )
        for i, layer in enumerate(manifest.layers):
            if layer.media_type not in LAYERS:
                raise ImageError(
                    f"load {self._members.what}: layer {i + 1} of {descriptor.digest} is of a kind "
                    f"that newroot does not take: {layer.media_type}"
                )
        config_data, config = self._read_blob(manifest.config, self._limits.config_bytes)
        diff_ids = read_diff_ids(config)
        self._check_count(len(manifest.layers), diff_ids)
        for i, blob in enumerate(manifest.layers):
            chunks = self._open_blob(blob)
            self._add(chunks, self._expected(diff_ids, i, blob), f"layer {blob.digest}")
        self._change.write_blob(config_data, manifest.config.media_type)
        self._change.write_blob(data, descriptor.media_type)

    # ── members ──────────────────────────────────────────────────────────────────────────────

    def _add(self, chunks: Chunks, expected: Expected, what: str) -> Layer:
        what = f"{self._members.what}, {what}"
        return add_layer(self._change, chunks, expected, what=what, limits=self._limits)

    def _expected(
        self, diff_ids: tuple[str, ...], i: int, blob: Descriptor | None = None
    ) -> Expected:
        below = tuple(self._store.layer_path(diff_id) for diff_id in reversed(diff_ids[:i]))
        return Expected(diff_id=diff_ids[i], blob=blob, below=lambda: below)

    def _check_count(self, layers: int, diff_ids: tuple[str, ...]) -> None:
        if layers != len(diff_ids):
            raise ImageError(
                f"load {self._members.what}: an image's manifest has {layers} layers, "
                f"its config {len(diff_ids)}"
            )
        if layers > self._limits.layers:
            raise ImageError(
                f"load {self._members.what}: an image of {layers} layers, "
                f"more than {self._limits.layers}"
            )

    def _open(self, name: str) -> Chunks:
        chunks = self._members.open(name)
        if chunks is None:
            raise BlobNotFound(f"load {self._members.what}: {name!r} is not in it")
        return chunks

    def _open_blob(self, descriptor: Descriptor) -> Chunks:
        return self._open(f"blobs/sha256/{descriptor.digest[7:]}")

    def _read(self, name: str, limit: int) -> bytes:
        return read_document(self._open(name), limit, f"{self._members.what}, {name}")

    def _parse(self, data: bytes, name: str) -> Any:
        return json.loads(data, what=name)

    def _read_json(self, name: str) -> Any:
        return self._parse(self._read(name, self._limits.document_bytes), name)

    def _read_blob(self, descriptor: Descriptor, limit: int) -> tuple[bytes, Any]:
        what = f"{self._members.what}, blob {descriptor.digest}"
        chunks = self._open_blob(descriptor)
        if chunks.size != descriptor.size:
            raise SizeMismatch(
                f"read {what}: {descriptor.size} bytes were promised, {chunks.size} came"
            )
        data = read_document(chunks, limit, what)
        _verify(data, descriptor, what)
        return data, self._parse(data, f"blob {descriptor.digest}")


def _verify(data: bytes, descriptor: Descriptor, what: str) -> None:
    import hashlib

    from newroot.errors import DigestMismatch

    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if digest != descriptor.digest:
        raise DigestMismatch(f"read {what}: its digest is {digest}")


def _string(untrusted: object, pointer: str) -> str:
    from newroot.errors import SpecError

    if not isinstance(untrusted, str) or not untrusted:
        raise SpecError("is missing or not a string", pointer=pointer)
    return untrusted


def _oci_name(entry: dict[str, Any]) -> str | None:
    """The whole name of an index's entry: containerd's word for it, or the specification's."""
    annotations = read_object(entry.get("annotations") or {}, "/annotations")
    name = annotations.get(CONTAINERD_NAME) or annotations.get(REF_NAME)
    if not isinstance(name, str):
        return None
    try:
        return str(parse(name))
    except UsageError:
        return name  # image-spec allows more in it than a reference may be


# ── where members come from ──────────────────────────────────────────────────────────────────


class Chunks:
    """The bytes of one member, and how many they are."""

    def __init__(self, fd: int, offset: int, size: int, *, owned: bool = False) -> None:
        self.size = size
        self._next = fd_chunks(fd, offset=offset, size=size)
        self._fd = fd if owned else -1

    def __call__(self) -> bytes:
        return self._next()

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _members(
    store: ImageStore, source: str | os.PathLike[str] | BinaryIO, limits: Limits
) -> Members:
    if not isinstance(source, (str, os.PathLike)):
        what = str(getattr(source, "name", "the archive"))
        return _TarMembers(_spooled(store, file_chunks(source), what, limits), what, limits)
    path = os.fspath(source)
    if os.path.isdir(path):
        return _DirectoryMembers(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"open {path}: {error.strerror}") from None
    stream = LayerStream(fd_chunks(fd), what=path, limits=limits)
    if stream.compression is not None or not stat.S_ISREG(os.fstat(fd).st_mode):
        try:
            spooled = _spooled(store, stream.next, path, limits)
        finally:
            os.close(fd)
        fd = spooled
    return _TarMembers(fd, path, limits)


def _spooled(store: ImageStore, chunks: Callable[[], bytes], what: str, limits: Limits) -> int:
    """The archive, uncompressed, in a nameless file: members are wanted in any order."""
    import tempfile

    stream = LayerStream(chunks, what=what, limits=limits)
    with tempfile.TemporaryFile(dir=store.images) as file:
        while chunk := stream.next():
            file.write(chunk)
        file.flush()
        return os.dup(file.fileno())


class _TarMembers:
    """The members of a tar that can be read at any place."""

    def __init__(self, fd: int, what: str, limits: Limits) -> None:
        self.what = what
        self._fd = fd
        self._files: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        try:
            self._list(limits)
        except BaseException:
            self.close()
            raise

    def open(self, name: str) -> Chunks | None:
        """A member by name; links are followed, inside the archive only."""
        name = os.path.normpath(name)
        # Docker before 25 wrote a layer that it had written before as a link to it.
        for _ in range(_LINKS_MAX):
            if name not in self._links:
                break
            name = self._links[name]
        place = self._files.get(name)
        return None if place is None else Chunks(self._fd, *place)

    def close(self) -> None:
        os.close(self._fd)

    def _list(self, limits: Limits) -> None:
        os.lseek(self._fd, 0, os.SEEK_SET)
        reader = TarReader(
            lambda: os.read(self._fd, 4096),
            what=self.what,
            strict=True,
            seek=lambda distance: os.lseek(self._fd, distance, os.SEEK_CUR),
            limits=limits,
        )
        size = os.fstat(self._fd).st_size
        for entry in reader:
            name = os.path.normpath(os.fsdecode(entry.name))
            if entry.kind == FILE and entry.pieces is None:
                if reader.offset + entry.size > size:
                    raise ImageError(
                        f"read {self.what}: it ends too early, inside {name!r}",
                        hint="the archive is truncated: fetch or make it again",
                    )
                self._files[name] = (reader.offset, entry.size)
            elif entry.kind in (SYMLINK, HARD_LINK):
                link = os.fsdecode(entry.link)
                base = os.path.dirname(name) if entry.kind == SYMLINK else ""
                self._links[name] = os.path.normpath(os.path.join(base, link))


class _DirectoryMembers:
    """The files of an OCI layout that is a directory."""

    def __init__(self, path: str) -> None:
        self.what = path

    def open(self, name: str) -> Chunks | None:
        # Names are ours, or digests that were checked; a docker manifest.json has no place here.
        if name == "manifest.json":
            return None
        try:
            # O_NONBLOCK: a fifo in a file's place must not hold us up.
            fd = os.open(f"{self.what}/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise ImageError(f"load {self.what}: {name} is not a regular file")
        return Chunks(fd, 0, status.st_size, owned=True)

    def close(self) -> None:
        pass
