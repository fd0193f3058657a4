"""A container's root drawn as what it is: a stack of layers, the topmost first."""

from __future__ import annotations

from newroot.observe.drawing import Drawing, in_bytes, plural
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from newroot.observe.layers import LayerContent
    from newroot.observe.overlay import Layer


@record
class Slab:
    """One directory of an overlay, with what is known of it."""

    role: str  #: ``upper`` or ``lower``
    content: LayerContent
    layer: Layer | None = None


def draw_layers(name: str, slabs: Sequence[Slab], width: int) -> Drawing:
    """The stack of *slabs*, topmost first, that container *name* sees as one tree."""
    total = sum(slab.content.size_bytes for slab in slabs)
    drawing = Drawing(
        width,
        f"The root of {name}: {plural(len(slabs), 'layer')}, {in_bytes(total)}",
        "What each layer adds to those below it, replaces, deletes and hides; topmost first.",
    )
    drawing.text(2, 18, f"{name} sees one tree, merged from the top down", "head")
    drawing.path(f"M1 38V32Q1 27 6 27H{width - 6}Q{width - 1} 27 {width - 1} 32V38", "rule", 38)
    largest = max((slab.content.size_bytes for slab in slabs), default=0) or 1
    y = 44.0
    for number, slab in enumerate(slabs):
        y = _slab(drawing, slab, len(slabs) - number, largest, y)
    return drawing


def _slab(drawing: Drawing, slab: Slab, number: int, largest: int, y: float) -> float:
    place = len(drawing._parts)
    content, width = slab.content, drawing.width
    inner, top = 18.0, y + 24
    writable = slab.role == "upper"
    heading = "upper, written to" if writable else f"lower {number}"
    drawing.text(inner, top, heading, "head")
    size = in_bytes(content.size_bytes)
    bar_left = width * 0.62
    bar_room = width - bar_left - 100
    if drawing.narrow:
        drawing.text(width - 14, top, size, "end bold")
    else:
        drawing.rect(bar_left, top - 11, bar_room * content.size_bytes / largest, 13, "bar")
        drawing.text(width - 18, top, size, "end bold")
        known = _identity(slab)
        drawing.text(inner + 150, top, known, "quiet", most=bar_left - inner - 170)
    bottom = top + 21
    if drawing.narrow:
        drawing.text(inner, bottom, _identity(slab), "quiet", most=width - inner - 14)
        bottom += 18
        share = (width - inner - 18) * content.size_bytes / largest
        drawing.rect(inner, bottom - 8, share, 6, "bar", radius=3)
        bottom += 16
    bottom = drawing.wrapped(inner, bottom, _counts(content), "quiet")
    for mark, path in content.examples:
        kind = "gone" if mark == "-" else "changed"
        drawing.text(inner, bottom, "−" if mark == "-" else "~", f"{kind} bold")
        drawing.text(inner + 16, bottom, path, kind, most=width - inner - 32)
        bottom += 17
    # Drawn first, so that it lies below what stands in it.
    words = drawing._parts[place:]
    del drawing._parts[place:]
    drawing.rect(1, y, width - 2, bottom - y - 2, "upper" if writable else "slab", radius=8)
    drawing.hint(content.path)
    drawing._parts += words
    return bottom + 8


def _identity(slab: Slab) -> str:
    if slab.layer is not None:
        return f"{slab.layer.diff_id[:19]}  {', '.join(slab.layer.images)}".strip()
    return slab.content.path


def _counts(content: LayerContent) -> list[str]:
    said = (
        (content.added, "adds"),
        (content.replaced, "replaces"),
        (content.deleted, "deletes"),
        (content.hidden, "hides"),
    )
    words = [f"{verb} {plural(count, 'name')}" for count, verb in said if count]
    if not words:
        words = ["empty"] if content.whole else []
    return words if content.whole else [*words, "not all of it could be read"]
