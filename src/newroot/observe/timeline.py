"""How long each step of a start took, as a picture (SVG) or as data (JSON).

Only what newroot-init measured is drawn.  The file stands on its own: no font, no script, no
network; it is dark where the reader's system is.  Written in one piece, or not at all.
"""

from __future__ import annotations

import os

from newroot.errors import SyscallError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from os import PathLike

    Times = Sequence[tuple[str, int]]

_WIDTH = 1180
_LABEL_END = 500  # the bars begin here
_BARS_END = 1090  # and end here, so that the last one's time has room beside it
_TOP = 92
_ROW = 19
_LABEL_CHARS = 68
_LONG_SHARE = 0.05  #: a step of this share of the whole is one to look at

#: Colours by class, and no variables: Inkscape and librsvg know neither those nor the media query.
_STYLE = """\
  text { font: 12px monospace; fill: #24292f; }
  .title { font-size: 17px; font-weight: 600; }
  .quiet { fill: #6e7781; }
  .mid { text-anchor: middle; }
  .paper { fill: #ffffff; }
  .band { fill: #f6f8fa; }
  .grid { stroke: #e1e5ea; }
  .bar { fill: #8fb4e0; }
  .long { fill: #d9663c; }
  @media (prefers-color-scheme: dark) {
    text { fill: #dde3ea; }
    .quiet { fill: #8b96a3; }
    .paper { fill: #14181d; }
    .band { fill: #191e24; }
    .grid { stroke: #2a313a; }
    .bar { fill: #456f9f; }
    .long { fill: #e07c50; }
  }
"""


def check_place(path: str | PathLike[str]) -> None:
    """Raise UsageError unless a timeline could be written to *path*: asked before a start."""
    path = os.fspath(path)
    directory = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(directory):
        raise UsageError(
            f"write the timeline {path}: there is no directory {directory}", hint="make it first"
        )
    if os.path.isdir(path) or not path:
        raise UsageError(f"write the timeline {path!r}: it is a directory, not a file")


def write_timeline(path: str | PathLike[str], times: Times, command: Sequence[str]) -> None:
    """Write *times*, (what the step does, nanoseconds) in the order of the plan, to *path*.

    A name that ends in ``.json`` gets JSON, any other SVG.  The last step becomes the command and
    cannot be timed.  Raises UsageError when the directory is missing, SyscallError when the disk
    does not take it; a file that was there before is then as it was.
    """
    path = os.fspath(path)
    check_place(path)
    draw = timeline_json if path.endswith(".json") else timeline_svg
    _write_beside(path, draw(times, command))


def timeline_json(times: Times, command: Sequence[str]) -> str:
    """The steps with where each began and how long it took, in nanoseconds."""
    import json

    steps = [
        {"step": number, "words": words, "start_ns": start, "duration_ns": took}
        for number, (words, start, took) in enumerate(_placed(times), 1)
    ]
    whole = {"command": list(command), "total_ns": _total(times), "steps": steps}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def timeline_svg(times: Times, command: Sequence[str]) -> str:
    """A waterfall: one row a step, its bar where it began and as wide as it took."""
    total = _total(times)
    height = _TOP + _ROW * len(times) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img">',
        f"<title>{_text(_headline(times))}</title>",
        f"<style>\n{_STYLE}</style>",
        f'<rect class="paper" width="{_WIDTH}" height="{height}"/>',
        f'<text class="title" x="24" y="36">{_text(_headline(times))}</text>',
        f'<text class="quiet" x="24" y="58">{_text(_cut(" ".join(command), 150))}</text>',
        *_bands(len(times)),
        *_grid(total, len(times)),
        *_rows(times, total),
        f'<text class="quiet" x="24" y="{height - 16}">{_text(_footnote(total))}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _headline(times: Times) -> str:
    return f"A new root in {_in_words(_total(times))}, {len(times)} steps"


