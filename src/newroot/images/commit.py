"""A new image: one that is here, and one layer on top.

The layer comes as a tar of changes; where from is not this room's business.  What the image stands
on is neither copied nor read again.
"""

from __future__ import annotations

from newroot.errors import BlobNotFound, UsageError
from newroot.images.change import Change, give_name
from newroot.images.layers import add_unknown_layer
from newroot.images.limits import DEFAULT, Limits
from newroot.images.reference import parse
from newroot.oci import json
from newroot.oci.image import CONFIG, MANIFEST, Manifest, read_diff_ids
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.images.store import Image, ImageStore


@record
class Commit:
    """What is said of a new image beside its layer."""

    config: dict[str, Any]  #: the image config's ``config`` section
    created: str  #: RFC 3339
    created_by: str = ""  #: for the history
    author: str | None = None
    message: str | None = None


def commit_image(
    store: ImageStore,
    base: Image,
    chunks: Callable[[], bytes],
    said: Commit,
    *,
    name: str | None = None,
    limits: Limits = DEFAULT,
) -> Image:
    """Put the layer that *chunks* give on *base*, and call the image *name*.

    Without a name it has its digest alone.  On any failure the store is as it was.  Raises
    BlobNotFound when *base* is not whole, UsageError for a name that cannot be.
    """
    whole_name = None
    if name is not None:
        reference = parse(name)
        if reference.digest is not None:
            raise UsageError(f"commit an image as {name!r}: the name may not have a digest")
        whole_name = str(reference)
    manifest = store.manifest(base.digest)
    with Change(store) as change:
        for diff_id in read_diff_ids(base.config):
            change.has_layer(diff_id)
        for blob in manifest.layers:
            if not change.has_blob(blob):
                raise BlobNotFound(
                    f"commit on {base.reference or base.digest}: its blob {blob.digest} is gone",
                    hint="newroot doctor --repair",
                )
        layer = add_unknown_layer(
            change,
            chunks,
            what="the container's changes",
            absolute_names=False,
            limits=limits,
            recompress=True,
            below=base.layers,
        )
        config = change.write_blob(
            json.dumps(_document(base, layer.diff_id, said)).encode(), CONFIG
        )
        document = Manifest(config=config, layers=(*manifest.layers, layer.blob)).document()
        written = change.write_blob(json.dumps(document).encode(), MANIFEST)
        change.commit(lambda entries: give_name(entries, written, whole_name))
    return store.get(whole_name or written.digest)


def _document(base: Image, diff_id: str, said: Commit) -> dict[str, Any]:
    """The whole image config: image-spec, config.md."""
    document = dict(base.config)
    document["created"] = said.created
    document.pop("author", None)
    if said.author:
        document["author"] = said.author
    document["config"] = said.config
    diff_ids = [*read_diff_ids(base.config), diff_id]
    document["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
    history: dict[str, Any] = {"created": said.created}
    if said.created_by:
        history["created_by"] = said.created_by
    if said.author:
        history["author"] = said.author
    if said.message:
        history["comment"] = said.message
    before = base.config.get("history")
    document["history"] = [*(before if isinstance(before, list) else []), history]
    return document
