"""How a pull and a push are shown: bars on a terminal, a line for each layer elsewhere.

tqdm draws the bars: docs/decisions/0021-progress-by-tqdm.md.  It is loaded when there is something
to draw.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    from newroot.images.registry.progress import OnProgress, Progress

_LAST_WORDS = {"exists": "already here", "mounted": "mounted from another repository"}
_BAR = "{desc:<30} {percentage:3.0f}% |{bar}| {n_fmt:>6}/{total_fmt} {rate_fmt:>9}"


class Display:
    """Shows one image's way; a context manager that leaves the terminal as it was."""

    def __init__(self, name: str, doing: str, *, quiet: bool, to_stderr: bool = False) -> None:
        self._name = name
        self._doing = doing
        self._stream: TextIO = sys.stderr if to_stderr else sys.stdout
        self._quiet = quiet
        self._bars: dict[str, Any] = {}
        self._said: set[str] = set()
        is_terminal = bool(self._stream and self._stream.isatty()) and not quiet
        self._show: Callable[[Progress], None] = self._draw if is_terminal else self._tell

    @property
    def on_progress(self) -> OnProgress | None:
        """What to hand to ``pull`` or ``push``."""
        return None if self._quiet else self._show

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in self._bars.values():
            bar.close()

    # ── lines ────────────────────────────────────────────────────────────────────────────────

    def _line(self, text: str) -> None:
        if not self._bars:
            print(text, file=self._stream, flush=True)
            return
        from tqdm import tqdm

        tqdm.write(text, file=self._stream)  # above the bars

    def _tell(self, progress: Progress) -> None:
        if progress.phase == "resolved":
            self._line(f"{self._doing} {self._name} from {progress.name}")
        elif progress.phase in ("exists", "mounted", "done") and progress.digest not in self._said:
            self._said.add(progress.digest)
            past = "sent" if self._doing == "Pushing" else "pulled"
            self._line(f"{_short(progress.digest)}: {_LAST_WORDS.get(progress.phase, past)}")

    # ── bars ─────────────────────────────────────────────────────────────────────────────────

    def _draw(self, progress: Progress) -> None:
        if progress.phase == "resolved" or not progress.total_bytes:
            self._tell(progress)
            return
        if progress.phase in ("exists", "mounted") and progress.digest not in self._bars:
            self._tell(progress)
            return
        bar = self._bars.get(progress.digest)
        if bar is None:
            bar = self._bars[progress.digest] = self._new_bar(progress)
        words = f"{_short(progress.digest)} {progress.phase}"
        if bar.desc != words:
            bar.set_description_str(words, refresh=True)
        bar.update(progress.done_bytes - bar.n)
        if progress.phase in ("done", "exists", "mounted"):
            bar.refresh()

    def _new_bar(self, progress: Progress) -> Any:
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread that redraws: enough bytes come
        return tqdm(
            total=progress.total_bytes,
            position=len(self._bars),
            file=self._stream,
            unit="B",
            unit_scale=True,
            bar_format=_BAR,
            dynamic_ncols=True,
            leave=True,
        )


def _short(digest: str) -> str:
    return digest.partition(":")[2][:12]
