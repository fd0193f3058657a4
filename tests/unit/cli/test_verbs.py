"""Every verb's table: whole enough for the parser, the help, the completions and man pages."""

from __future__ import annotations

import pytest

from newroot.cli.flags import Verb
from newroot.cli.help import group_page, overview_page, verb_page
from newroot.cli.main import GLOBAL_FLAGS
from newroot.cli.verbs import ALIASES, VERBS, find_verb, group_of, load_verb

ALL = [pytest.param(name, id=name) for name in VERBS]


@pytest.mark.parametrize("name", ALL)
def test_a_verb_s_table_agrees_with_the_table_of_verbs(name: str) -> None:
    verb = load_verb(name)

    assert isinstance(verb, Verb)
    assert (verb.name, verb.summary) == (name, VERBS[name][1])


@pytest.mark.parametrize("name", ALL)
def test_flags_do_not_collide_with_each_other_or_the_global_ones(name: str) -> None:
    flags = [*load_verb(name).flags, *GLOBAL_FLAGS]
    names = [flag.name for flag in flags]
    shorts = [flag.short for flag in flags if flag.short]

    assert len(set(names)) == len(names)
    assert len(set(shorts)) == len(shorts)
    assert all(flag.metavar or not (flag.repeat or flag.choices) for flag in flags)


@pytest.mark.parametrize("name", ALL)
def test_a_help_page_fits_a_terminal_and_names_every_flag(name: str) -> None:
    verb = load_verb(name)
    page = verb_page(verb)

    assert max(map(len, page.splitlines())) <= 80
    assert [flag.name for flag in verb.flags if f"--{flag.name}" not in page] == []
    assert all(ord(character) < 0x2500 for character in page)


@pytest.mark.parametrize("name", ALL)
def test_a_flag_s_help_is_a_phrase(name: str) -> None:
    flags = load_verb(name).flags
    wrong = [flag.name for flag in flags if flag.help.endswith(".") or not flag.help[0].isupper()]

    assert wrong == []


def test_only_the_last_positional_may_be_many_or_left_out() -> None:
    for name in VERBS:
        positionals = load_verb(name).positionals
        assert not any(positional.repeat for positional in positionals[:-1])
        optional = [positional.optional for positional in positionals]
        assert optional == sorted(optional)


def test_the_overview_names_every_verb_and_fits() -> None:
    page = overview_page()

    assert [name for name in VERBS if f"  {name} " not in page] == []
    assert max(map(len, page.splitlines())) <= 80


def test_a_group_s_page_has_each_verb_once() -> None:
    assert group_page("volume").count("List volumes") == 1
    assert "busybox" in group_page("image bootstrap")
    assert group_page("image").count("Remove images\n") == 1


def test_verbs_are_found_by_their_longest_name_and_by_docker_s_others() -> None:
    assert find_verb(("volume", "ls", "x")) == ("volume ls", 2)
    assert find_verb(("image", "ls")) == ("images", 2)
    assert find_verb(("run", "ls")) == ("run", 1)
    assert find_verb(("volume",)) is None
    assert find_verb(()) is None
    assert set(ALIASES.values()) <= set(VERBS)


def test_groups() -> None:
    assert group_of(("volume",)) == "volume"
    assert group_of(("volume", "nope")) == "volume"
    assert group_of(("image", "bootstrap", "nope")) == "image bootstrap"
    assert group_of(("nope",)) is None
