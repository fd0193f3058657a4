"""Two mount trees side by side: the host's, and a container's that shows parts of it."""

from __future__ import annotations

from newroot.observe.difference import diff
from newroot.observe.drawing import CHAR, Drawing, plural
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from newroot.observe.table import SeenMount

_ROW = 20.0
_MARKS = {
    "a": ("−", "gone"),
    "b": ("+", "added"),
    "differs": ("~", "changed"),
    "same": ("=", "quiet"),
}


@record
class _Line:
    mount: SeenMount
    mark: str
    y: float


def draw_mounts(
    name: str, host: Sequence[SeenMount], own: Sequence[SeenMount], width: int
) -> Drawing:
    """The mount trees of the host and of container *name*."""
    marks_host, marks_own = _marks(host, own)
    only = sum(mark == "b" for mark in marks_own.values())
    shown = sum(mount.origin is not None for mount in own)
    drawing = Drawing(
        width,
        f"What {name} sees mounted, beside the host",
        f"{plural(only, 'mount')} only {name} has; {shown} of its mounts show files of the host.",
    )
    if drawing.narrow:
        _column(drawing, "Host", host, marks_host, 0, width, 18)
        _column(drawing, name, own, marks_own, 0, width, drawing.height + 34, origins=True)
    else:
        gap, half = 110, (width - 110) / 2
        left = _column(drawing, "Host", host, marks_host, 0, half, 18)
        right = _column(drawing, name, own, marks_own, half + gap, half, 18)
        _links(drawing, left, right, half, gap)
    _legend(drawing, name)
    return drawing


def _marks(
    host: Sequence[SeenMount], own: Sequence[SeenMount]
) -> tuple[dict[int, str], dict[int, str]]:
    """By mount id, on either side: only here, differs, same."""
    on_host: dict[int, str] = {}
    in_own: dict[int, str] = {}
    for entry in diff((m.mount for m in host), (m.mount for m in own), same=True):
        if entry.a is not None:
            on_host[entry.a.id] = entry.kind
        if entry.b is not None:
            in_own[entry.b.id] = entry.kind
    return on_host, in_own


def _column(
    drawing: Drawing,
    title: str,
    mounts: Sequence[SeenMount],
    marks: dict[int, str],
    left: float,
    width: float,
    y: float,
    *,
    origins: bool = False,
) -> list[_Line]:
    drawing.text(left + 2, y, title, "head", most=width)
    drawing.text(left + width - 2, y, plural(len(mounts), "mount"), "quiet end")
    drawing.path(f"M{left} {y + 9:.1f}h{width:.1f}", "rule", y + 9)
    y += 27
    lines = []
    for mount in mounts:
        mark, kind = _MARKS[marks[mount.mount.id]]
        drawing.text(left + 2, y, mark, f"{kind} bold")
        indent = left + 20 + min(mount.depth, 6) * 12
        about = _about(mount)
        room = left + width - indent - len(about) * CHAR - 14
        kinds = "quiet" if mount.hidden else ""
        drawing.text(indent, y, mount.mount.mount_point, kinds, most=max(room, 80))
        drawing.hint(_hint(mount))
        if room > 60:
            drawing.text(left + width - 2, y, about, "quiet end small")
        lines.append(_Line(mount=mount, mark=mark, y=y - 4))
        y += _ROW
        if origins and mount.origin is not None:
            drawing.text(indent, y - 3, f"↳ {mount.origin.path}", "own small", most=width - indent)
            y += _ROW - 2
    return lines


def _about(mount: SeenMount) -> str:
    words = mount.mount.fstype
    if mount.hidden:
        words += " hidden"
    elif "ro" in mount.mount.options:
        words += " ro"
    if mount.mount.propagation != "private":
        words += f" {mount.mount.propagation}"
    return words


def _hint(mount: SeenMount) -> str:
    parts = [
        f"{mount.mount.mount_point}: {mount.mount.fstype} {mount.mount.source}",
        ",".join(mount.mount.options),
        mount.mount.propagation,
    ]
    if mount.origin is not None:
        parts.append(f"shows {mount.origin.path} of the host")
    return "; ".join(parts)


def _links(
    drawing: Drawing, left: list[_Line], right: list[_Line], edge: float, gap: float
) -> None:
    """From each mount of the container to the one of the host whose files it shows."""
    visible = [line for line in left if not line.mount.hidden]
    for line in right:
        origin = line.mount.origin
        if origin is None:
            continue
        above = [
            other
            for other in visible
            if other.mount.mount.dev == line.mount.mount.dev
            and _is_within(origin.path, other.mount.mount.mount_point)
        ]
        if above:
            source = max(above, key=lambda other: len(other.mount.mount.mount_point))
            drawing.curve(edge + 4, source.y, edge + gap - 4, line.y)
            drawing.hint(f"{line.mount.mount.mount_point} shows {origin.path}")


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _legend(drawing: Drawing, name: str) -> None:
    words = ["− only the host", f"+ only {name}", "~ both, differently", "= both, the same"]
    if not drawing.narrow:
        words.append("a curve: shows the host's files")
    drawing.wrapped(2, drawing.height + 26, words, "quiet")
