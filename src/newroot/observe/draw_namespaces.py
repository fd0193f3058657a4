"""The namespaces drawn: a row for each container or group of processes, a column for each type.

A filled cell is a namespace of the row's own; one with a letter is shared by the rows that have the
letter; a ring is the host's.
"""

from __future__ import annotations

from itertools import pairwise

from newroot.linux.nsfs import TYPES
from newroot.observe.drawing import Drawing, plural
from newroot.observe.process import command_of
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from newroot.observe.engines import EngineContainer
    from newroot.observe.scan import Census, Namespace

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@record
class Row:
    """Processes that are in the same namespaces."""

    label: str
    about: str
    ids: dict[str, int]
    processes: int
    container: bool
    beside: str = ""  #: the container in whose namespaces it is without being of it


def rows_of(census: Census) -> tuple[Row, ...]:
    """The host first, then the containers, then what else is apart from the host."""
    places: dict[int, dict[str, int]] = {}
    named: dict[int, Namespace] = {}
    for namespace in census.namespaces:
        apart = namespace.id not in census.host
        for pid in namespace.processes:
            places.setdefault(pid, {})[namespace.type] = namespace.id
            if apart and (pid not in named or named[pid].container is None):
                named[pid] = namespace
    groups: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for pid, ids in places.items():
        groups.setdefault(tuple(sorted(ids.items())), []).append(pid)
    rows = [_row(dict(key), sorted(pids), census, named) for key, pids in groups.items()]
    # What is dead and not yet reaped is in a user namespace only, and says nothing.
    rows = [row for row in rows if len(row.ids) > 3]
    return tuple(sorted(rows, key=_place))


def _place(row: Row) -> tuple[bool, bool, str, bool, str]:
    """The host, the containers, each followed by who shares with it, the others."""
    alone = not row.container and not row.beside
    return row.label != "host", alone, row.beside or row.label, bool(row.beside), row.label


def _row(ids: dict[str, int], pids: list[int], census: Census, named: dict[int, Namespace]) -> Row:
    first = pids[0]
    if set(ids.values()) <= census.host:
        return Row(
            label="host", about=plural(len(pids), "process", "processes"), ids=ids,
            processes=len(pids), container=False,
        )  # fmt: skip
    # Of two rows in one namespace the container's is that of the namespace's first process.
    inside = named[first].container if first in named else None
    container = next((n.container for n in census.namespaces if n.pid == first), None)
    command = command_of(first)
    return Row(
        label=f"{container.label}" if container else f"process {first}",
        about=" · ".join(filter(None, (_said(container, inside), command))),
        ids=ids,
        processes=len(pids),
        container=container is not None,
        beside=inside.label if inside is not None and container is None else "",
    )


def _said(container: EngineContainer | None, inside: EngineContainer | None) -> str:
    if container is not None:
        return container.engine
    return f"in {inside.label}" if inside is not None else ""


def draw_namespaces(census: Census, width: int) -> Drawing:
    """Who shares which namespaces, for a sheet *width* wide."""
    rows = rows_of(census)
    apart = sum(namespace.id not in census.host for namespace in census.namespaces)
    drawing = Drawing(
        width,
        "Namespaces and who shares them",
        f"{plural(apart, 'namespace')} beside the host's own, in {plural(len(rows), 'row')}.",
    )
    letters = _shared(rows, census.host)
    grid = _Grid(drawing)
    grid.heads()
    tops = {id(row): grid.row(row, census.host, letters) for row in rows}
    for number in letters:
        sharing = [row for row in rows if number in row.ids.values()]
        kind = next(kind for kind, own in sharing[0].ids.items() if own == number)
        grid.join(kind, [tops[id(row)] for row in sharing])
    _kept(drawing, grid, [n for n in census.namespaces if not n.processes])
    _legend(drawing, grid)
    return drawing


def _shared(rows: Iterable[Row], host: frozenset[int]) -> dict[int, str]:
    """A letter for each namespace that several rows are in, but for the host's."""
    count: dict[int, int] = {}
    for row in rows:
        for number in row.ids.values():
            count[number] = count.get(number, 0) + 1
    shared = [number for number, many in count.items() if many > 1 and number not in host]
    return {number: _LETTERS[place % 26] for place, number in enumerate(shared)}


