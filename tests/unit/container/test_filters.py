"""Which containers a filter lets through."""

from __future__ import annotations

from typing import Any

import pytest

from newroot.container.filters import Known, chosen
from newroot.container.records import Container
from newroot.errors import NotFound, UsageError


def _container(letter: str, **fields: Any) -> Container:
    given = {
        "id": letter * 64,
        "name": f"name-{letter}",
        "source": "busybox",
        "command": ("sh",),
        "created": float(ord(letter)),
        "status": "running",
        "exit_code": None,
    }
    return Container(**{**given, **fields})


ALL = (
    _container("c", status="exited", exit_code=3, labels=(("x", "1"), ("y", "2"))),
    _container("b", status="paused", labels=(("x", "1"),), health="healthy"),
    _container("a", mounts=(("volume", "data", "/d"),), network="host", image="sha256:1"),
)


def _resolve(name: str) -> str:
    for container in ALL:
        if container.name == name:
            return container.id
    raise NotFound(f"no container {name}")


def shown(*filters: str) -> str:
    known = Known(
        containers=ALL,
        resolve=_resolve,
        images=lambda name: frozenset((name, "sha256:1")),
        now_ns=200 * 10**9,
    )
    return "".join(container.id[0] for container in chosen(known, filters))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ((), "cba"),
        (("status=exited",), "c"),
        (("status=exited", "status=paused"), "cb"),
        (("name=name-[ab]",), "ba"),
        (("name=^name-a$",), "a"),
        (("name=^/name-a$",), "a"),
        (("id=aaa",), "a"),
        (("label=x",), "cb"),
        (("label=x=1", "label=y"), "c"),
        (("label!=x",), "a"),
        (("exited=3",), "c"),
        (("exited=0",), ""),
        (("before=name-b",), "a"),
        (("since=name-b",), "c"),
        (("volume=data",), "a"),
        (("volume=/d/",), "a"),
        (("network=host",), "a"),
        (("health=healthy",), "b"),
        (("health=none",), "ca"),
        (("ancestor=other",), "a"),
        (("ancestor=busybox", "status=paused"), "b"),
        (("until=98.5",), "ba"),
    ],
)
def test_a_filter_lets_through_what_it_says(filters: tuple[str, ...], expected: str) -> None:
    assert shown(*filters) == expected


@pytest.mark.parametrize(
    "text", ["nope=1", "status", "status=nope", "exited=x", "name=[", "health=", "until=x"]
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="invalid"):
        shown(text)


def test_a_container_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound, match="no container nope"):
        shown("before=nope")
