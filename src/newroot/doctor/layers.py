"""Unpacked layers are what their blobs hold.

A layer's files are on no list of digests, so it is unpacked once more, beside, and compared; with
repair what was unpacked beside takes its place.
"""

from __future__ import annotations

import os

from newroot.doctor.check import Finding
from newroot.errors import ImageError, NewrootError
from newroot.images.change import Change, move_away, remove_path
from newroot.images.compare import first_difference
from newroot.images.layers import fill_layer
from newroot.images.limits import DEFAULT
from newroot.images.store import name_of
from newroot.images.stream import LayerStream, fd_chunks
from newroot.linux.erofs import open_layer
from newroot.oci.image import Descriptor, read_diff_ids
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from newroot.doctor.check import Patient
    from newroot.images.staged import Staged
    from newroot.images.store import ImageStore


@record
class _Layer:
    """One layer, and what unpacking it needs."""

    diff_id: str
    blob: Descriptor
    below: tuple[str, ...]  #: topmost first
    image: str  #: the first that has it


def check_layers(patient: Patient) -> Iterator[Finding]:
    """Every layer of every image is unpacked, and unless quick as its blob has it."""
    layers = list(_layers(patient))
    wrong = 0
    for layer in layers:
        for finding in _check(patient, layer):
            wrong += finding.is_wrong
            yield finding
    if not wrong:
        how = "not compared" if patient.quick else "compared with their blobs"
        yield Finding(state="note", words=f"{len(layers)} layers, {how}")


def _layers(patient: Patient) -> Iterator[_Layer]:
    """Each layer once, those that others stand on first."""
    store, seen = patient.images, set()
    for entry in store.entries():
        name = name_of(entry) or str(entry.get("digest"))
        try:
            manifest = store.manifest(str(entry.get("digest")))
            config = store.document(manifest.config, f"the config of {name}")
            diff_ids = read_diff_ids(config)
        except NewrootError:
            continue  # blobs.py has said so
        for i, (diff_id, blob) in enumerate(zip(diff_ids, manifest.layers, strict=False)):
            if diff_id not in seen:
                seen.add(diff_id)
                below = tuple(store.layer_path(d) for d in reversed(diff_ids[:i]))
                yield _Layer(diff_id=diff_id, blob=blob, below=below, image=name)


def _check(patient: Patient, layer: _Layer) -> Iterator[Finding]:
    store = patient.images
    path = store.layer_path(layer.diff_id)
    there = os.path.lexists(path)
    whose = f"layer {layer.diff_id[7:19]} of {layer.image}"
    if layer.blob.digest in patient.bad_blobs:
        if not there:
            yield Finding(
                state="lost", words=f"{whose} is not unpacked, and its blob is gone",
                hint="load, import or pull the image again",
            )  # fmt: skip
        return
    if there and patient.quick:
        return
    with Change(store, sweep=patient.repair) as change, change.unpacking(layer.diff_id):
        tree = change.new_layer(like=path if there else None)
        implied = _unpack(store, layer, tree)
        wrong: str | None = "is not unpacked"
        if there:
            difference = _difference(path, tree.path, implied)
            wrong = None if difference is None else f"is altered: {difference}"
        if wrong is None:
            return
        if not patient.repair:
            yield Finding(state="bad", words=f"{whose} {wrong}", hint="newroot doctor --repair")
        elif there and _runs_on(patient, path):
            yield Finding(
                state="bad", words=f"{whose} {wrong}, and a container runs on it",
                hint="end the container, then newroot doctor --repair",
            )  # fmt: skip
        else:
            old = move_away(path) if there else None
            change.publish_layer(tree, layer.diff_id)
            if old is not None:
                remove_path(old)
            yield Finding(state="mended", words=f"{whose} {wrong}: unpacked anew")


def _unpack(store: ImageStore, layer: _Layer, tree: Staged) -> frozenset[bytes]:
    with open(store.blob_path(layer.blob.digest), "rb", buffering=0) as file:
        what = f"layer {layer.diff_id}"
        stream = LayerStream(fd_chunks(file.fileno()), what=what)
        unpacked = fill_layer(
            stream.next, tree, what=what, below=lambda: layer.below, limits=DEFAULT
        )
        stream.drain()
        stream.verify(diff_id=layer.diff_id)
    return unpacked.implied


def _difference(path: str, fresh_path: str, implied: frozenset[bytes]) -> str | None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fresh = open_layer(fresh_path, flags)
    try:
        fd = open_layer(path, flags)
        try:
            return first_difference(fd, fresh, implied=implied)
        finally:
            os.close(fd)
    except OSError as error:  # of a damaged file system too: EUCLEAN
        return str(error.strerror).lower()
    except ImageError:
        return "it is no file system any more"
    finally:
        os.close(fresh)


def _runs_on(patient: Patient, path: str) -> bool:
    return any(path in found.lower and found.is_up for found in patient.engine.containers())
