"""An image from the store to a registry: only the blobs that it has not, then the manifest.

A blob is looked for, then asked for from another repository of that registry (``mount``) that an
image here came from or went to, then sent: a small one in one request, a large one in pieces of
which a broken one is taken up where the registry says it stands.  What is sent is the store's own
bytes, so the digest stays; it is hashed once more on the way, for a disk may err.
"""

from __future__ import annotations

import hashlib
import io
import os

from newroot.errors import BlobNotFound, DigestMismatch, ImageError, RegistryError, UsageError
from newroot.images.reference import parse
from newroot.images.registry.client import Access, Connections
from newroot.images.registry.crew import Crew
from newroot.images.registry.http import join
from newroot.images.registry.progress import DONE, EXISTS, MOUNTED, UPLOADING, Teller
from newroot.images.registry.registries import load_registries
from newroot.images.store import descriptor_of, name_of
from newroot.oci.image import INDEXES, read_manifest
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.images.reference import Reference
    from newroot.images.registry.client import Repository
    from newroot.images.registry.http import Response
    from newroot.images.registry.progress import OnProgress
    from newroot.images.registry.registries import Registries
    from newroot.images.store import ImageStore
    from newroot.oci.image import Descriptor

#: Larger blobs go in pieces of this size; a registry may ask for larger pieces.
CHUNK = 32 << 20
_CHUNK_MAX = 1 << 30
_AT_ONCE = 3
_RESUMES_MAX = 5
_OCTETS = {"Content-Type": "application/octet-stream"}


@record
class Pushed:
    """Where an image is now."""

    reference: str
    digest: str  #: of its manifest
    size: int  #: of the manifest, in bytes


def push_image(
    store: ImageStore,
    name: str,
    destination: str | None = None,
    *,
    access: Access | None = None,
    on_progress: OnProgress | None = None,
    registries: Registries | None = None,
) -> Pushed:
    """Send the image *name* to where its name says, or *destination*.

    Raises NotFound, UsageError, RegistryError, ImageError.
    """
    registries = load_registries() if registries is None else registries
    entry = store.find_entry(store.entries(), name)
    if entry is None:
        raise store.not_found(name)
    reference = _destination(entry, name, destination)
    descriptor = descriptor_of(entry)
    if descriptor.media_type in INDEXES:
        raise UsageError(f"push {name}: it is an index of several platforms, not an image")
    # Mirrors are for reading: containers-registries.conf(5).
    endpoint = registries.endpoints(reference)[-1]
    with Connections(access or Access(), helpers=registries.helpers) as connections:
        repository = connections.repository(endpoint)
        return _Push(store, reference, repository, descriptor, Teller(on_progress)).run()


def _destination(entry: dict[str, Any], name: str, destination: str | None) -> Reference:
    text = destination or name_of(entry)
    if not text:
        raise UsageError(
            f"push {name}: it has no name, which would say where to",
            hint="newroot push IMAGE REGISTRY/REPOSITORY:TAG",
        )
    reference = parse(text)
    if reference.digest is not None:
        raise UsageError(f"push to {text!r}: a digest is not to be chosen, give a tag")
    return reference


class _Push:
    """One image on its way to one repository."""

    def __init__(
        self,
        store: ImageStore,
        reference: Reference,
        repository: Repository,
        descriptor: Descriptor,
        teller: Teller,
    ) -> None:
        self._store = store
        self._reference = reference
        self._repository = repository
        self._descriptor = descriptor
        self._teller = teller

    def run(self) -> Pushed:
        manifest = read_manifest(self._store.document(self._descriptor, "the manifest"))
        blobs = {blob.digest: blob for blob in (*manifest.layers, manifest.config)}
        stop = self._repository.http.stop
        Crew(blobs.values(), self._blob, at_once=_AT_ONCE, stop=stop, name="push").run()
        return self._put_manifest()

    # ── manifest ─────────────────────────────────────────────────────────────────────────────

    def _put_manifest(self) -> Pushed:
        with open(self._store.blob_path(self._descriptor.digest), "rb") as file:
            data = file.read()
        tag = self._reference.tag or "latest"
        response = self._repository.send(
            "PUT",
            self._repository.url(f"manifests/{tag}"),
            actions="pull,push",
            headers={"Content-Type": self._descriptor.media_type},
            body=data,
        )
        if response.status not in (201, 202):
            raise self._repository.refusal(response, f"put the manifest of {self._reference}")
        told = response.headers.get("Docker-Content-Digest")
        response.discard()
        if told is not None and told != self._descriptor.digest:
            raise DigestMismatch(
                f"push {self._reference}: the registry stored {told[:140]}, "
                f"not {self._descriptor.digest}"
            )
        return Pushed(
            reference=str(self._reference), digest=self._descriptor.digest, size=len(data)
        )

    # ── blobs ────────────────────────────────────────────────────────────────────────────────

    def _blob(self, blob: Descriptor) -> None:
        if self._repository.has_blob(blob):
            self._teller.tell(EXISTS, blob.digest, blob.size, blob.size)
            return
        # A registry that does not mount begins an upload in its place.
        location = self._begin(blob, mount_from=self._elsewhere(blob))
        if location is None:
            self._teller.tell(MOUNTED, blob.digest, blob.size, blob.size)
            return
        _Upload(self._store, self._repository, blob, location, self._teller).run()
        self._teller.tell(DONE, blob.digest, blob.size, blob.size)

    def _elsewhere(self, blob: Descriptor) -> str | None:
        """Another repository of this registry that is likely to have the blob."""
        for entry in self._store.entries():
            name = name_of(entry)
            try:
                reference = parse(name or "")
                same_path = reference.path == self._reference.path
                if reference.domain != self._reference.domain or same_path:
                    continue
                manifest = read_manifest(self._store.document(descriptor_of(entry), "a manifest"))
            except (UsageError, ImageError):  # an entry that cannot be read offers nothing
                continue
            if blob.digest in (layer.digest for layer in (*manifest.layers, manifest.config)):
                return reference.path
        return None

    def _begin(self, blob: Descriptor, *, mount_from: str | None) -> str | None:
        """Where to send the blob; None when the registry took it from *mount_from*."""
        from urllib.parse import quote

        url = self._repository.url("blobs/uploads/")
        more_scope = ""
        if mount_from is not None:
            url += f"?mount={quote(blob.digest, safe='')}&from={quote(mount_from, safe='')}"
            more_scope = f" repository:{mount_from}:pull"
        response = self._repository.send(
            "POST",
            url,
            actions="pull,push",
            more_scope=more_scope,
            headers={"Content-Length": "0"},
        )
        if mount_from is not None and response.status == 201:
            response.discard()
            return None
        if response.status != 202:
            raise self._repository.refusal(response, f"upload to {self._reference}")
        return _location(response)


