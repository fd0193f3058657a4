"""The script of a plan: whatever a plan holds, a word stays one word and a comment a comment."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.plan import shell
from newroot.plan import steps as s

_BYTES = st.binary(max_size=60).map(lambda raw: raw.replace(b"\0", b""))
_EXEC = s.Exec(paths=("/bin/a",), argv=("/bin/a",))


def _said_by_bash(words: list[str]) -> list[bytes]:
    script = "printf '%s\\0' x " + " ".join(words)
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    return done.stdout.split(b"\0")[1:-1]


@given(st.lists(_BYTES, max_size=30))
def test_bash_reads_every_word_as_it_was(words: list[bytes]) -> None:
    quoted = [shell.quote(os.fsdecode(word)) for word in words]

    assert _said_by_bash(quoted) == words
    assert all(word.isprintable() for word in quoted)


@pytest.mark.parametrize(
    "word",
    [b"", b"-n", b"~", b"!x", b"{a,b}", b"*", b"$(id)", b"`id`", b"\\", b"'", b"\xff0", b"a\n#b"],
)
def test_bash_reads_words_that_mean_something_to_it(word: bytes) -> None:
    assert _said_by_bash([shell.quote(os.fsdecode(word))]) == [word]


@given(st.text(max_size=40))
def test_a_comment_stays_on_its_line(why: str) -> None:
    script = shell.render(s.Plan(steps=(s.NewSession(why=why), _EXEC)))
    (line,) = [line for line in script.split("\n") if line.startswith("# 1. ")]

    assert line.isprintable()


def test_a_line_that_ends_the_script_does_not() -> None:
    words = ("a", "x\nNEWROOT\necho out", "NEWROOT")
    script = shell.render(s.Plan(steps=(s.Exec(paths=("a",), argv=words, env=("A=\nNEWROOT\n",)),)))

    assert script.split("\n").count("NEWROOT") == 1


def test_there_is_a_renderer_for_every_step() -> None:
    # Not __subclasses__() of the live class alone: a record is made twice.
    every = {
        kind
        for kind in vars(s).values()
        if isinstance(kind, type) and issubclass(kind, s.Step) and kind is not s.Step
    }

    assert set(shell._OUTSIDE) | set(shell._INSIDE_STEPS) == every


def test_the_script_has_a_comment_for_each_step_with_its_reason() -> None:
    plan = s.Plan(
        steps=(
            s.NewSession(why="the reason"),
            s.UseRoot(path="/r"),
            s.MountFs(type="proc", source="proc", target="/proc", why="to see"),
            _EXEC,
        )
    )
    script = shell.render(plan)

    assert "# 1. lead a new session: the reason\n" in script
    assert "# 3. mount proc on /proc: to see\nat /proc\n" in script


def test_a_step_that_no_tool_can_do_says_so() -> None:
    plan = s.Plan(steps=(s.LoadSeccomp(program=b""), s.OpenTerminal(), s.Reap(), _EXEC))

    assert shell.render(plan).count("# No tool") == 3


def test_data_with_a_nul_byte_is_written_whole(tmp_path: os.PathLike[str]) -> None:
    path, data = f"{os.fspath(tmp_path)}/file", b"a\0b\xff'\n\\"
    lines = shell._lines(s.WriteFile(target=path, data=data, mode=0o640), False)
    subprocess.run(["bash", "-euc", "\n".join(lines)], check=True)

    with open(path, "rb") as file:
        assert file.read() == data
    assert os.stat(path).st_mode & 0o777 == 0o640


@pytest.mark.parametrize("many", [False, True])
def test_an_overlay_of_many_layers_goes_by_links(many: bool) -> None:
    lower = tuple(f"/layers/{n:064x}" for n in range(130 if many else 3))
    script = shell.render(s.Plan(steps=(s.MountOverlay(lower=lower, target="/s/root"), _EXEC)))

    assert ("ln -s" in script) == many
    assert max(len(line) for line in script.split("\n") if line[:1] != "#") < 4096


def test_the_script_is_what_bash_takes_for_one() -> None:
    plan = s.Plan(steps=(s.MapIds(uids=((0, 1000, 1),), gids=((0, 1000, 1),)), _EXEC))
    done = subprocess.run(["bash", "-n"], input=shell.render(plan).encode(), capture_output=True)

    assert (done.returncode, done.stderr) == (0, b"")
