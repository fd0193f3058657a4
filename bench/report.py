"""What a run says: the host it was measured on, results.json, the table on the terminal."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import peers
from measure import Result
from plot import draw, in_words
from rig import OUT

__all__ = ["Host", "draw", "results", "table"]


def cpu_ticks() -> list[int]:
    """user nice system idle iowait irq softirq steal, proc_stat(5)."""
    return [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def version(*command: str) -> str | None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.split("\n")[0].strip()


def package_version(package: str) -> str | None:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return version(str(OUT / "venv/bin/python"), "-c", code)


class Host:
    """The facts that a reader of the numbers needs, and how busy the host was meanwhile."""

    def __init__(self) -> None:
        self.load_before = os.getloadavg()[0]
        self.ticks = cpu_ticks()

    def facts(self) -> dict[str, Any]:
        spent = [after - before for after, before in zip(cpu_ticks(), self.ticks, strict=True)]
        versions = {name: version(*command) for name, command in peers.VERSIONS.items()}
        versions |= {name: package_version(name) for name in peers.PYPI}
        return {
            "kernel": platform.release(),
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
            "python": platform.python_version(),
            "load": [round(self.load_before, 2), round(os.getloadavg()[0], 2)],
            "steal_percent": round(100 * spent[7] / max(1, sum(spent)), 1),
            "idle_percent": round(100 * spent[3] / max(1, sum(spent)), 1),
            "versions": {name: text for name, text in versions.items() if text},
        }


def results(host: Host, groups: dict[str, list[Result]]) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC)
    return {
        "date": now.isoformat(timespec="seconds"),
        "host": host.facts(),
        "clock": "CLOCK_MONOTONIC around the call; whole process: posix_spawn to waitpid",
        "groups": {name: [row.as_json() for row in rows] for name, rows in groups.items()},
    }


def ratio(row: dict[str, Any], base: dict[str, Any] | None) -> str:
    if not base or "median_ns" not in base:
        return "–"
    return f"{row['median_ns'] / base['median_ns']:.2f} ×"


def timed_lines(rows: list[dict[str, Any]], ours: str) -> list[list[str]]:
    by_name = {row["name"]: row for row in rows}
    lines = [["", "median", "± MAD", "p10", "p90", "n", "/ floor", "/ newroot", "how", ""]]
    for row in rows:
        if "unavailable" in row:
            lines.append([row["name"], *["–"] * 7, row["how"], row["unavailable"]])
            continue
        times = [in_words(row[key], "ns") for key in ("median_ns", "mad_ns", "p10_ns", "p90_ns")]
        ratios = [ratio(row, by_name.get(row["floor"])), ratio(row, by_name.get(ours))]
        lines.append([row["name"], *times, str(row["n"]), *ratios, row["how"], row["note"]])
    return lines


def figure_lines(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [row["name"], in_words(row["value"], row["unit"]), row["note"]]
        if "value" in row
        else [row["name"], "–", row["unavailable"]]
        for row in rows
    ]


def aligned(lines: list[list[str]], right: range) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def table(groups: dict[str, list[Result]], *, ours: str, host: dict[str, Any]) -> str:
    """Return the whole report as text, groups in the order they were measured."""
    text = [
        f"{host['cpu']}, {host['cores']} cores, Linux {host['kernel']}, Python {host['python']}",
        f"load {host['load'][0]} → {host['load'][1]}, {host['steal_percent']} % of the CPU time"
        f" stolen by other guests, {host['idle_percent']} % idle",
    ]
    for name, measured in groups.items():
        rows = [row.as_json() for row in measured]
        text += ["", name]
        if any("median_ns" in row for row in rows) or measured[0].how:
            text += aligned(timed_lines(rows, ours), range(1, 8))
        else:
            text += aligned(figure_lines(rows), range(1, 2))
    return "\n".join(text)
