"""The image layout: the index can be read, and every blob is what its name says.

With repair a blob that is not is taken out of the way, so that the next load or pull brings it
again, and asked for at the registry that the image's name points to.
"""

from __future__ import annotations

import hashlib
import os

from newroot.doctor.check import Finding
from newroot.errors import ImageError, NewrootError
from newroot.images.change import Change, move_away, remove_path
from newroot.images.store import descriptor_of, name_of
from newroot.oci import json
from newroot.oci.image import INDEXES, MANIFEST, Descriptor, read_manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from newroot.doctor.check import Patient
    from newroot.images.store import Entry, ImageStore

_CHUNK = 1 << 20
_DOCUMENT_MAX = 4 << 20


def check_index(patient: Patient) -> Iterator[Finding]:
    """index.json can be read; with repair one that cannot is made of the manifests there are."""
    store = patient.images
    try:
        entries = store.entries()
    except ImageError as error:
        if not patient.repair:
            yield Finding(state="bad", words=str(error), hint="newroot doctor --repair")
            return
        found = list(_manifests(store))
        with Change(store) as change:
            change.commit(lambda entries: entries.extend(found), anew=True)
        yield Finding(
            state="lost",
            words=f"{error}; a new one lists {len(found)} images, whose names are gone",
            hint="newroot images -q lists them; newroot tag names them",
        )
        return
    yield Finding(state="note", words=f"{len(entries)} names in {store.images}")


def check_blobs(patient: Patient) -> Iterator[Finding]:
    """Every blob that an image names is there, of its size, and of its digest unless quick."""
    store = patient.images
    users: dict[str, list[Entry]] = {}
    known: dict[str, Descriptor] = {}
    todo = [(entry, descriptor_of(entry)) for entry in store.entries()]
    while todo:
        entry, descriptor = todo.pop(0)
        is_new = descriptor.digest not in known
        known[descriptor.digest] = descriptor
        users.setdefault(descriptor.digest, []).append(entry)
        if is_new:
            wrong = what_is_wrong(store, descriptor, quick=patient.quick)
            if wrong is not None and patient.repair:
                _take_away(store, descriptor)
                # A manifest says what else there is: so it has to come before anything else.
                if _fetch(patient, entry, descriptor):
                    yield Finding(state="mended", words=f"{_words(descriptor, wrong)}: fetched")
                    wrong = None
            if wrong is not None:
                patient.bad_blobs[descriptor.digest] = wrong
        if descriptor.digest not in patient.bad_blobs:
            todo += [(entry, child) for child in _children(store, descriptor)]
    yield from _told(patient, known, users)
    if not patient.bad_blobs:
        how = "sizes alone" if patient.quick else "read whole"
        size = sum(descriptor.size for descriptor in known.values())
        yield Finding(state="note", words=f"{len(known)} blobs, {size} bytes, {how}")


def _told(
    patient: Patient, known: dict[str, Descriptor], users: dict[str, list[Entry]]
) -> Iterator[Finding]:
    for digest, wrong in patient.bad_blobs.items():
        names = ", ".join(dict.fromkeys(_called(entry) for entry in users[digest]))
        words = f"{_words(known[digest], wrong)}: {names}"
        if patient.repair:
            yield Finding(
                state="lost",
                words=words,
                hint="load, import or pull the image again; newroot rmi forgets it",
            )
        else:
            yield Finding(state="bad", words=words, hint="newroot doctor --repair")


def what_is_wrong(store: ImageStore, descriptor: Descriptor, *, quick: bool) -> str | None:
    """Why a blob is not what its descriptor says; None when it is."""
    try:
        fd = os.open(store.blob_path(descriptor.digest), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return "is not there"
    with open(fd, "rb", buffering=0) as file:
        size = os.fstat(fd).st_size
        if size != descriptor.size:
            return f"has {size} bytes, not {descriptor.size}"
        if quick:
            return None
        found = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return None if f"sha256:{found.hexdigest()}" == descriptor.digest else "is altered"


def _children(store: ImageStore, descriptor: Descriptor) -> list[Descriptor]:
    """What a manifest or an index names; nothing for anything else."""
    try:
        if descriptor.media_type in INDEXES:
            document = store.document(descriptor, "an index")
            return [descriptor_of(child) for child in document.get("manifests") or []]
        if "manifest" not in descriptor.media_type:
            return []
        manifest = read_manifest(store.document(descriptor, "a manifest"))
        return [manifest.config, *manifest.layers]
    except (NewrootError, AttributeError):
        return []


def _words(descriptor: Descriptor, wrong: str) -> str:
    kind = "blob"
    if "manifest" in descriptor.media_type:
        kind = "manifest"
    elif "config" in descriptor.media_type or "container.image" in descriptor.media_type:
        kind = "config"
    elif "layer" in descriptor.media_type or "rootfs" in descriptor.media_type:
        kind = "layer's blob"
    return f"{kind} {descriptor.digest[7:19]} {wrong}"


def _called(entry: Entry) -> str:
    from newroot.images.reference import familiar

    name = name_of(entry)
    return familiar(name) if name else str(entry.get("digest"))[:19]


# ── repair ───────────────────────────────────────────────────────────────────────────────────


def _take_away(store: ImageStore, descriptor: Descriptor) -> None:
    moved = move_away(store.blob_path(descriptor.digest))
    if moved is not None:
        remove_path(moved)


def _fetch(patient: Patient, entry: Entry, descriptor: Descriptor) -> bool:
    """Bring a blob back from the registry that the image's name points to."""
    name = name_of(entry)
    if not patient.fetch or name is None:
        return False
    from newroot.images.registry.again import fetch_again
    from newroot.images.registry.client import Access

    access = Access(tls_verify=patient.tls_verify)
    try:
        fetch_again(patient.images, name, descriptor, access=access)
    except NewrootError:
        return False
    return True


def _manifests(store: ImageStore) -> Iterator[Entry]:
    """Descriptors of all blobs that are whole manifests of images."""
    directory = f"{store.images}/blobs/sha256"
    for name in sorted(os.listdir(directory)):
        path = f"{directory}/{name}"
        size = os.stat(path).st_size
        if not 0 < size < _DOCUMENT_MAX:
            continue
        with open(path, "rb") as file:
            data = file.read()
        try:
            read_manifest(document := json.loads(data, what=name))
        except NewrootError:
            continue
        if hashlib.sha256(data).hexdigest() == name:
            media_type = document.get("mediaType") or MANIFEST
            yield Descriptor(media_type=media_type, digest=f"sha256:{name}", size=size).document()
