"""``newroot events``: what happens in a root, as lines or as docker's documents."""

from __future__ import annotations

from newroot.cli.end import engine_of
from newroot.cli.flags import Flag, Verb
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.container.events import Event


def _events(parsed: Parsed, context: Context) -> int:
    from time import time_ns

    from newroot.container.moments import parse_moment

    now = time_ns()
    since, until = (
        None if text is None else parse_moment(text, now)
        for text in (parsed.text("since"), parsed.text("until"))
    )
    show = _shower(parsed.text("format"))
    try:
        for event in engine_of(context).events(
            since=since, until=until, filters=parsed.texts("filter")
        ):
            print(show(event), flush=True)
    except KeyboardInterrupt:
        return 130
    return 0


def _shower(wanted: str | None) -> Callable[[Event], str]:
    if wanted is None:
        return _line
    from newroot.cli.templates import fill, read_template, shown, value_at

    if wanted in ("json", "{{json .}}"):
        return lambda event: shown(event.document(), "json")
    pieces = read_template(wanted)
    return lambda event: fill(pieces, lambda place: value_at(event.document(), place))


def _line(event: Event) -> str:
    """As docker prints it: its cli/command/system/events.go."""
    from newroot.cli.output import printable

    words = ", ".join(f"{name}={value}" for name, value in sorted(event.attributes.items()))
    line = f"{_at(event.time_ns)} {event.type} {event.action} {event.id}"
    return printable(f"{line} ({words})" if words else line)


def _at(time_ns: int) -> str:
    from time import localtime, strftime

    then = localtime(time_ns // 10**9)
    zone = strftime("%z", then)
    return f"{strftime('%Y-%m-%dT%H:%M:%S', then)}.{time_ns % 10**9:09d}{zone[:3]}:{zone[3:]}"


EVENTS = Verb(
    name="events",
    summary=VERBS["events"][1],
    run=_events,
    flags=(
        Flag(
            name="filter",
            short="f",
            metavar="NAME=VALUE",
            repeat=True,
            help="Only those of container=, image=, volume=, network=, type=, event=, label=",
        ),
        Flag(
            name="format",
            metavar="FORMAT",
            help="Print json, a document a line, or a line as '{Type} {Action} {Actor.ID}'",
        ),
        Flag(name="since", metavar="TIME", help="Also those from then on: 10m, or a date"),
        Flag(name="until", metavar="TIME", help="Only those until then; then it ends"),
    ),
    details=(
        "There is no daemon: whoever does something writes it down, in the root's events/log. That "
        "is bounded, so of long ago there may be nothing."
    ),
)
