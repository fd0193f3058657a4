"""``newroot ps``: Docker's columns for what runs and what stays."""

from __future__ import annotations

from newroot.cli.flags import Flag, Verb
from newroot.cli.output import FORMAT, human_age, human_size, print_rows
from newroot.cli.verbs import VERBS
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.container.records import Container
    from newroot.engine import Engine

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
    import gc
    from time import time

    from newroot.engine import Engine

    gc.disable()  # of many containers none is garbage, and to look for some takes half the time
    engine = Engine(context.root, run_root=context.run_root)
    shown = _chosen(parsed, engine)
    whole = parsed.is_set("no_trunc")
    if parsed.is_set("quiet") and parsed.text("format") is None:
        print("".join(f"{_id(container, whole)}\n" for container in shown), end="")
        return 0
    now = time()
    in_short = parsed.text("format") in (None, "table")
    make = _columns if in_short else _row
    rows = [make(container, now, whole=whole) for container in shown]
    columns = dict(_COLUMNS)
    if parsed.is_set("size"):
        columns["SIZE"] = "Size"
        for row, container in zip(rows, shown, strict=True):
            row["Size"] = _size(engine, container)
    print_rows(columns, rows, parsed.text("format"))
    return 0


def _chosen(parsed: Parsed, engine: Engine) -> tuple[Container, ...]:
    """As docker ps: what runs, unless a filter or a number asks for others too."""
    filters = parsed.texts("filter")
    last = _last(parsed)
    found = engine.chosen_containers(filters) if filters else engine.containers()
    by_status = any(f.startswith(("status=", "exited=")) for f in filters)
    if not (parsed.is_set("all") or by_status or last is not None):
        found = tuple(container for container in found if container.is_up)
    return found if last is None else found[:last]


def _last(parsed: Parsed) -> int | None:
    if parsed.is_set("latest"):
        return 1
    text = parsed.text("last")
    if text in (None, "-1"):
        return None
    assert text is not None
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"invalid --last {text!r}", hint="a number of containers")
    return int(text)


def _size(engine: Engine, container: Container) -> str:
    written, all_of_it = engine.sizes_of(container)
    return f"{human_size(written)} (virtual {human_size(all_of_it)})"


def _columns(container: Container, now: float, *, whole: bool) -> dict[str, str]:
    """As much of a row as is in the table."""
    return {
        "Command": _command(container.command, whole),
        "ID": _id(container, whole),
        "Image": container.source,
        "Names": container.name or "",
        "Ports": container.ports,
        "RunningFor": f"{_since(container.created, now)} ago",
        "Status": _status(container, now),
    }


def _row(container: Container, now: float, *, whole: bool) -> dict[str, str]:
    volumes = [source for kind, source, _ in container.mounts if kind == "volume"]
    return {
        **_columns(container, now, whole=whole),
        "CreatedAt": _at(container.created),
        "Labels": ",".join(f"{name}={value}" for name, value in container.labels),
        "LocalVolumes": str(len(volumes)),
        "Mounts": ",".join(_mount_name(source, whole) for _, source, _ in container.mounts),
        "Networks": container.network,
        "Size": "0B",
        "State": container.status,
    }


def _mount_name(source: str, whole: bool) -> str:
    """An anonymous volume's is cut, as docker ps does it."""
    return source if whole or len(source) <= 15 else f"{source[:14]}…"


def _id(container: Container, whole: bool) -> str:
    return container.id if whole else container.id[:_ID_LENGTH]


def _command(words: tuple[str, ...], whole: bool) -> str:
    """As the daemon joins it and docker ps quotes it: moby, container/view.go."""
    path, arguments = words[:1], words[1:]
    text = " ".join((*path, *(f"'{word}'" if " " in word else word for word in arguments)))
    if not whole and len(text) > _COMMAND_LENGTH:
        text = text[: _COMMAND_LENGTH - 1] + "…"
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{"".join(_QUOTED.get(c) or _printable(c) for c in text)}"'


#: Go's strconv.Quote.
_QUOTED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _printable(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


def _status(container: Container, now: float) -> str:
    if container.status in ("running", "paused"):
        up = f"Up {_since(container.started or container.created, now)}"
        health = {None: "", "starting": " (health: starting)"}.get(
            container.health, f" ({container.health})"
        )
        return up + (" (Paused)" if container.status == "paused" else health)
    if container.status == "restarting":
        return f"Restarting since {_since(container.started or container.created, now)}"
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
        Flag(
            name="filter",
            short="f",
            metavar="NAME=VALUE",
            repeat=True,
            help="Only those with status=, name=, id=, ancestor=IMAGE, label[!]=NAME[=VALUE], "
            "exited=CODE, before=CONTAINER, since=CONTAINER, volume=, network=, health=",
        ),
        FORMAT,
        Flag(name="last", short="n", metavar="NUMBER", help="The last so many made, in any state"),
        Flag(name="latest", short="l", help="The last one made, in any state"),
        Flag(name="no-trunc", help="Print IDs and commands in full"),
        Flag(name="quiet", short="q", help="Print the IDs alone"),
        Flag(name="size", short="s", help="Show what each takes on the disk too"),
    ),
    details=(
        "The newest first; what runs, unless --all or a filter by status says otherwise. A "
        "container that ran with --rm is gone when it has ended."
    ),
)
