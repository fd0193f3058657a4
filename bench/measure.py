"""Rows and how they are measured: round-robin, warmed up, with medians.

A row is one thing to time, registered with `@row`; its function gets the rig and returns
the resident process that does the timing. The rows of a group are measured side by side
in one run (A B C, C A B, …), so that what disturbs one disturbs all. A figure, registered
with `@figure`, is one number that a function finds by itself.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rig import Resident, Rig, Unavailable

WARMUP = 5
# A fast row is asked this often in a turn, a slow one once. The first run of a fast row's
# turn is thrown away: it pays for cold caches and for the namespaces that the row before
# left to a kernel worker. The order is shuffled each round, so that nobody always comes
# after the same.
TURN = 5
TURN_NS = 50_000_000
SETTLE_S = 0.02
FIGURE_PASSES = 3


@dataclass(frozen=True)
class Row:
    group: str
    name: str
    how: str
    note: str
    start: Callable[[Rig], Resident]
    floor: str = "floor"  # the row that does the same by bare system calls


@dataclass(frozen=True)
class Figure:
    group: str
    name: str
    unit: str
    note: str
    find: Callable[[Rig, bool], float]


@dataclass
class Result:
    group: str
    name: str
    how: str = ""
    note: str = ""
    unit: str = "ns"
    floor: str = "floor"
    unavailable: str | None = None
    samples: list[int] = field(default_factory=list)
    value: float | None = None

    def as_json(self) -> dict[str, object]:
        shown: dict[str, object] = {"name": self.name, "how": self.how, "note": self.note}
        shown["floor"] = self.floor
        if self.unavailable is not None:
            return {**shown, "unavailable": self.unavailable}
        if self.value is not None:
            return {**shown, "value": round(self.value, 1), "unit": self.unit}
        ordered = sorted(self.samples)
        median = statistics.median(ordered)
        return {
            **shown,
            "n": len(ordered),
            "median_ns": round(median),
            "mad_ns": round(statistics.median(abs(sample - median) for sample in ordered)),
            "p10_ns": ordered[len(ordered) // 10],
            "p90_ns": ordered[len(ordered) * 9 // 10],
            "min_ns": ordered[0],
        }


ROWS: list[Row] = []
FIGURES: list[Figure] = []


def row(
    group: str, name: str, how: str, note: str = "", floor: str = "floor"
) -> Callable[[Callable[[Rig], Resident]], Callable[[Rig], Resident]]:
    def register(start: Callable[[Rig], Resident]) -> Callable[[Rig], Resident]:
        ROWS.append(Row(group, name, how, note, start, floor))
        return start

    return register


def figure(
    group: str, name: str, unit: str, note: str = ""
) -> Callable[[Callable[[Rig, bool], float]], Callable[[Rig, bool], float]]:
    """Register a function of the rig and of "be quick" that finds one number."""

    def register(find: Callable[[Rig, bool], float]) -> Callable[[Rig, bool], float]:
        FIGURES.append(Figure(group, name, unit, note, find))
        return find

    return register


def interleave(rig: Rig, rows: Sequence[Row], rounds: int) -> list[Result]:
    """Measure *rows* round-robin; a row that fails keeps the reason instead of a number."""
    results = {
        row.name: Result(row.group, row.name, row.how, row.note, floor=row.floor) for row in rows
    }
    residents: dict[str, Resident] = {}
    turns: dict[str, int] = {}
    for entry in rows:
        try:
            residents[entry.name] = resident = entry.start(rig)
            slowness = statistics.median(resident.ask(WARMUP))
            turns[entry.name] = max(1, min(TURN, int(TURN_NS / slowness)))
        except Unavailable as reason:
            residents.pop(entry.name, None)
            results[entry.name].unavailable = str(reason)
    for number in range(rounds):
        order = list(residents)
        random.Random(number).shuffle(order)
        for name in order:
            time.sleep(SETTLE_S)
            drop = 1 if turns[name] > 1 else 0
            try:
                results[name].samples += residents[name].ask(turns[name] + drop)[drop:]
            except Unavailable as reason:
                del residents[name]
                results[name].unavailable = str(reason)
    for resident in residents.values():
        resident.stop()
    return list(results.values())


def find(rig: Rig, figures: Sequence[Figure], *, quick: bool) -> list[Result]:
    """Find each figure three times in turn (once when quick); the median stands."""
    results = [Result(entry.group, entry.name, "", entry.note, entry.unit) for entry in figures]
    values: list[list[float]] = [[] for _ in figures]
    for _ in range(1 if quick else FIGURE_PASSES):
        for entry, result, found in zip(figures, results, values, strict=True):
            if result.unavailable is None:
                try:
                    found.append(entry.find(rig, quick))
                except Unavailable as reason:
                    result.unavailable = str(reason)
    for result, found in zip(results, values, strict=True):
        if result.unavailable is None:
            result.value = statistics.median(found)
    return results
