"""What ruff and mypy cannot know: how a page of this house looks.  scripts/lint runs the others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FOLDERS = ("src", "tests", "bench", "scripts", "docs", ".ci")
GENERATED = {"__pycache__", "out", ".hypothesis", ".pytest_cache", ".mypy_cache"}
TEXT = {".py", ".c", ".h", ".md", ".toml", ".build", ".sh", ".json", ""}


def _files(*suffixes: str) -> Iterator[Path]:
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*")):
            inside = set(file.relative_to(ROOT).parts)
            if file.is_file() and file.suffix in suffixes and not inside & GENERATED:
                yield file


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_every_python_file_opens_with_a_docstring() -> None:
    silent = [
        _name(file)
        for file in _files(".py")
        if (tree := ast.parse(file.read_text())).body and not ast.get_docstring(tree)
    ]

    assert silent == []


def test_every_c_file_opens_with_a_comment_on_what_it_is_for() -> None:
    silent = [
        _name(file) for file in _files(".c", ".h") if not re.match(r"/\*\s*\S", file.read_text())
    ]

    assert silent == []


def test_every_python_file_postpones_its_annotations() -> None:
    future = "from __future__ import annotations"
    wrong = [
        _name(file)
        for file in _files(".py")
        if "def " in (text := file.read_text()) and future not in text
    ]

    assert wrong == []


def test_no_file_names_a_path_of_this_machine() -> None:
    # Built here and not written down: this file must pass too.
    here = [str(Path.home()) + "/.pyenv", str(Path.home()) + "/.cache"]
    if len(ROOT.parts) > 2:  # in a container it may be /src, which is a word like another
        here.append(str(ROOT) + "/")
    found = []
    for file in [*_files(*TEXT), *ROOT.glob("*.md"), ROOT / "pyproject.toml", ROOT / "Makefile"]:
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue  # a built binary or an archive that a test reads
        found += [f"{_name(file)}: {path}" for path in here if path in text]

    assert found == []


def test_nothing_is_called_utils() -> None:
    drawers = [
        _name(file) for file in _files(".py", ".c") if re.search("util|helper|misc", file.stem)
    ]

    assert drawers == []


def test_tests_do_not_sleep() -> None:
    sleeping = [
        f"{_name(file)}:{node.lineno}"
        for file in _files(".py")
        if file.relative_to(ROOT).parts[0] == "tests"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep")
    ]

    assert sleeping == []


def test_newroot_init_stays_small() -> None:
    # Comments are free: what must stay small is what runs.
    code = [
        line
        for file in (ROOT / "src/newroot/native").glob("*.[ch]")
        for line in re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.DOTALL).splitlines()
        if line.strip()
    ]

    assert len(code) < 3_700  # docs/decisions/0014-how-large-newroot-init-may-be.md


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/index.md"])
def test_links_between_pages_lead_somewhere(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    dead = [link for link in links if not (page.parent / link).exists()]

    assert dead == []
