"""What the pages say is so: every block of the README and the tutorial runs, from the top.

In a ``console`` block ``$ `` is a command, and the lines under it are what it prints; ``…`` stands
for anything.  A line with ``# `` is typed into the shell that the command above it, ``… bash``, has
opened.  Without lines under it a command may print what it likes, but must succeed.
In a ``python`` block, ``print(…)  # words`` prints those words.  All blocks share a directory, all
``python`` blocks of a page an interpreter.  Other blocks (``sh``, ``text``) are for the eye only.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from newroot.testing import needs

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/tutorial").rglob("*.md"))]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PRINTED = re.compile(r"^\s*(?:await )?print\(.*\)  # (.*)$")
_MARK = "\x01"


@dataclass
class Command:
    """What is typed, into which shell, and what then stands there."""

    text: str
    inner: bool
    expected: list[str] = field(default_factory=list)


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of every fenced block."""
    yield from _FENCE.findall(page.read_text())


def run_page(page: Path, directory: Path, environment: dict[str, str]) -> None:
    """Run every block of *page* in *directory*; AssertionError where it says what is not so."""
    with Python(directory, environment) as python:
        for language, text in blocks(page):
            if language == "console":
                run_console(text, directory, environment)
            elif language == "python":
                python.run(text)


def run_console(text: str, directory: Path, environment: dict[str, str]) -> None:
    commands = read_console(text)
    done = subprocess.run(
        ["bash"],
        input=_script(commands),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=directory,
        env=environment,
        text=True,
        timeout=100,
    )
    said = done.stdout.split(_MARK)
    assert len(said) == len(commands) + 1, f"{said[-1]!r} is the last that was said in:\n{text}"
    for command, words in zip(commands, said, strict=False):
        printed, code = words.rsplit("\x02", 1)
        if command.expected:
            assert_like(printed.splitlines(), command.expected, f"$ {command.text}")
        else:
            assert code == "0", f"$ {command.text}\n{printed}exit code {code}"


def read_console(text: str) -> list[Command]:
    commands: list[Command] = []
    for line in text.splitlines():
        if line.startswith("$ ") or (line.startswith("# ") and _is_shell(commands)):
            commands.append(Command(line[2:], line.startswith("# ")))
        elif commands and commands[-1].text.endswith("\\") and not commands[-1].expected:
            commands[-1].text += "\n" + line
        else:
            commands[-1].expected.append(line)
    return commands


def _is_shell(commands: list[Command]) -> bool:
    """Whether what is typed now is typed into a shell that a command has opened."""
    outer = next(command for command in reversed(commands) if not command.inner)
    return outer.text.endswith((" bash", " sh"))


def _script(commands: list[Command]) -> str:
    """Each command, and after it its exit code between two marks, which it does not change."""
    lines = []
    mark = "c=$?; printf '\\002%d\\001' $c; (exit $c)"
    for number, command in enumerate(commands):
        opens = not command.inner and number + 1 < len(commands) and commands[number + 1].inner
        if opens:
            # What it says itself comes before its first inner command; its own code is not seen.
            lines += [f"{command.text} <<'INNER'", f"true; {mark}"]
            continue
        lines += [command.text, mark]
        if command.inner and (number + 1 == len(commands) or not commands[number + 1].inner):
            lines += ["INNER"]
    return "\n".join(lines) + "\n"


class Python:
    """An interpreter that gets one block after another."""

    _LOOP = (
        "import json, sys\n"
        "page = {'__name__': '__main__'}\n"
        "for line in sys.stdin:\n"
        "    exec(compile(json.loads(line), 'page', 'exec'), page)\n"
        f"    print(end={_MARK!r}, flush=True)\n"
    )

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", self._LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=environment,
            text=True,
        )

    def run(self, text: str) -> None:
        """Run a block, and compare what it prints with its comments."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(text) + "\n")
        self._process.stdin.flush()
        said = "".join(iter(self._character, _MARK))
        expected = [m[1] for line in text.splitlines() if (m := _PRINTED.match(line))]
        assert self._process.poll() is None, f"{said}\n{text}"
        assert_like(said.splitlines(), expected, text)

    def _character(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.read(1) or _MARK

    def __enter__(self) -> Python:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate(timeout=100)
        assert self._process.returncode == 0 or error[0] is not None


def assert_like(actual: list[str], expected: list[str], where: str) -> None:
    """Fail unless *actual* is *expected*, where ``…`` is anything and a line of it any lines."""
    pattern = "\n".join(re.escape(line) for line in expected).replace("…", ".*")
    lines = "\n".join(line.rstrip() for line in actual)
    assert re.fullmatch(pattern, lines, re.DOTALL), f"{where}\nsays\n{lines}"


@needs("root", "overlay", "busybox", "util-linux")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_the_page_runs_and_says_what_it_shows(page: Path, tmp_path: Path) -> None:
    directory = tmp_path / "here"
    directory.mkdir()
    environment = {
        **os.environ,
        "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}:/usr/sbin:/sbin",
        "NEWROOT_ROOT": str(tmp_path / "newroot"),
        "NEWROOT_RUN_ROOT": str(tmp_path / "run"),
        "LC_ALL": "C.UTF-8",
    }

    run_page(page, directory, environment)


def test_the_chinese_pages_have_the_blocks_of_the_english() -> None:
    pages = sorted((ROOT / "docs/tutorial/zh").glob("*.md"))

    assert pages
    for page in pages:
        assert list(blocks(page)) == list(blocks(page.parent.parent / page.name)), page.name
