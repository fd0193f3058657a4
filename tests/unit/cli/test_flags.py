"""How words are read by a table of flags: GNU's and Docker's manners."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.cli.flags import (
    Flag,
    Parsed,
    Positional,
    Verb,
    check_positionals,
    nearest,
    parse_words,
    usage_line,
)
from newroot.cli.verbs import Context
from newroot.errors import UsageError

FLAGS = (
    Flag(name="interactive", short="i", help=""),
    Flag(name="tty", short="t", help=""),
    Flag(name="rm", help=""),
    Flag(name="env", short="e", metavar="K=V", repeat=True, help=""),
    Flag(name="name", metavar="NAME", help=""),
    Flag(name="pids-limit", short="p", metavar="N", help=""),
    Flag(name="switch", metavar="HOW", choices=("pivot", "move"), help=""),
)


def _parse(*words: str, stops: bool = True) -> Parsed:
    return parse_words(list(words), FLAGS, where="newroot run", stops_at_positional=stops)


def _hint(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        _parse(*words)
    return caught.value.hint or ""


def _no_run(parsed: Parsed, context: Context) -> int:
    return 0


def test_what_was_not_given_is_false_or_none_or_empty() -> None:
    assert _parse().flags == {
        **dict.fromkeys(("interactive", "tty", "rm"), False),
        **dict.fromkeys(("name", "pids_limit", "switch")),
        "env": [],
    }


def test_short_switches_bundle() -> None:
    parsed = _parse("-it")

    assert (parsed.flags["interactive"], parsed.flags["tty"]) == (True, True)


@pytest.mark.parametrize(
    "words", [["-e", "A=1"], ["-eA=1"], ["-e=A=1"], ["-iteA=1"], ["-te", "A=1"]]
)
def test_a_short_flag_takes_its_value_in_every_form(words: list[str]) -> None:
    assert _parse(*words).texts("env") == ["A=1"]


@pytest.mark.parametrize("words", [["--name", "x"], ["--name=x"], ["--name=y", "--name", "x"]])
def test_a_long_flag_takes_its_value_in_both_forms_and_the_last_wins(words: list[str]) -> None:
    assert _parse(*words).text("name") == "x"


def test_a_value_may_look_like_a_flag_or_be_empty() -> None:
    assert _parse("--name", "--rm").text("name") == "--rm"
    assert _parse("--name", "-1").text("name") == "-1"
    assert _parse("--name=").text("name") == ""
    assert _parse("-p", "-1").text("pids_limit") == "-1"
    assert _parse("-p-1").text("pids_limit") == "-1"
    assert _parse("--name", "--").text("name") == "--"


def test_a_repeated_flag_keeps_all_its_values_in_order() -> None:
    assert _parse("-e", "A", "--env", "B", "--env=C").texts("env") == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [("--rm=false", False), ("--rm=1", True), ("-i=F", False), ("-ti=0", False)],
)
def test_a_switch_may_be_switched_off(word: str, expected: bool) -> None:
    parsed = _parse("--rm", "-i", word)

    assert parsed.flags["rm" if "rm" in word else "interactive"] is expected


def test_after_the_image_nothing_is_ours() -> None:
    parsed = _parse("--rm", "image", "--rm=no", "-x", "--", "--help")

    assert parsed.positionals == ("image", "--rm=no", "-x", "--", "--help")


def test_other_verbs_take_flags_also_after_positionals() -> None:
    parsed = _parse("one", "--rm", "two", stops=False)

    assert (parsed.positionals, parsed.flags["rm"]) == (("one", "two"), True)


def test_two_dashes_end_the_flags_and_are_not_passed_on() -> None:
    assert _parse("--rm", "--", "--rm").positionals == ("--rm",)
    assert _parse("a", "--", "-x", stops=False).positionals == ("a", "-x")


def test_one_dash_is_a_positional() -> None:
    assert _parse("-", stops=False).positionals == ("-",)


def test_an_unknown_flag_is_named_with_the_one_that_was_meant() -> None:
    assert _hint("--nmae", "x") == "did you mean --name?"
    assert _hint("--pid-limit=1") == "did you mean --pids-limit?"
    assert _hint("--xyzzy") == "see newroot run --help"
    assert _hint("-rm") == "did you mean --rm?"
    assert _hint("-name=x") == "did you mean --name?"
    assert _hint("-ix") == "see newroot run --help"
    assert _hint("-x") == "see newroot run --help"


def test_a_prefix_of_a_flag_is_not_that_flag() -> None:
    # pflag's manner: a later version may have a longer name that begins the same.
    with pytest.raises(UsageError):
        _parse("--inter")


@pytest.mark.parametrize(
    "words",
    [["--name"], ["-e"], ["-ie"], ["--rm=maybe"], ["--rm="], ["-i=x"], ["--switch", "jump"]],
)
def test_a_missing_or_wrong_value_is_a_usage_error(words: list[str]) -> None:
    with pytest.raises(UsageError):
        _parse(*words)


@given(st.lists(st.text(max_size=8), max_size=8), st.booleans())
def test_any_words_are_read_or_refused(words: list[str], stops: bool) -> None:
    try:
        parsed = _parse(*words, stops=stops)
    except UsageError:
        return
    assert all(positional in words for positional in parsed.positionals)


@given(st.lists(st.text()))
def test_a_command_comes_through_word_for_word(command: list[str]) -> None:
    assert _parse("-i", "image", *command).positionals == ("image", *command)
    assert _parse("-i", "--", *command).positionals == tuple(command)


def test_positionals_are_counted() -> None:
    verb = Verb(
        name="tag",
        summary="",
        run=_no_run,
        positionals=(Positional(name="SOURCE"), Positional(name="TARGET")),
    )
    check_positionals(verb, ("a", "b"))
    with pytest.raises(UsageError, match="needs TARGET"):
        check_positionals(verb, ("a",))
    with pytest.raises(UsageError, match="does not take 'c'"):
        check_positionals(verb, ("a", "b", "c"))


def test_the_usage_line_comes_from_the_table() -> None:
    verb = Verb(
        name="volume rm",
        summary="",
        run=_no_run,
        flags=FLAGS,
        positionals=(Positional(name="VOLUME", repeat=True),),
    )

    assert usage_line(verb) == "newroot volume rm [OPTIONS] VOLUME [VOLUME...]"


def test_nothing_is_suggested_for_what_is_far_from_all() -> None:
    assert nearest("xyzzy", ("run", "images")) is None
    assert nearest("imgaes", ("run", "images")) == "images"
