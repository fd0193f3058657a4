"""How an image came to be: what its config tells of each step, beside the layer that it made.

The history is optional and nobody checks it, so layers that it says nothing of are listed too.
"""

from __future__ import annotations

from newroot.oci.image import read_diff_ids
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.images.store import ImageStore


@record
class History:
    """One step in the making of an image."""

    created: str | None  #: RFC 3339
    created_by: str
    comment: str
    size: int  #: bytes of its layer as it is stored; 0 for a step that made none
    diff_id: str | None  #: of its layer


def history(store: ImageStore, name: str) -> list[History]:
    """See ``Engine.history``."""
    image = store.get(name)
    manifest = store.manifest(name)
    layers = list(zip(read_diff_ids(image.config), manifest.layers, strict=True))[::-1]
    steps = []
    told = image.config.get("history")
    for step in told if isinstance(told, list) else []:
        if not isinstance(step, dict):
            continue
        diff_id, size = None, 0
        if not step.get("empty_layer") and layers:
            diff_id, blob = layers.pop()
            size = blob.size
        steps.append(_step(step, diff_id, size))
    steps += [_step({}, diff_id, blob.size) for diff_id, blob in reversed(layers)]
    return steps[::-1]


def _step(step: dict[str, Any], diff_id: str | None, size: int) -> History:
    created = step.get("created")
    return History(
        created=created if isinstance(created, str) else None,
        created_by=str(step.get("created_by") or ""),
        comment=str(step.get("comment") or ""),
        size=size,
        diff_id=diff_id,
    )
