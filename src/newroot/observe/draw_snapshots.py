"""Snapshots as a tree that grows downwards: images, what was sealed on them, and containers.

A dot is a state of a root that nothing changes any more; a box is a container, which goes on from
there.  Drawn from records that say no more than is drawn: where they come from is not known here.
"""

from __future__ import annotations

from newroot.observe.drawing import Drawing, plural
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal

_ROW = 38.0
_TOP = 20.0


@record
class Place:
    """One place in the tree, and what grew from it."""

    kind: Literal["image", "snapshot", "container"]
    name: str  #: of the image or the container; of a snapshot: its tags, or whose it was
    about: str = ""  #: its id, when it was made, whether it runs
    tagged: bool = False  #: a snapshot that somebody named
    running: bool = False
    children: tuple[Place, ...] = ()

    def walk(self) -> Iterator[Place]:
        """This and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def draw_snapshots(roots: Sequence[Place], width: int) -> Drawing:
    """Each of *roots* and what grew on it."""
    places = [place for root in roots for place in root.walk()]
    snapshots = sum(place.kind == "snapshot" for place in places)
    containers = sum(place.kind == "container" for place in places)
    drawing = Drawing(
        width,
        "Snapshots and what grew from them",
        f"{plural(snapshots, 'snapshot')}, {plural(containers, 'container')}.",
    )
    if not roots:
        drawing.text(2, 18, "No container was forked, and no snapshot kept.", "quiet")
        return drawing
    deepest = max(map(_depth, roots))
    # Half of the sheet is for the words, however deep it goes.
    step = min(18.0 if drawing.narrow else 34.0, width * 0.45 / max(deepest, 1))
    y = _TOP
    for root in roots:
        y = _Tree(drawing, step).draw(root, 0, y) + 14
    return drawing


def _depth(place: Place) -> int:
    return 1 + max(map(_depth, place.children), default=0)


class _Tree:
    def __init__(self, drawing: Drawing, step: float) -> None:
        self._drawing = drawing
        self._step = step

    def draw(self, place: Place, depth: int, y: float) -> float:
        """Draw a place at *y* and what grew from it below; return where the next may be."""
        x = 10 + depth * self._step
        below = y + _ROW
        for child in place.children:
            # From its own dot down, then over to the child's.
            line = f"M{x:.1f} {y + 8:.1f}V{below:.1f}H{x + self._step - 8:.1f}"
            self._drawing.path(line, "tree", below)
            below = self.draw(child, depth + 1, below)
        self._mark(place, x, y)
        return below

    def _mark(self, place: Place, x: float, y: float) -> None:
        drawing = self._drawing
        words = x + 16
        if place.kind == "container":
            room = drawing.width - x - 2
            drawing.rect(x - 6, y - 14, room, 28, "slab", radius=8)
            drawing.hint(f"container {place.name}, {place.about}")
            drawing.rect(x - 6, y - 8, 4, 16, "added" if place.running else "bar", radius=2)
            words = x + 8
        elif place.kind == "image":
            drawing.rect(x - 6, y - 6, 12, 12, "own", radius=3)
            drawing.hint(f"image {place.name}")
        else:
            drawing.circle(x, y, 5.5, "sealed" if place.tagged else "host")
            drawing.hint(f"snapshot {place.name}, {place.about}")
        about = 0.0 if drawing.narrow else min(250.0, drawing.width * 0.3)
        kind = "" if place.kind == "snapshot" and not place.tagged else "bold"
        drawing.text(words, y + 4, place.name, kind, most=drawing.width - words - about - 12)
        if about and place.about:
            drawing.text(drawing.width - 12, y + 4, place.about, "quiet end", most=about)