class _Upload:
    """One blob's bytes to one registry."""

    def __init__(
        self,
        store: ImageStore,
        repository: Repository,
        blob: Descriptor,
        location: str,
        teller: Teller,
    ) -> None:
        self._path = store.blob_path(blob.digest)
        self._repository = repository
        self._blob = blob
        self._location = location
        self._teller = teller
        self._sent = 0
        self._chunk = CHUNK

    def run(self) -> None:
        try:
            self._check()
            if self._blob.size <= CHUNK:
                self._finish(whole=True)
                return
            self._send_pieces()
            self._finish(whole=False)
        except FileNotFoundError:
            raise BlobNotFound(
                f"push blob {self._blob.digest}: it is not in the store", hint="pull or load again"
            ) from None

    def _check(self) -> None:
        """Never send what is not what it is called."""
        hasher = hashlib.sha256()
        with open(self._path, "rb", buffering=0) as file:
            while chunk := file.read(1 << 20):
                hasher.update(chunk)
        if f"sha256:{hasher.hexdigest()}" != self._blob.digest:
            raise DigestMismatch(
                f"push blob {self._blob.digest}: the store's copy is damaged",
                hint="pull or load the image again",
            )

    def _send_pieces(self) -> None:
        broken = 0
        while self._sent < self._blob.size:
            size = min(self._chunk, self._blob.size - self._sent)
            try:
                self._send_piece(size)
                broken = 0
            except RegistryError as error:
                broken += 1
                if broken > _RESUMES_MAX or error.status not in (None, 416, 500, 502, 503, 504):
                    raise
                self._repository.http.wait(self._repository.http.delay_s(broken))
                self._ask_where()

    def _send_piece(self, size: int) -> None:
        start = self._sent
        response = self._send(
            "PATCH",
            self._location,
            {
                **_OCTETS,
                "Content-Length": str(size),
                "Content-Range": f"{start}-{start + size - 1}",
            },
            lambda: self._piece(start, size),
        )
        if response.status != 202:
            raise self._repository.refusal(response, f"upload {self._blob.digest}")
        least = response.headers.get("OCI-Chunk-Min-Length", "")
        if least.isascii() and least.isdigit() and len(least) < 12:
            self._chunk = min(max(self._chunk, int(least)), _CHUNK_MAX)
        self._location = _location(response)
        self._sent = start + size

    def _ask_where(self) -> None:
        """Where the registry stands: distribution-spec, "Pushing a blob in chunks"."""
        response = self._send("GET", self._location, {}, None)
        if response.status != 204:
            raise self._repository.refusal(response, f"upload {self._blob.digest}")
        first, dash, last = response.headers.get("Range", "").removeprefix("bytes=").partition("-")
        self._location = _location(response)
        if dash and first == "0" and last.isascii() and last.isdigit():
            # 0-0 is what registries say of nothing, too: then the first byte goes again.
            self._sent = min(int(last) + 1, self._blob.size) if last != "0" else 0

    def _finish(self, *, whole: bool) -> None:
        from urllib.parse import quote

        joint = "&" if "?" in self._location else "?"
        url = f"{self._location}{joint}digest={quote(self._blob.digest, safe='')}"
        size = self._blob.size if whole else 0
        response = self._send(
            "PUT",
            url,
            {**_OCTETS, "Content-Length": str(size)},
            (lambda: self._piece(0, size)) if size else None,
        )
        if response.status not in (201, 204):
            raise self._repository.refusal(response, f"upload {self._blob.digest}")
        response.discard()

    def _send(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: Callable[[], _Piece] | None,
    ) -> Response:
        return self._repository.send(method, url, actions="pull,push", headers=headers, body=body)

    def _piece(self, start: int, size: int) -> _Piece:
        return _Piece(self._path, start, size, self._tell)

    def _tell(self, at: int) -> None:
        self._repository.http.check_stopped()
        self._teller.tell(UPLOADING, self._blob.digest, at, self._blob.size)


class _Piece(io.RawIOBase):
    """A part of a file, read by http.client while it sends."""

    def __init__(self, path: str, start: int, size: int, tell: Callable[[int], None]) -> None:
        super().__init__()
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._at, self._end = start, start + size
        self._tell = tell

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = self._end - self._at
        data = os.pread(self._fd, wanted if size < 0 else min(max(size, 1 << 18), wanted), self._at)
        self._at += len(data)
        self._tell(self._at)
        return data

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()


def _location(response: Response) -> str:
    location = response.headers.get("Location")
    response.discard()
    if not location:
        raise RegistryError(
            f"upload to {response.url}: the registry does not say where to",
            url=response.url,
            status=response.status,
        )
    return join(response.url, location)
