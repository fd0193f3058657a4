"""What happened in a root, for ``newroot events``: written by whoever does it, read by anybody.

    <root>/events/log, log.1, log.2     linux/journal.py

A line says when, what was done, to what, and with what attributes.  What a container is called and
made of stands in the line of its making alone (native/notes.c knows no more than ids); whoever
reads puts it beside each later one.
"""

from __future__ import annotations

from newroot.errors import UsageError
from newroot.linux.journal import Journal
from newroot.oci import json
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    Test = Callable[["Event"], bool]

_LOOK_AGAIN_S = 1.0
#: Attributes that are told of the container itself, by the actions that say them.
_TELLING = ("create", "rename")


@record
class Event:
    """One thing that happened."""

    time_ns: int
    type: str  #: container, image, volume, network
    action: str
    id: str
    attributes: dict[str, str]

    def document(self) -> dict[str, Any]:
        """In docker's form: moby, api/types/events."""
        found: dict[str, Any] = {"status": self.action, "id": self.id}
        if self.type == "container":
            found["from"] = self.attributes.get("image", "")
        return {
            **found,
            "Type": self.type,
            "Action": self.action,
            "Actor": {"ID": self.id, "Attributes": self.attributes},
            "scope": "local",
            "time": self.time_ns // 10**9,
            "timeNano": self.time_ns,
        }


def line(kind: str, action: str, thing: str, attributes: Mapping[str, str]) -> str:
    """An event as it is written down, now."""
    from time import time_ns

    return json.dumps(
        {
            "time": time_ns(),
            "type": kind,
            "action": action,
            "id": thing,
            "attributes": dict(attributes),
        }
    )


def read_events(
    journal: Journal, *, since: int | None, until: int | None, follow: bool
) -> Iterator[Event]:
    """The events from *since* to *until*, both in nanoseconds since 1970.

    With *follow* also those to come, until *until*.  Without *since* only those to come, or, with
    *until*, all that there are.
    """
    from time import time_ns

    from newroot.container.logs import Log
    from newroot.linux.watch import Watch

    journal.make()
    first = time_ns() if since is None and until is None else since or 0
    log = Log(journal.directory)
    with Watch(journal.directory) as watch:

        def wait() -> bool:
            left = _LOOK_AGAIN_S if until is None else (until - time_ns()) / 1e9
            if not follow or left <= 0:
                return False
            return watch.wait(min(left, _LOOK_AGAIN_S)) or True

        for event in _told(_parsed(log.lines(None, wait))):
            if event.time_ns >= first and (until is None or event.time_ns <= until):
                yield event


def _parsed(lines: Iterable[bytes]) -> Iterator[Event]:
    for text in lines:
        try:
            words = json.loads(text, what="an event")
            yield Event(
                time_ns=int(words["time"]),
                type=words["type"],
                action=words["action"],
                id=words["id"],
                attributes=dict(words["attributes"]),
            )
        except (UsageError, KeyError, TypeError, ValueError):
            continue  # the empty line before each, or what a crash of the host has left


def _told(events: Iterable[Event]) -> Iterator[Event]:
    """Each event with what its container's making has said of that."""
    known: dict[str, dict[str, str]] = {}
    for event in events:
        if event.type != "container":
            yield event
            continue
        attributes = {**known.get(event.id, {}), **event.attributes}
        if event.action in _TELLING:
            known[event.id] = {k: v for k, v in attributes.items() if k != "oldName"}
        elif event.action == "destroy":
            known.pop(event.id, None)
        yield Event(
            time_ns=event.time_ns,
            type=event.type,
            action=event.action,
            id=event.id,
            attributes=attributes,
        )


def last_exit_code(journal: Journal, container_id: str) -> int | None:
    """How a container ended that is gone; None where nobody wrote it down."""
    code = None
    for event in read_events(journal, since=0, until=None, follow=False):
        if event.id == container_id and event.action == "die":
            said = event.attributes.get("exitCode", "")
            code = int(said) if said.isdecimal() else None
    return code


# ── choosing ─────────────────────────────────────────────────────────────────────────────────


def chosen(events: Iterable[Event], filters: Sequence[str]) -> Iterator[Event]:
    """Those that *filters* let through: of one name any, but all labels.  Raises UsageError."""
    from newroot.filters import values_by_name

    tests = {
        name: [_FILTERS[name](value) for value in values]
        for name, values in values_by_name(filters, _FILTERS).items()
    }
    hows = [(all if name == "label" else any, each) for name, each in tests.items()]
    return (e for e in events if all(how(test(e) for test in each) for how, each in hows))


def _thing(kind: str) -> Callable[[str], Test]:
    def make(value: str) -> Test:
        return lambda e: (
            e.type == kind and (e.id.startswith(value) or value == e.attributes.get("name"))
        )

    return make


def _image(value: str) -> Test:
    return lambda e: value in (e.attributes.get("image"), e.attributes.get("name"), e.id)


def _label(value: str) -> Test:
    name, equals, text = value.partition("=")
    return lambda e: name in e.attributes and (not equals or e.attributes[name] == text)


_FILTERS: dict[str, Callable[[str], Test]] = {
    "container": _thing("container"),
    "event": lambda value: lambda e: e.action == value,
    "image": _image,
    "label": _label,
    "network": _thing("network"),
    "type": lambda value: lambda e: e.type == value,
    "volume": _thing("volume"),
}
