"""Which containers ``ps`` shows and ``prune`` takes: Docker's ``--filter NAME=VALUE``.

Of one name several values are alternatives, but for labels, which must all be there (moby,
daemon/list.go).  What another container or an image is called is looked up once.
"""

from __future__ import annotations

from newroot.errors import NotFound, UsageError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from newroot.container.records import Container

    Test = Callable[[Container], bool]

STATUSES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")
HEALTHS = ("starting", "healthy", "unhealthy", "none")


@record
class Known:
    """What a filter's words are looked up in."""

    containers: tuple[Container, ...]
    resolve: Callable[[str], str]  #: a container's id, by what a user calls it
    images: Callable[[str], frozenset[str]]  #: digests and names of an image and those on it
    now_ns: int


def chosen(known: Known, filters: Sequence[str]) -> tuple[Container, ...]:
    """Those that *filters* let through.  Raises UsageError for what is no filter, NotFound."""
    tests: dict[str, list[Test]] = {}
    for text in filters:
        name, equals, value = text.partition("=")  # label!=x too: its name is then label!
        if not equals or name not in _FILTERS:
            raise UsageError(
                f"invalid filter {text!r}", hint=f"one of {', '.join(_FILTERS)}, '=' and a value"
            )
        tests.setdefault(name, []).append(_FILTERS[name](known, value))
    found: Iterable[Container] = known.containers
    for name, each in tests.items():
        how = all if name in ("label", "label!", "until") else any
        found = [c for c in found if how(test(c) for test in each)]
    return tuple(found)


def check_names(filters: Sequence[str], names: Sequence[str]) -> None:
    """Raise UsageError unless each of *filters* is one of *names*."""
    for text in filters:
        name, equals, _ = text.partition("=")
        if not equals or name not in names:
            raise UsageError(
                f"invalid filter {text!r}", hint=f"one of {', '.join(names)}, '=' and a value"
            )


def _one_of(what: str, words: tuple[str, ...], value: str) -> str:
    if value not in words:
        raise UsageError(f"invalid filter {what}={value}", hint=f"one of {', '.join(words)}")
    return value


def _status(known: Known, value: str) -> Test:
    wanted = _one_of("status", STATUSES, value)
    return lambda container: container.status == wanted


def _name(known: Known, value: str) -> Test:
    import re

    try:
        pattern = re.compile(value)
    except re.error as error:
        raise UsageError(f"invalid filter name={value}: {error}") from None
    return lambda container: any(
        pattern.search(name) for name in (container.name or "", f"/{container.name or ''}")
    )


def _id(known: Known, value: str) -> Test:
    return lambda container: container.id.startswith(value)


def _ancestor(known: Known, value: str) -> Test:
    wanted = known.images(value)
    return lambda container: bool({container.image, container.source} & wanted)


def _label(known: Known, value: str) -> Test:
    name, equals, text = value.partition("=")

    def test(container: Container) -> bool:
        labels = dict(container.labels)
        return name in labels and (not equals or labels[name] == text)

    return test


def _not_label(known: Known, value: str) -> Test:
    test = _label(known, value)
    return lambda container: not test(container)


def _exited(known: Known, value: str) -> Test:
    if not value.isdecimal():
        raise UsageError(f"invalid filter exited={value}", hint="an exit code")
    return lambda c: c.status == "exited" and c.exit_code == int(value)


def _created(known: Known, value: str) -> float:
    container_id = known.resolve(value)
    for container in known.containers:
        if container.id == container_id:
            return container.created
    raise NotFound(f"no container {value}")


def _before(known: Known, value: str) -> Test:
    limit = _created(known, value)
    return lambda container: container.created < limit


def _since(known: Known, value: str) -> Test:
    limit = _created(known, value)
    return lambda container: container.created > limit


def _volume(known: Known, value: str) -> Test:
    wanted = value.rstrip("/") or "/"
    return lambda container: any(wanted in (source, at) for _, source, at in container.mounts)


def _network(known: Known, value: str) -> Test:
    return lambda container: value in container.network.split(",")


def _health(known: Known, value: str) -> Test:
    wanted = _one_of("health", HEALTHS, value)
    return lambda container: (container.health or "none") == wanted


def _until(known: Known, value: str) -> Test:
    from newroot.container.moments import parse_moment

    limit = parse_moment(value, known.now_ns) / 1e9
    return lambda container: container.created < limit


_FILTERS: dict[str, Callable[[Known, str], Test]] = {
    "status": _status,
    "name": _name,
    "id": _id,
    "ancestor": _ancestor,
    "label": _label,
    "label!": _not_label,
    "exited": _exited,
    "before": _before,
    "since": _since,
    "volume": _volume,
    "network": _network,
    "health": _health,
    "until": _until,
}
