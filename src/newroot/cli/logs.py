"""``newroot logs``: what a detached container has said, and says."""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.verbs import VERBS
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.container.logs import Entry


def _logs(parsed: Parsed, context: Context) -> int:
    from time import time_ns

    from newroot.container.moments import parse_moment
    from newroot.engine import Engine

    now = time_ns()
    since, until = (
        None if text is None else parse_moment(text, now)
        for text in (parsed.text("since"), parsed.text("until"))
    )
    engine = Engine(context.root, run_root=context.run_root)
    entries = engine.logs(
        parsed.positionals[0], last=_last(parsed.text("tail")), follow=parsed.is_set("follow")
    )
    try:
        for entry in entries:
            if until is not None and _moment(entry) > until:
                break
            if since is None or _moment(entry) >= since:
                _show(entry, with_time=parsed.is_set("timestamps"))
    except KeyboardInterrupt:
        return 130
    return 0


def _show(entry: Entry, *, with_time: bool) -> None:
    from newroot.container.terminal import write_all

    data = f"{entry.time} ".encode() + entry.data if with_time else entry.data
    write_all(2 if entry.stream == "stderr" else 1, data)


def _moment(entry: Entry) -> int:
    from newroot.container.moments import read_time

    return read_time(entry.time) or 0


def _last(text: str | None) -> int | None:
    if text is None or text == "all":
        return None
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"invalid --tail {text!r}", hint="a number of lines, or all")
    return int(text)


LOGS = Verb(
    name="logs",
    summary=VERBS["logs"][1],
    run=_logs,
    flags=(
        Flag(name="follow", short="f", help="Go on with what it says, until it has ended"),
        Flag(name="tail", short="n", metavar="LINES", help="Begin with the last so many"),
        Flag(name="since", metavar="TIME", help="Only what was said from then on: 10m, or a date"),
        Flag(name="until", metavar="TIME", help="Only what was said until then"),
        Flag(name="timestamps", short="t", help="Say when each line was said"),
    ),
    positionals=(Positional(name="CONTAINER", completes="container"),),
    details="What it said on its standard error comes out on ours.",
)