class _Grid:
    """The columns, and where the next row goes."""

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        self.left = 0 if drawing.narrow else 388
        self.step = (drawing.width - self.left) / len(TYPES)
        self.cell = min(self.step - 8, 74)
        self.high = 24
        self.y = 0.0

    def x(self, kind: str) -> float:
        return self.left + self.step * (TYPES.index(kind) + 0.5)

    def heads(self) -> None:
        for kind in TYPES:
            self.drawing.text(self.x(kind), 18, kind, "mid bold")
        self.drawing.path(f"M0 28H{self.drawing.width}", "rule", 28)
        self.y = 34

    def row(self, row: Row, host: frozenset[int], letters: dict[int, str]) -> float:
        """Draw a row; return the middle of its cells."""
        drawing = self.drawing
        if drawing.narrow:
            drawing.text(2, self.y + 14, row.label, "bold", most=drawing.width * 0.5)
            room = drawing.width - 12 - min(len(row.label), 22) * 7.4
            if room > 60:
                drawing.text(drawing.width - 2, self.y + 14, row.about, "quiet end", most=room)
            middle = self.y + 36
            self.y += 58
        else:
            drawing.text(2, self.y + 20, row.label, "bold", most=180)
            drawing.text(190, self.y + 20, row.about, "quiet", most=self.left - 200)
            middle = self.y + 16
            self.y += 32
        for kind in TYPES:
            if kind in row.ids:
                self._cell(kind, middle, row, host, letters)
        drawing.path(f"M0 {self.y:.1f}H{drawing.width}", "rule", self.y)
        return middle

    def _cell(
        self, kind: str, y: float, row: Row, host: frozenset[int], letters: dict[int, str]
    ) -> None:
        number, x = row.ids[kind], self.x(kind)
        words = f"{kind} {number}"
        if number in host:
            self.drawing.circle(x, y, 6, "host")
            self.drawing.hint(f"{words}: the host's")
            return
        letter = letters.get(number)
        kind_of_cell = "shared" if letter else "own"
        self.drawing.rect(x - self.cell / 2, y - self.high / 2, self.cell, self.high, kind_of_cell)
        said = f"shared, {letter}" if letter else f"{row.label}'s own"
        self.drawing.hint(f"{words}: {said}")
        text = f"{letter or ''}{' ' if letter and self.cell > 60 else ''}"
        text += str(number)[-5:] if self.cell > 60 else ""
        if text:
            self.drawing.text(x, y + 4, text.strip(), "mid on-own bold")

    def join(self, kind: str, middles: list[float]) -> None:
        """Lines between the cells of one column, below whatever lies between."""
        x = self.x(kind)
        for above, below in pairwise(middles):
            top, bottom = above + self.high / 2, below - self.high / 2
            self.drawing.path(f"M{x:.1f} {top:.1f}V{bottom:.1f}", "share", bottom)
            self.drawing.lower()


def _kept(drawing: Drawing, grid: _Grid, kept: list[Namespace]) -> None:
    """Those that no process is in."""
    if not kept:
        return
    grid.y += 24
    drawing.text(2, grid.y, "Without a process", "head")
    for namespace in kept[:12]:
        grid.y += 20
        keeper = namespace.kept_by[0] if namespace.kept_by else None
        why = ""
        if keeper is not None:
            why = keeper.path if keeper.kind != "child" else f"owns or encloses {keeper.child}"
        drawing.text(2, grid.y, f"{namespace.type} {namespace.id}", "bold")
        left = 140
        drawing.text(left, grid.y, f"kept by {why}", "quiet", most=drawing.width - left)


def _legend(drawing: Drawing, grid: _Grid) -> None:
    y, x = grid.y + 30, 2.0
    items = (("own", "its own"), ("shared", "shared: the same letter"), ("host", "the host's"))
    for kind, words in items:
        if kind == "host":
            drawing.circle(x + 10, y - 4, 6, "host")
        else:
            drawing.rect(x, y - 13, 20, 18, kind)
        if kind == "shared":
            drawing.text(x + 10, y, "A", "mid on-own bold")
        drawing.text(x + 27, y, words, "quiet")
        x += 27 + len(words) * 7.4 + 22
        if drawing.narrow and x > drawing.width * 0.8:
            x, y = 2.0, y + 24
