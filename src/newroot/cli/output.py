"""What the listing verbs print with: columns, JSON, sizes and ages, all in Docker's manner."""

from __future__ import annotations

from datetime import UTC

from newroot.cli.flags import Flag
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

JSON_FORMAT = ("json",)
LIST_FORMATS = ("table", "json")
FORMAT = Flag(
    name="format",
    metavar="FORMAT",
    help="How to print the list: table, json, or a line with {name} for each column",
)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print *rows* under *headings*, columns three spaces apart, as Docker's tabwriter does."""
    table = [tuple(headings), *(tuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("   ".join(cells).rstrip())


def print_rows(
    columns: Mapping[str, str], rows: Sequence[Mapping[str, str]], wanted: str | None
) -> None:
    """Print *rows* as ``--format`` *wanted*: a table of *columns*, JSON lines, or a line each.

    *columns* are heading and key of a row.  Anything but ``table`` and ``json`` is the line, in
    which ``{name}`` stands for a column, in any case; after ``table`` it is a table of these.
    Raises UsageError for a column that is not there.
    """
    if wanted in ("json", "{{json .}}"):
        for row in rows:
            print_json(dict(row))
    elif wanted in (None, "table"):
        print_table(tuple(columns), [[row[key] for key in columns.values()] for row in rows])
    else:
        assert wanted is not None
        _print_lines(columns, rows, wanted)


def _print_lines(
    columns: Mapping[str, str], rows: Sequence[Mapping[str, str]], wanted: str
) -> None:
    from newroot.cli.templates import fill, read_template, shown

    as_table = wanted.startswith("table ")
    pieces = read_template(wanted.removeprefix("table "))
    known = {key.lower(): key for row in (rows[:1] or [dict.fromkeys(columns.values(), "")])
             for key in row}  # fmt: skip

    def line(row: Mapping[str, str]) -> str:
        return fill(
            pieces,
            lambda p: shown(row[_known(p.name, known)] if p.path else dict(row), p.form),
        )

    if as_table:
        headings = {key: heading for heading, key in columns.items()}
        above = {key: headings.get(key, _heading(key)) for key in known.values()}
        cells = [line(above).split("\t"), *(line(row).split("\t") for row in rows)]
        print_table(cells[0], cells[1:])
    else:
        for row in rows:
            print(line(row))


def _heading(key: str) -> str:
    """``RunningFor`` is ``RUNNING FOR``."""
    return "".join(f" {c}" if c.isupper() and n and key[n - 1].islower() else c
                   for n, c in enumerate(key)).upper()  # fmt: skip


def _known(name: str, keys: Mapping[str, str]) -> str:
    key = keys.get(name.lower().replace("_", ""))
    if key is None:
        raise UsageError(
            f"--format: there is no column {name!r}",
            hint="one of " + ", ".join(f"{{{key}}}" for key in keys.values()),
        )
    return key


def confirm(question: str) -> bool:
    """Ask on the terminal whether to go on."""
    import sys

    print(f"{question}\nGo on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def print_facts(found: Sequence[Mapping[str, Any]], wanted: str | None) -> None:
    """Print what is known of some things: a list as JSON, in lines unless *wanted* is ``json``;
    or a line for each, by a template."""
    if wanted in (None, "", "json"):
        print_json(list(found), indent=None if wanted == "json" else 4)
        return
    from newroot.cli.templates import fill, read_template, value_at

    assert wanted is not None
    pieces = read_template(wanted)
    for facts in found:
        print(fill(pieces, lambda place, facts=facts: value_at(facts, place)))  # type: ignore[misc]


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print *value* as JSON, on one line unless *indent* is given."""
    import json

    separators = (",", ":") if indent is None else None
    print(json.dumps(value, indent=indent, separators=separators))


def human_size(size_bytes: int) -> str:
    """``4.26MB``: powers of 1000, three digits (docker/go-units, HumanSizeWithPrecision)."""
    value = float(size_bytes)
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    unit = 0
    while value >= 1000 and unit < len(units) - 1:
        value /= 1000
        unit += 1
    # 999.6 rounds to 1e+03 with three digits, which is the next unit's 1.
    if unit < len(units) - 1 and float(f"{value:.3g}") >= 1000:
        value, unit = value / 1000, unit + 1
    return f"{float(f'{value:.3g}'):g}{units[unit]}"


#: (below how many of its hours, the unit's hours, its name): go-units, HumanDuration
_LONG_AGES = (
    (48, 1, "hours"),
    (14 * 24, 24, "days"),
    (60 * 24, 7 * 24, "weeks"),
    (2 * 365 * 24, 30 * 24, "months"),
)


def human_age(seconds: float) -> str:
    """``3 weeks``, ``About an hour``, ``Less than a second``."""
    if seconds < 60:
        whole = int(seconds)
        return ("Less than a second", "1 second")[whole] if whole < 2 else f"{whole} seconds"
    if seconds < 3600:
        minutes = int(seconds // 60)
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = round(seconds / 3600)
    if hours == 1:
        return "About an hour"
    for below, unit, name in _LONG_AGES:
        if hours < below:
            return f"{hours // unit} {name}"
    return f"{hours // (365 * 24)} years"


def age_of(timestamp: str) -> str:
    """How long ago an RFC 3339 *timestamp* was; ``N/A`` when it is none."""
    from datetime import datetime

    try:
        then = datetime.fromisoformat(timestamp)
    except ValueError:
        return "N/A"
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    seconds = (datetime.now(UTC) - then).total_seconds()
    return f"{human_age(max(seconds, 0))} ago"


def printable(text: str) -> str:
    """*text* with what is no letter, mark or space written as Python would: ``\\n``, ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def cut(text: str, most: int) -> str:
    """*text*, its end left out when it has more than *most* characters; 0 is no limit."""
    return text if not most or len(text) <= most else f"{text[: max(most - 1, 0)]}…"


def terminal_width() -> int:
    """The columns of the terminal that standard output is; 0 when it is none."""
    import os

    try:
        return os.get_terminal_size(1).columns
    except OSError:
        return 0


def print_fitted(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """As ``print_table``, the last column cut where a terminal ends."""
    table = [tuple(headings), *(tuple(map(printable, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    used = sum(widths[:-1]) + 3 * (len(widths) - 1)
    width = terminal_width()
    room = max(width - used, 12) if width else 0
    for row in table:
        cells = [cell.ljust(size) for cell, size in zip(row[:-1], widths, strict=False)]
        print("   ".join([*cells, cut(row[-1], room)]).rstrip())
