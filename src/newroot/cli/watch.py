"""``newroot ns --watch`` and ``newroot mounts --watch``: what changes, as it changes."""

from __future__ import annotations

import sys
import time

from newroot.cli.output import printable
from newroot.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.observe.cgroup import CgroupView
    from newroot.observe.process import Process

#: What is followed when nobody says what, v2's names and v1's: those that are there.
_FILES = (
    "memory.current", "memory.max", "memory.usage_in_bytes", "memory.limit_in_bytes",
    "pids.current", "pids.max", "cpu.stat", "cpuacct.usage", "io.stat",
)  # fmt: skip
_HOME_AND_CLEAR = "\x1b[H\x1b[J"


def watch_cgroup(parsed: Parsed, context: Context) -> int:
    """Print the state of a process and the control files that were named, again and again."""
    from newroot.cli.known import find_process
    from newroot.observe.cgroup import cgroups_of
    from newroot.observe.process import read_process

    pid = int(find_process(context, parsed.text("watch") or ""))
    interval = _number(parsed, "interval", 1.0)
    looks = _number(parsed, "count", 0)
    views = cgroups_of(pid)
    files = dict(_files(views, parsed.positionals))
    done = 0
    while (process := read_process(pid)) is not None:
        sys.stdout.write(_picture(process, files))
        sys.stdout.flush()
        done += 1
        if looks and done >= looks:
            return 0
        time.sleep(interval)
    print(f"process {pid} has ended")
    return 0


def _files(
    views: tuple[CgroupView, ...], wanted: tuple[str, ...]
) -> Iterator[tuple[str, CgroupView]]:
    for name in wanted or _FILES:
        hierarchy, colon, file = name.rpartition(":")
        found = [
            view
            for view in views
            if view.value(file) is not None
            and (not colon or hierarchy == str(view.hierarchy) or hierarchy in view.controllers)
        ]
        if found:
            yield file, found[0]
        elif wanted:
            raise NotFound(
                f"no control file {name} in a cgroup of that process",
                hint="newroot ns --cgroup PID[:HIERARCHY] lists them",
            )


def _picture(process: Process, files: dict[str, CgroupView]) -> str:
    lines = [
        f"{time.strftime('%H:%M:%S')}  process {process.pid}  {printable(process.command)}",
        f"state {process.state}  threads {process.threads}  parent {process.ppid}",
        "",
    ]
    width = max(map(len, files), default=0)
    for name, view in files.items():
        first, *rest = (view.value(name) or "").split("\n")
        lines += [f"{name.ljust(width)}  {first}", *(f"{' ' * width}  {line}" for line in rest)]
    text = "\n".join(lines) + "\n"
    return _HOME_AND_CLEAR + text if sys.stdout.isatty() else text + "\n"


def _number(parsed: Parsed, word: str, otherwise: float) -> float:
    text = parsed.text(word)
    try:
        value = otherwise if text is None else float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 1e9:
        raise UsageError(f"--{word} {text}: this is no number of that kind")
    return value
