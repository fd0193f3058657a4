"""results.json to SVG by hand: horizontal bars on a logarithmic scale.

One file a group; readable in light and in dark (prefers-color-scheme), no script, no
font of its own. `plot.py RESULTS.json DIRECTORY`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

WIDTH, LABEL, VALUE, BAR, TOP = 860, 240, 130, 22, 56
STYLE = """\
svg { font: 13px system-ui, sans-serif; }
.ground { fill: #ffffff; } text { fill: #1f2328; } .faint { fill: #59636e; }
.value { paint-order: stroke; stroke: #ffffff; stroke-width: 4; }
.grid { stroke: #d1d9e0; } .bar { fill: #8c959f; } .ours { fill: #0969da; }
.floor { fill: #1a7f37; } .spread { stroke: #1f2328; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  .ground { fill: #0d1117; } text { fill: #f0f6fc; } .faint { fill: #9198a1; }
  .value { stroke: #0d1117; }
  .grid { stroke: #3d444d; } .bar { fill: #656c76; } .ours { fill: #4493f8; }
  .floor { fill: #3fb950; } .spread { stroke: #f0f6fc; }
}"""
TITLES = {
    "start": "One isolated /bin/true on a ready root filesystem, until its result is back",
    "oci": "OCI runtimes: a run, a life of five commands, a question",
    "layers": "The same against the number of layers",
    "existing": "The same beside existing containers",
    "threads": "Containers per second",
    "exec": "Another command in a container that runs",
    "run -d": "A detached container, until its ID is there",
    "ps": "ps -a among many containers",
    "log": "What a container says, into its log",
}


def bar_class(name: str) -> str:
    if name.startswith("newroot"):
        return "ours"
    return "floor" if name.startswith("floor") else "bar"


def in_words(value: float, unit: str) -> str:
    if unit != "ns":
        return f"{value:,.0f} {unit}"
    ms = value / 1e6
    return f"{ms:,.2f} ms" if ms < 10 else f"{ms:,.1f} ms" if ms < 100 else f"{ms:,.0f} ms"


def ticks(low: float, high: float) -> Iterator[float]:
    power = 10 ** math.floor(math.log10(low))
    while power <= high:
        yield from (power * step for step in (1, 2, 5) if low <= power * step <= high)
        power *= 10


def bars(title: str, caption: str, entries: list[dict[str, Any]]) -> str:
    """Draw *entries* (name, value, unit and maybe p10/p90) as one SVG document."""
    values = [entry["value"] for entry in entries]
    low = 10 ** math.floor(math.log10(min(values) * 0.7))
    high = max([*values, *(entry.get("p90", 0) for entry in entries)])
    space = WIDTH - LABEL - VALUE

    def x(value: float) -> float:
        return LABEL + space * math.log(max(value, low) / low) / math.log(high / low)

    height = TOP + BAR * len(entries) + 34
    unit = entries[0]["unit"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>',
        f'<text x="16" y="24" font-weight="600">{escape(title)}</text>',
        f'<text class="faint" x="16" y="42" font-size="11">{escape(caption)}</text>',
    ]
    bottom = TOP + BAR * len(entries)
    for tick in ticks(low, high):
        label = in_words(tick, unit).replace(".00", "").replace(".0 ", " ").split(" per")[0]
        parts.append(f'<path class="grid" d="M{x(tick):.1f} {TOP}V{bottom}"/>')
        parts.append(
            f'<text class="faint" x="{x(tick):.1f}" y="{bottom + 16}" font-size="10" '
            f'text-anchor="middle">{label}</text>'
        )
    for number, entry in enumerate(entries):
        y, value = TOP + BAR * number, entry["value"]
        middle = y + BAR / 2
        parts += [
            f'<text x="{LABEL - 8}" y="{middle + 4}" text-anchor="end">'
            f"{escape(entry['name'])}</text>",
            f'<rect class="{bar_class(entry["name"])}" x="{LABEL}" y="{y + 4}" rx="2" '
            f'width="{x(value) - LABEL:.1f}" height="{BAR - 8}"/>',
        ]
        end = x(value)
        if "p90" in entry:
            end = x(entry["p90"])
            parts.append(f'<path class="spread" d="M{x(entry["p10"]):.1f} {middle}H{end:.1f}"/>')
        parts.append(
            f'<text class="value" x="{end + 6:.1f}" y="{middle + 4}">{in_words(value, unit)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def drawable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        if "median_ns" in row:
            spread = {"p10": row["p10_ns"], "p90": row["p90_ns"]}
            found.append({"name": row["name"], "value": row["median_ns"], "unit": "ns", **spread})
        elif row.get("value"):
            found.append({"name": row["name"], "value": row["value"], "unit": row["unit"]})
    return found


def draw(results: dict[str, Any], directory: Path) -> list[Path]:
    """Write one SVG for each group that has something to draw; return the files."""
    host = results["host"]
    caption = f"medians with p10–p90; {host['cpu']}, {host['cores']} cores, Linux {host['kernel']}"
    written = []
    for group, rows in results["groups"].items():
        entries = drawable(rows)
        if not entries or group not in TITLES:
            continue
        if group == "start":
            entries.sort(key=lambda entry: entry["value"])
        if group == "threads":
            caption = caption.removeprefix("medians with p10–p90; ")
        path = directory / f"{group}.svg"
        path.write_text(bars(TITLES[group], caption, entries))
        written.append(path)
    return written


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
