"""``newroot ps``: Docker's columns for what runs and what stays."""

from __future__ import annotations

from newroot.cli.flags import Flag, Verb
from newroot.cli.output import LIST_FORMATS, human_age, print_json, print_table
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.container.records import Container

#: heading -> key of the row, in the order in which docker ps has them
_COLUMNS = {
    "CONTAINER ID": "ID",
    "IMAGE": "Image",
    "COMMAND": "Command",
    "CREATED": "RunningFor",
    "STATUS": "Status",
    "PORTS": "Ports",
    "NAMES": "Names",
}
_ID_LENGTH = 12
_COMMAND_LENGTH = 20


def _ps(parsed: Parsed, context: Context) -> int:
    from time import time

    from newroot.engine import Engine

    found = Engine(context.root, run_root=context.run_root).containers()
    shown = [c for c in found if parsed.is_set("all") or c.status == "running"]
    whole = parsed.is_set("no_trunc")
    if parsed.is_set("quiet"):
        print("".join(f"{_id(container, whole)}\n" for container in shown), end="")
        return 0
    now = time()
    rows = [_row(container, now, whole=whole) for container in shown]
    if parsed.text("format") == "json":
        for row in rows:
            print_json(row)
    else:
        print_table(tuple(_COLUMNS), [[row[key] for key in _COLUMNS.values()] for row in rows])
    return 0


def _row(container: Container, now: float, *, whole: bool) -> dict[str, str]:
    return {
        "Command": _command(container.command, whole),
        "CreatedAt": _at(container.created),
        "ID": _id(container, whole),
        "Image": container.source,
        "Names": container.name or "",
        "Ports": "",  # there is no network yet that has any
        "RunningFor": f"{_since(container.created, now)} ago",
        "State": container.status,
        "Status": _status(container, now),
    }


def _id(container: Container, whole: bool) -> str:
    return container.id if whole else container.id[:_ID_LENGTH]


def _command(words: tuple[str, ...], whole: bool) -> str:
    """As the daemon joins it and docker ps quotes it: moby, container/view.go."""
    path, arguments = words[:1], words[1:]
    text = " ".join((*path, *(f"'{word}'" if " " in word else word for word in arguments)))
    if not whole and len(text) > _COMMAND_LENGTH:
        text = text[: _COMMAND_LENGTH - 1] + "…"
    return f'"{"".join(_QUOTED.get(c) or _printable(c) for c in text)}"'


#: Go's strconv.Quote.
_QUOTED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _printable(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


def _status(container: Container, now: float) -> str:
    if container.status == "running":
        return f"Up {_since(container.started or container.created, now)}"
    if container.status == "created":
        return "Created"
    if container.exit_code is None:
        return "Exited (unknown)"  # nobody of ours lived to see it
    ago = f" {_since(container.finished, now)} ago" if container.finished is not None else ""
    return f"Exited ({container.exit_code}){ago}"


def _since(then: float, now: float) -> str:
    return human_age(max(now - then, 0))


def _at(timestamp: float) -> str:
    """``2026-11-22 02:30:00 +0000 UTC``: Go's time.Time.String()."""
    from datetime import datetime

    then = datetime.fromtimestamp(int(timestamp)).astimezone()
    return f"{then:%Y-%m-%d %H:%M:%S %z} {then.tzname()}"


LIST = Verb(
    name="ps",
    summary=VERBS["ps"][1],
    run=_ps,
    flags=(
        Flag(name="all", short="a", help="Also those that have ended"),
        Flag(name="format", metavar="FORMAT", choices=LIST_FORMATS, help="How to print the list"),
        Flag(name="no-trunc", help="Print IDs and commands in full"),
        Flag(name="quiet", short="q", help="Print the IDs alone"),
    ),
    details="The newest first. A container that ran with --rm is gone when it has ended.",
)
