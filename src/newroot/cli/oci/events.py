"""``newroot-oci events``: what a container uses, now and then, and that it was short of memory.

One JSON document a line, in runc's form, until the container has ended.
"""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.oci.verbs import VERBS
from newroot.errors import NewrootError, UsageError, WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext
    from newroot.container.oci_state import OciContainer
    from newroot.isolation.cgroups.cgroup import Cgroup

#: Go's units of time: time.ParseDuration.
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _events(parsed: Parsed, context: OciContext) -> int:
    from newroot.container.oci_state import STOPPED, load

    container = load(context.root, parsed.positionals[0])
    interval_s = parse_duration(parsed.text("interval") or "5s")
    if interval_s <= 0:
        raise UsageError("duration interval must be greater than 0")
    status = container.status()
    if status == STOPPED:
        raise WrongStatus(
            f"container with id {container.id} is not running", status=status, wanted="running"
        )
    cgroup = container.cgroup()
    if parsed.is_set("stats"):
        _print_stats(container, cgroup)
        return 0
    _stream(container, cgroup, interval_s)
    return 0


def parse_duration(text: str) -> float:
    """Seconds, of Go's ``1m30s``, ``1.5h``, ``100ms``.  Raises UsageError."""
    rest, total = text, 0.0
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("nuµmsh"))]
        rest = rest[len(unit) :]
        try:
            total += float(number) * _SECONDS[unit]
        except (KeyError, ValueError):
            raise UsageError(f"invalid duration {text!r}", hint="as 5s, 100ms, 1m30s") from None
    return total


def _stream(container: OciContainer, cgroup: Cgroup, interval_s: float) -> None:
    import select
    from time import monotonic

    events = cgroup.oom_events()
    try:
        poll = select.poll()
        events.register(poll)
        due = monotonic() + interval_s
        while True:
            news = poll.poll(max(0.0, due - monotonic()) * 1000)
            if news:
                for _ in range(events.count()):
                    _print({"type": "oom", "id": container.id})
                if events.is_over():
                    return
            if monotonic() >= due:
                if events.is_over():
                    return
                _print_stats(container, cgroup)
                due += interval_s
    finally:
        events.close()


def _print_stats(container: OciContainer, cgroup: Cgroup) -> None:
    from newroot.isolation.cgroups.stats_document import stats_document

    if not cgroup.places:
        raise NewrootError(f"count what {container.id} uses: it has no cgroup")
    _print({"type": "stats", "id": container.id, "data": stats_document(cgroup)})


def _print(event: dict[str, object]) -> None:
    from newroot.oci.json import dumps

    print(dumps(event), flush=True)


EVENTS = Verb(
    name="events",
    summary=VERBS["events"][1],
    run=_events,
    flags=(
        Flag(name="interval", metavar="TIME", help="How often to tell what is used, by default 5s"),
        Flag(name="stats", help="Tell once what is used, and exit"),
    ),
    positionals=(Positional(name="ID"),),
)
