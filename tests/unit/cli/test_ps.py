"""The columns of ``newroot ps``, word for word as docker ps has them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from newroot.cli.ps import _at, _command, _row, _status
from newroot.container.records import Container

NOW = 1_000_000.0


def _container(**fields: Any) -> Container:
    given = {
        "id": "0123456789ab" + "0" * 52,
        "name": "one",
        "source": "busybox",
        "command": ("sh",),
        "created": NOW - 300,
        "status": "exited",
        "exit_code": 0,
        "finished": NOW - 60,
    }
    return Container(**{**given, **fields})


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("sh",), '"sh"'),
        (("sh", "-c", "echo hi"), "\"sh -c 'echo hi'\""),
        (("sh", "-c", "echo x > /etc/x; exit 3"), '"sh -c \'echo x > /et…"'),
        (("a" * 20,), f'"{"a" * 20}"'),
        (("a" * 21,), f'"{"a" * 19}…"'),
        (('say "hi"\n',), '"say \\"hi\\"\\n"'),
        (("\x1b[31m",), '"\\x1b[31m"'),
        ((), '""'),
    ],
)
def test_a_command_is_joined_cut_and_quoted(words: tuple[str, ...], shown: str) -> None:
    assert _command(words, whole=False) == shown


def test_no_trunc_shows_all_of_it() -> None:
    row = _row(_container(command=("a" * 30, "b c")), NOW, whole=True)

    assert row["Command"] == f"\"{'a' * 30} 'b c'\""
    assert row["ID"] == "0123456789ab" + "0" * 52


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"status": "running"}, "Up 5 minutes"),
        ({"exit_code": 3}, "Exited (3) About a minute ago"),
        ({"exit_code": 137, "finished": None}, "Exited (137)"),
        ({"exit_code": None, "finished": None}, "Exited (unknown)"),
        ({"finished": NOW + 5}, "Exited (0) Less than a second ago"),  # the clock was set back
    ],
)
def test_a_status_says_since_when(fields: dict[str, Any], shown: str) -> None:
    assert _status(_container(**fields), NOW) == shown


def test_a_time_is_written_as_go_writes_it() -> None:
    assert re.fullmatch(r"1970-01-1\d \d\d:\d\d:\d\d [+-]\d{4} \S+", _at(NOW))
