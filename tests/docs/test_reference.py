"""The pages that repeat the source say what it says, and every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("script", ["gen-reference", "readme-numbers"])
def test_what_a_script_writes_is_what_it_would_write_now(script: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / script, "--check"], capture_output=True, text=True
    )

    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    dead = [link for link in links if not (page.parent / link).exists()]

    assert dead == []


def test_every_decision_is_in_the_list() -> None:
    index = (ROOT / "docs/decisions/index.md").read_text()
    pages = [page.name for page in (ROOT / "docs/decisions").glob("0*.md")]

    assert [name for name in pages if f"]({name})" not in index] == []


def test_every_make_target_that_a_page_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for page in PAGES for word in re.findall(r"`make ([a-z-]+)`", page.read_text())}

    assert named - targets == set()


def test_every_file_that_the_tour_names_is_there() -> None:
    tour = (ROOT / "docs/design.md").read_text()
    named = re.findall(r"`([a-z_]+/[\w/]*(?:\.py|\.c|\.h|/)|\w+\.py)`", tour)
    package = ROOT / "src/newroot"
    places = (package, package / "isolation", ROOT)
    missing = [name for name in named if not any((place / name).exists() for place in places)]

    assert len(named) > 40
    assert missing == []
