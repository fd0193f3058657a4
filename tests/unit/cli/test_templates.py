"""``--format``: places by name, the plain ones of Go's templates, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.cli.output import print_facts, print_rows
from newroot.cli.templates import fill, read_template, value_at
from newroot.errors import UsageError

FACTS: dict[str, Any] = {
    "Id": "abc",
    "State": {"Status": "running", "Pid": 7, "Paused": False},
    "Config": {"Cmd": ["sh", "-c"], "Labels": {"a.b": "c"}, "User": None},
}


def said(template: str) -> str:
    return fill(read_template(template), lambda place: value_at(FACTS, place))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{Id}", "abc"),
        ("{state.status}-{State.Pid}", "running-7"),
        ("{{.State.Status}}", "running"),
        ("{{ .State.Paused }}", "false"),
        ("{{.Config.Cmd}}", "[sh -c]"),
        ("{Config.Cmd}", '["sh", "-c"]'),
        ("{{json .Config.Cmd}}", '["sh","-c"]'),
        ("{{.Config.Labels}}", "map[a.b:c]"),
        ('{{index .Config.Labels "a.b"}}', "c"),
        ('{{index .Config.Labels "none"}}', "<no value>"),
        ("{{index .Config.Cmd 1}}", "-c"),
        ("{{.Config.User}}", "<no value>"),
        ("{{Id}} \\t}}", "{Id} \t}"),
        ("{{- .Id -}}", "abc"),
        ("", ""),
    ],
)
def test_a_place_stands_for_what_is_there(template: str, expected: str) -> None:
    assert said(template) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{range .A}}",
        "{{if .A}}",
        '{{join .A ","}}',
        "{{.A | json}}",
        "{{$x}}",
        "{a",
        "a}",
        "{a{b}",
    ],
)
def test_what_is_not_known_of_go_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match="--format"):
        read_template(template)


def test_a_name_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"there is no 'State\.Nope'") as caught:
        said("{{.State.Nope}}")

    assert caught.value.hint == "one of Status, Pid, Paused"


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        pieces = read_template(text)
    except UsageError:
        return
    if "{" not in text and "}" not in text and "\\" not in text:
        assert pieces == [(text, None)]


def test_rows_as_lines_and_as_a_table_of_chosen_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    columns, rows = (
        {"NAMES": "Names", "ST": "State"},
        [{"Names": "a", "State": "up", "RunFor": "1"}],
    )
    print_rows(columns, rows, "{{.Names}}:{state}")
    print_rows(columns, rows, "table {{.Names}}\\t{{.RunFor}}")
    print_rows(columns, rows, "{{json .}}")

    assert capsys.readouterr().out.splitlines() == [
        "a:up",
        "NAMES   RUN FOR",
        "a       1",
        '{"Names":"a","State":"up","RunFor":"1"}',
    ]
    with pytest.raises(UsageError, match="no column 'nope'"):
        print_rows(columns, rows, "{nope}")


def test_facts_are_a_list_unless_a_template_makes_lines_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_facts([{"Id": "a"}, {"Id": "b"}], "{{.Id}}")
    print_facts([{"Id": "a"}], "json")
    print_facts([], None)

    assert capsys.readouterr().out == 'a\nb\n[{"Id":"a"}]\n[]\n'