def _footnote(total: int) -> str:
    if not total:
        return "Nothing was measured."
    return (
        f"Orange: {_LONG_SHARE:.0%} of the whole or more. Not in it: the clone that makes the "
        "first namespaces, the start of the command, Python."
    )


def _bands(count: int) -> Iterator[str]:
    """Every second row is shaded, so that the eye finds the way from a label to its bar."""
    for number in range(1, count, 2):
        y = _TOP + _ROW * number
        yield f'<rect class="band" x="12" y="{y}" width="{_WIDTH - 24}" height="{_ROW}"/>'


def _grid(total: int, count: int) -> Iterator[str]:
    bottom = _TOP + _ROW * count
    for at in _ticks(total):
        x = _LABEL_END + _scaled(at, total)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{bottom}"/>'
        yield f'<text class="quiet mid" x="{x:.1f}" y="{_TOP - 12}">{_tick_words(at)}</text>'


def _rows(times: Times, total: int) -> Iterator[str]:
    last = len(times) - 1
    for number, (words, start, took) in enumerate(_placed(times)):
        y = _TOP + _ROW * number
        x, width = _LABEL_END + _scaled(start, total), max(1.0, _scaled(took, total))
        kind = "bar long" if total and took / total >= _LONG_SHARE else "bar"
        measured = number != last or took
        yield "<g>"
        yield f"<title>{number + 1}. {_text(words)}: {_in_words(took)}</title>"
        yield f'<text x="24" y="{y + 14}">{_text(_cut(words, _LABEL_CHARS))}</text>'
        if measured:
            yield (
                f'<rect class="{kind}" x="{x:.1f}" y="{y + 4}" width="{width:.1f}" '
                f'height="{_ROW - 8}" rx="1.5"/>'
            )
        beside, label = (x + width + 6, _in_words(took)) if measured else (x + 6, "runs")
        yield f'<text class="quiet" x="{beside:.1f}" y="{y + 14}">{label}</text>'
        yield "</g>"


def _placed(times: Times) -> Iterator[tuple[str, int, int]]:
    """(words, start, duration): a step begins where the one before it ended."""
    start = 0
    for words, took in times:
        yield words, start, took
        start += took


def _total(times: Times) -> int:
    return sum(took for _, took in times)


def _scaled(ns: int, total: int) -> float:
    return (_BARS_END - _LABEL_END) * ns / total if total else 0.0


def _ticks(total: int) -> Iterable[int]:
    """Round times, at most eight of them: 1, 2 or 5 of a power of ten apart."""
    step = 1
    while total // step > 7:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return range(0, total + 1, step)


def _in_words(ns: int) -> str:
    value, unit = (ns / 1e6, "ms") if ns >= 999_500 else (ns / 1e3, "µs")
    return f"{f'{value:#.3g}'.rstrip('.') if value < 999.5 else round(value)} {unit}"


def _tick_words(ns: int) -> str:
    return f"{ns / 1e6:g} ms" if ns >= 1_000_000 else f"{ns / 1e3:g} µs"


def _cut(words: str, most: int) -> str:
    """*words* with its middle left out when it is too long: paths differ at their ends."""
    if len(words) <= most:
        return words
    tail = most // 3
    return f"{words[: most - tail - 1]}…{words[-tail:]}"


def _text(words: str) -> str:
    """For SVG: markup escaped, and no character that XML 1.0 does not allow."""
    clean = "".join(c if c.isprintable() else "�" for c in words)
    clean = clean.encode("utf-8", "replace").decode()
    return clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _write_beside(path: str, text: str) -> None:
    import errno

    beside = f"{path}.{os.urandom(4).hex()}.new"
    try:
        with open(beside, "x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        os.rename(beside, path)
    except OSError as error:
        try:
            os.unlink(beside)
        except OSError:
            pass  # it was never made
        number = error.errno or 0
        raise SyscallError(
            f"write the timeline {path}: {error.strerror} ({errno.errorcode.get(number, number)})",
            errno=number,
            call="write",
            target=path,
        ) from error
