"""Pictures as SVG: the few shapes that all drawings are made of, and what they look like.

A drawing is laid out for a width, so a page holds one for a desk and one for a telephone.  On its
own it is a file that needs nothing: colours by class, light and dark.  Every colour stands beside
a shape, a letter or a word that says the same; the colours are Okabe and Ito's, which those who
see colours differently tell apart as well.
"""

from __future__ import annotations

from newroot.observe.timeline import _cut, _text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

WIDE, NARROW = 1100, 344

MONO = "ui-monospace,'SF Mono','Cascadia Mono','DejaVu Sans Mono',Menlo,Consolas,monospace"
SANS = "system-ui,-apple-system,'Segoe UI',Cantarell,'Noto Sans','DejaVu Sans',sans-serif"

#: One character of the labels, at 12 px; no font that MONO names is wider.
CHAR = 7.3

#: name -> (light, dark)
COLOURS = {
    "ink": ("#1f2328", "#e6e9ed"),
    "quiet": ("#59636e", "#98a3af"),
    "faint": ("#d5dae0", "#343c46"),
    "paper": ("#ffffff", "#12161b"),
    "band": ("#f5f7f9", "#191f26"),
    "own": ("#0b6bb0", "#4aa3e0"),
    "on-own": ("#ffffff", "#0c1116"),
    "shared": ("#b45309", "#e69f00"),
    "added": ("#007a59", "#2bb58d"),
    "changed": ("#b45309", "#e69f00"),
    "gone": ("#b3247a", "#e08ac0"),
    "bar": ("#8fb4e0", "#456f9f"),
}

#: class -> declarations, with colours by name
_CLASSES = {
    "text": f"font:12px {MONO};fill:$ink",
    "text.sans": f"font:13px {SANS};fill:$ink",
    "text.head": f"font:600 13px {SANS};fill:$ink",
    "text.title": f"font:600 18px {SANS};fill:$ink",
    "text.quiet": "fill:$quiet",
    "text.small": "font-size:11px",
    "text.mid": "text-anchor:middle",
    "text.end": "text-anchor:end",
    "text.bold": "font-weight:600",
    "text.on-own": "fill:$on-own",
    "text.own": "fill:$own",
    "text.shared": "fill:$shared",
    "text.added": "fill:$added",
    "text.changed": "fill:$changed",
    "text.gone": "fill:$gone",
    "rect.paper": "fill:$paper",
    "rect.band": "fill:$band",
    "rect.own": "fill:$own",
    "rect.shared": "fill:$shared",
    "rect.bar": "fill:$bar",
    "rect.added": "fill:$added",
    "rect.slab": "fill:$band;stroke:$faint",
    "rect.upper": "fill:$paper;stroke:$shared;stroke-width:1.5;stroke-dasharray:5 3",
    "circle.sealed": "fill:$shared",
    "circle.host": "fill:none;stroke:$quiet;stroke-width:1.3",
    "path.rule": "fill:none;stroke:$faint",
    "path.link": "fill:none;stroke:$own;stroke-width:1.4;opacity:.55",
    "path.share": "fill:none;stroke:$shared;stroke-width:2",
    "path.tree": "fill:none;stroke:$faint;stroke-width:1.2",
}


def style(scope: str = "") -> str:
    """The style sheet of the drawings, light, and dark where the reader's system is."""
    dark = "".join(f"{scope}{name}{{{_coloured(rule, 1)}}}" for name, rule in _CLASSES.items())
    light = "".join(f"{scope}{name}{{{_coloured(rule, 0)}}}\n" for name, rule in _CLASSES.items())
    return f"{light}@media (prefers-color-scheme:dark){{{dark}}}"


def _coloured(rule: str, which: int) -> str:
    # The longest names first: $on-own begins like no other, but $own stands within none.
    for name in sorted(COLOURS, key=len, reverse=True):
        rule = rule.replace(f"${name}", COLOURS[name][which])
    return rule


class Drawing:
    """Shapes on a sheet *width* wide, as high as what is drawn on it."""

    def __init__(self, width: int, title: str, described: str = "") -> None:
        self.width = width
        self.height = 0.0
        self.title = title
        self.described = described
        self._parts: list[str] = []

    @property
    def narrow(self) -> bool:
        return self.width < 600

    def text(self, x: float, y: float, words: str, kind: str = "", *, most: float = 0) -> None:
        """Words whose base line is at *y*; cut in the middle when longer than *most* pixels."""
        if most:
            words = _cut(words, max(4, int(most / CHAR)))
        self._add(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{_text(words)}</text>', y + 6)

    def rect(
        self, x: float, y: float, width: float, height: float, kind: str, *, radius: float = 4
    ) -> None:
        self._add(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" '
            f'height="{height:.1f}" rx="{radius:g}"/>',
            y + height,
        )

    def circle(self, x: float, y: float, radius: float, kind: str) -> None:
        self._add(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>', y + radius)

    def path(self, points: str, kind: str, bottom: float = 0) -> None:
        self._add(f'<path class="{kind}" d="{points}"/>', bottom)

    def curve(self, x1: float, y1: float, x2: float, y2: float, kind: str = "link") -> None:
        """A line from one column to another, level at both its ends."""
        middle = (x1 + x2) / 2
        points = f"M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
        self.path(points, kind, max(y1, y2))

    def hint(self, words: str) -> None:
        """What a pointer that rests on what was drawn last is told."""
        last = self._parts.pop()
        self._parts.append(f"<g><title>{_text(words)}</title>{last}</g>")

    def lower(self) -> None:
        """Put what was drawn last below all the rest."""
        self._parts.insert(0, self._parts.pop())

    def wrapped(
        self, x: float, y: float, words: Sequence[str], kind: str = "quiet", *, gap: str = " · "
    ) -> float:
        """Several phrases, on as many lines as they need; returns where the next line would be."""
        room = (self.width - x - 8) / CHAR
        line = ""
        for phrase in words:
            joined = f"{line}{gap}{phrase}" if line else phrase
            if len(joined) > room and line:
                self.text(x, y, line, kind)
                y, line = y + 17, phrase
            else:
                line = joined
        self.text(x, y, line, kind, most=self.width - x - 8)
        return y + 17

    def svg(self, *, alone: bool) -> str:
        """The picture: *alone* a file of its own, else to stand in a page that has the style."""
        height = round(self.height + 14)
        size = f'viewBox="0 0 {self.width} {height}"'
        name = _text(self.title)
        about = f"<desc>{_text(self.described)}</desc>" if self.described else ""
        if not alone:
            return (
                f'<svg class="{"narrow" if self.narrow else "wide"}" {size} role="img" '
                f'aria-label="{name}">{about}{"".join(self._parts)}</svg>'
            )
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} width="{self.width}" '
            f'height="{height}" role="img">',
            f"<title>{name}</title>{about}",
            f"<style>\n{style()}</style>",
            f'<rect class="paper" width="{self.width}" height="{height}"/>',
            *self._parts,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"

    def _add(self, part: str, bottom: float) -> None:
        self._parts.append(part)
        self.height = max(self.height, bottom)


def plural(count: int, one: str, many: str = "") -> str:
    """``1 process``, ``3 processes``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}".replace(",", "\u202f")


def in_bytes(size: int) -> str:
    """``4.3 MB``: powers of 1000."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < 4:
        value, unit = value / 1000, unit + 1
    words = f"{value:.0f}" if unit == 0 or value >= 99.5 else f"{value:.1f}"
    return f"{words} {('B', 'kB', 'MB', 'GB', 'TB')[unit]}"
