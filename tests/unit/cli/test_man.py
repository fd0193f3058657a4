"""The manual pages: one for each verb, with all that its help says; groff finds no fault."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from newroot.cli import man
from newroot.cli.verbs import VERBS, load_verb
from newroot.testing import needs


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return dict(man.pages())


def test_every_verb_has_its_page_and_the_list_names_them_all(pages: dict[str, str]) -> None:
    assert set(pages) == set(man.names())
    assert {man.page_name(name) for name in VERBS} < set(pages)


@pytest.mark.parametrize("name", VERBS)
def test_a_page_names_every_flag(name: str, pages: dict[str, str]) -> None:
    page = pages[man.page_name(name)].replace("\\-", "-")
    verb = load_verb(name)

    for flag in verb.flags:
        assert f"\\fB--{flag.name}\\fR" in page
        assert flag.help.replace("\\", "\\e") in page
    assert all(command.replace("\\", "\\e") in page for _, command in verb.examples)


@needs("groff")
def test_groff_has_nothing_to_say_about_them(pages: dict[str, str], tmp_path: Path) -> None:
    for name, text in pages.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-Kutf8", "-ww", *sorted(tmp_path.iterdir())],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert done.stderr == ""
    assert "NEWROOT-VOLUME-CREATE(1)" in done.stdout


@needs("man")
def test_man_shows_one(pages: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "newroot-cp.1"
    path.write_text(pages["newroot-cp.1"])
    done = subprocess.run(
        ["man", "--warnings", "-l", path], capture_output=True, text=True, timeout=60
    )

    assert done.stderr == ""
    assert "newroot-cp - Copy files into a container, or out of it" in done.stdout


def test_lines_that_would_be_requests_are_none() -> None:
    assert man._line(".nothing -x \\n") == "\\&.nothing \\-x \\en"
