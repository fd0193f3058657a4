"""What each step of a start took, drawn for a page: the waterfall of timeline.py at any width."""

from __future__ import annotations

from newroot.observe.drawing import Drawing
from newroot.observe.timeline import _headline, _in_words, _placed, _tick_words, _ticks, _total

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from newroot.observe.timeline import Times

_LONG_SHARE = 0.05


def draw_start(times: Times, command: Sequence[str], width: int) -> Drawing:
    """The steps, each beginning where the one before it ended."""
    drawing = Drawing(width, _headline(times), " ".join(command))
    total = _total(times) or 1
    left, right = (2.0, width - 66.0) if drawing.narrow else (440.0, width - 84.0)
    high = 34.0 if drawing.narrow else 19.0
    bottom = 34 + high * len(times)
    for at in _ticks(total):
        x = left + (right - left) * at / total
        drawing.path(f"M{x:.1f} 24V{bottom:.1f}", "rule", bottom)
        if not drawing.narrow or at * 3 % total < total / 3 or at == 0:
            drawing.text(x, 16, _tick_words(at), "quiet mid" if at else "quiet")
    y = 34.0
    for number, (words, start, took) in enumerate(_placed(times)):
        last = number == len(times) - 1 and not took
        label = y + 14
        drawing.text(2, label, words, most=width - 4 if drawing.narrow else left - 16)
        bar = y + (19 if drawing.narrow else 4)
        x, size = left + (right - left) * start / total, (right - left) * took / total
        if not last:
            kind = "shared" if took / total >= _LONG_SHARE else "bar"
            drawing.rect(x, bar, max(size, 1), 11, kind, radius=1.5)
            drawing.hint(f"{number + 1}. {words}: {_in_words(took)}")
        beside = "runs" if last else _in_words(took)
        drawing.text(x + max(size, 1) + 6, bar + 10, beside, "quiet small")
        y += high
    return drawing
