"""Volumes and directories of the host, and the containers that use them."""

from __future__ import annotations

from newroot.observe.drawing import Drawing, plural
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


@record
class Use:
    """One container's use of a volume or directory."""

    container: str
    target: str
    readonly: bool = False
    running: bool = True


@record
class Shared:
    """A volume, or a directory of the host that a container sees."""

    name: str
    kind: str  #: ``volume`` or ``bind``
    path: str
    uses: tuple[Use, ...] = ()


def draw_volumes(shared: Sequence[Shared], width: int) -> Drawing:
    """Each of *shared* and who uses it."""
    drawing = Drawing(
        width,
        "Volumes and who uses them",
        f"{plural(len(shared), 'volume or directory', 'volumes and directories')}.",
    )
    if not shared:
        drawing.text(2, 18, "No volumes here.", "quiet")
    elif drawing.narrow:
        _stacked(drawing, shared)
    else:
        _beside(drawing, shared)
    return drawing


def _stacked(drawing: Drawing, shared: Sequence[Shared]) -> None:
    y = 6.0
    for one in shared:
        _box(drawing, one, 1, y, drawing.width - 2)
        y += 60
        for use in one.uses:
            drawing.path(f"M14 {y - 14:.1f}V{y + 5:.1f}H26", "tree", y + 5)
            drawing.text(32, y + 9, _words(use), "", most=drawing.width - 36)
            y += 20
        if not one.uses:
            drawing.text(16, y + 6, "used by nobody", "quiet")
            y += 20
        y += 12


def _beside(drawing: Drawing, shared: Sequence[Shared]) -> None:
    """Volumes on the left, containers on the right, a curve for each use."""
    box, right = 400.0, 700.0
    names = list(dict.fromkeys(use.container for one in shared for use in one.uses))
    spots = {name: 30 + 62.0 * number for number, name in enumerate(names)}
    y = 6.0
    for one in shared:
        middle = y + 24
        for use in one.uses:
            drawing.curve(box, middle, right, spots[use.container])
            drawing.hint(f"{use.container} sees {one.name} at {_words(use)}")
        _box(drawing, one, 1, y, box - 1)
        if not one.uses:
            drawing.text(box + 12, middle + 4, "used by nobody", "quiet")
        y += 62
    for name, middle in spots.items():
        uses = [use for one in shared for use in one.uses if use.container == name]
        drawing.rect(right, middle - 24, drawing.width - right - 1, 48, "slab", radius=8)
        running = any(use.running for use in uses)
        drawing.text(right + 14, middle - 5, name, "bold", most=220)
        if not running:
            drawing.text(drawing.width - 14, middle - 5, "has ended", "quiet end")
        targets = ", ".join(f"{use.target}{' ro' if use.readonly else ''}" for use in uses)
        drawing.text(right + 14, middle + 14, targets, "quiet", most=drawing.width - right - 28)


def _box(drawing: Drawing, one: Shared, x: float, y: float, width: float) -> None:
    drawing.rect(x, y, width, 48, "slab", radius=8)
    drawing.hint(one.path)
    drawing.rect(x, y + 8, 4, 32, "added" if one.kind == "volume" else "own", radius=2)
    drawing.text(x + 16, y + 20, one.name, "bold", most=width - 100)
    drawing.text(x + width - 12, y + 20, one.kind, "quiet end")
    drawing.text(x + 16, y + 38, one.path, "quiet", most=width - 30)


def _words(use: Use) -> str:
    notes = [word for word, said in (("ro", use.readonly), ("ended", not use.running)) if said]
    return f"{use.container}  {use.target}{' (' + ', '.join(notes) + ')' if notes else ''}"
