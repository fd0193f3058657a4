"""``newroot stats``: what containers use, once or as it goes, in docker's columns."""

from __future__ import annotations

from newroot.cli.end import engine_of
from newroot.cli.failures import say
from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.output import FORMAT, human_size, print_rows
from newroot.cli.verbs import VERBS
from newroot.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.container.statistics import Usage
    from newroot.engine import Engine

_COLUMNS = {
    "CONTAINER ID": "ID",
    "NAME": "Name",
    "CPU %": "CPUPerc",
    "MEM USAGE / LIMIT": "MemUsage",
    "MEM %": "MemPerc",
    "NET I/O": "NetIO",
    "BLOCK I/O": "BlockIO",
    "PIDS": "PIDs",
}
_NOTHING = "--"
_PERIOD_S = 1.0
_CLEAR = "\x1b[2J\x1b[H"


def _stats(parsed: Parsed, context: Context) -> int:
    engine = engine_of(context)
    names = parsed.positionals
    every = parsed.is_set("all")
    before: dict[str, Usage] = {}
    found = _look(engine, names, every=every)
    _warn_of_uncounted(found)
    try:
        while True:
            rows = [_row(u, before.get(u.id), whole=parsed.is_set("no_trunc")) for u in found]
            if not parsed.is_set("no_stream") and parsed.text("format") is None:
                print(_CLEAR, end="")
            print_rows(_COLUMNS, rows, parsed.text("format"))
            if parsed.is_set("no_stream"):
                return 0
            _pause()
            before = {usage.id: usage for usage in found}
            found = _look(engine, names, every=every)
    except KeyboardInterrupt:
        return 0


def _look(engine: Engine, names: Sequence[str], *, every: bool) -> list[Usage]:
    if names:
        return [engine.stats(name) for name in names]
    found = []
    for container in engine.containers():
        if every or container.is_up:
            try:
                found.append(engine.stats(container.id))
            except NotFound:
                continue  # it has just ended
    return found


def _warn_of_uncounted(found: Sequence[Usage]) -> None:
    for usage in found:
        if usage.running_ns and not usage.counted:
            say(
                f"newroot: warning: container {usage.name or usage.id[:12]} has no cgroup, so the "
                "kernel does not count what it uses: one in the foreground has one with a limit"
            )


def _pause() -> None:
    import sys
    from select import select

    sys.stdout.flush()
    select([], [], [], _PERIOD_S)


def _row(usage: Usage, before: Usage | None, *, whole: bool) -> dict[str, str]:
    used, limit = usage.memory_bytes, usage.memory_limit_bytes
    row = {
        "BlockIO": _pair(usage.read_bytes, usage.written_bytes),
        "CPUPerc": _cpu(usage, before),
        "Container": usage.id if whole else usage.id[:12],
        "ID": usage.id if whole else usage.id[:12],
        "MemPerc": f"{100 * used / limit:.2f}%" if used is not None and limit else _NOTHING,
        "MemUsage": f"{_binary(used)} / {_binary(limit)}" if used is not None else _NOTHING,
        "Name": usage.name or "",
        "NetIO": _pair(usage.received_bytes, usage.sent_bytes),
        "PIDs": _NOTHING if usage.pids is None else str(usage.pids),
    }
    return row


def _cpu(usage: Usage, before: Usage | None) -> str:
    """Of one CPU: since the look before, or since it was started."""
    if usage.cpu_ns is None:
        return _NOTHING
    spent, passed = usage.cpu_ns, usage.running_ns
    if before is not None and before.cpu_ns is not None:
        spent, passed = spent - before.cpu_ns, usage.moment_ns - before.moment_ns
    return f"{100 * max(spent, 0) / max(passed, 1):.2f}%"


def _pair(one: int | None, other: int | None) -> str:
    if one is None or other is None:
        return _NOTHING
    return f"{human_size(one)} / {human_size(other)}"


def _binary(size: int | None) -> str:
    """``1.5MiB``: docker/go-units, BytesSize(), of four digits."""
    if size is None:
        return _NOTHING
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        del units[0]
    return f"{float(f'{value:.4g}'):g}{units[0]}"


STATS = Verb(
    name="stats",
    summary=VERBS["stats"][1],
    run=_stats,
    flags=(
        Flag(name="all", short="a", help="Also containers that do not run"),
        FORMAT,
        Flag(name="no-stream", help="Look once; CPU is then the share since the start"),
        Flag(name="no-trunc", help="Print the IDs in full"),
    ),
    positionals=(Positional(name="CONTAINER", optional=True, repeat=True, completes="container"),),
    details=(
        "CPU is a share of one CPU. Memory is without what of the page cache is not in use. What "
        "the kernel does not count is shown as --: a container in the foreground without a limit "
        "has no cgroup to count by."
    ),
)
