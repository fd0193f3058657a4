"""One blob of an image that is here, fetched once more from where the image's name points to."""

from __future__ import annotations

import hashlib

from newroot.errors import DigestMismatch, RegistryError, UsageError
from newroot.images.change import Change
from newroot.images.registry.client import Access, Connections
from newroot.images.registry.registries import load_registries
from newroot.oci.image import INDEXES, MANIFESTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.images.registry.client import Repository
    from newroot.images.registry.registries import Registries
    from newroot.images.store import ImageStore
    from newroot.oci.image import Descriptor

_DOCUMENT_MAX = 4 << 20


def fetch_again(
    store: ImageStore,
    name: str,
    descriptor: Descriptor,
    *,
    access: Access | None = None,
    registries: Registries | None = None,
) -> None:
    """Bring the blob *descriptor* of the image *name* back, verified.

    It stays only because an image in the index names it.  Raises RegistryError when nobody has it,
    UsageError when the name is no registry's, DigestMismatch for another blob than was asked for.
    """
    registries = load_registries() if registries is None else registries
    access = Access() if access is None else access
    failure: RegistryError | None = None
    for reference in registries.candidates(name):
        for endpoint in registries.endpoints(reference):
            with Connections(access, helpers=registries.helpers) as connections:
                try:
                    _fetch(store, connections.repository(endpoint), descriptor)
                    return
                except RegistryError as error:
                    failure = error
    raise failure or UsageError(f"fetch {descriptor.digest}: {name!r} is in no registry")


def _fetch(store: ImageStore, repository: Repository, descriptor: Descriptor) -> None:
    with Change(store) as change:
        if descriptor.media_type in (*MANIFESTS, *INDEXES):
            fetched = repository.get_manifest(
                descriptor.digest, expected=descriptor, limit=_DOCUMENT_MAX
            )
            change.write_blob(fetched.data, descriptor.media_type)
            return
        blob = change.new_blob()
        found = hashlib.sha256()
        download = repository.blob(descriptor, on_bytes=lambda _: None)
        try:
            while chunk := download():
                blob.write(chunk)
                found.update(chunk)
        finally:
            download.close()
        if f"sha256:{found.hexdigest()}" != descriptor.digest:
            raise DigestMismatch(
                f"fetch {descriptor.digest} from {repository}: its digest is "
                f"sha256:{found.hexdigest()}"
            )
        change.publish_blob(blob, descriptor.digest)
