"""``newroot`` as its users meet it: what it prints where, and its exit code."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import newroot
from newroot.cli import main as main_module
from newroot.cli.failures import exit_code
from newroot.cli.main import main
from newroot.errors import ImageError, NewrootError, StepError

SOURCE = str(Path(newroot.__file__).parent.parent)


def _newroot(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    return subprocess.run(
        [sys.executable, "-m", "newroot.cli.main", *words],
        capture_output=True,
        text=True,
        env=environment,
        **more,  # type: ignore[call-overload]
    )


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


@pytest.mark.parametrize(
    ("words", "first", "second"),
    [
        (["rnu", "x"], "unknown verb 'rnu'", "hint: did you mean newroot run?"),
        (["volume", "prine"], "unknown verb 'volume prine'", "hint: did you mean newroot volume "),
        (["vlume"], "unknown verb 'vlume'", "hint: did you mean newroot volume?"),
        (["xyzzy"], "unknown verb 'xyzzy'", "hint: see newroot --help"),
        (["--rot", "x"], "unknown flag --rot", "hint: did you mean --root?"),
        (["run", "--volum", "a"], "unknown flag --volum", "hint: did you mean --volume?"),
        (["run"], "newroot run needs an image", "hint: newroot run IMAGE"),
        (["run", "-m", "1k", "x"], "memory limit '1k' is below the least allowed, 6m", ""),
        (["volume", "rm"], "newroot volume rm needs VOLUME", "hint: usage: newroot volume rm "),
        (["--root", "", "volume", "ls"], "--root needs a directory", ""),
    ],
)
def test_a_wrong_call_is_one_line_and_a_hint_on_stderr_and_125(
    capsys: pytest.CaptureFixture[str], words: list[str], first: str, second: str
) -> None:
    code = main(words)
    lines = _lines(capsys)

    assert code == 125
    assert lines[0] == f"newroot: {first}"
    assert len(lines) == (2 if second else 1)
    assert "".join(lines[1:]).startswith(second)


def test_help_goes_to_stdout_when_asked_for_and_to_stderr_when_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (["--help"], ["-h"], ["help"], ["--help", "run"], ["run", "--help"]):
        assert main(words) == 0
        assert capsys.readouterr().out.startswith("Usage:  newroot")
    for words in (["volume", "--help"], ["help", "volume"], ["help", "volume", "rm"]):
        assert main(words) == 0
        assert capsys.readouterr().out.startswith("Usage:  newroot volume")
    for words in ([], ["volume"]):
        assert main(words) == 0
        assert capsys.readouterr().err.startswith("Usage:  newroot")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("newroot ")
    assert main(["version"]) == 0
    assert "Kernel: " in capsys.readouterr().out


def test_global_flags_stand_before_the_verb_or_after_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["--root", str(tmp_path), "volume", "create", "one"]) == 0
    assert main(["volume", "create", "two", f"--root={tmp_path}"]) == 0
    capsys.readouterr()
    main(["--root", "/nonexistent", "volume", "ls", "-q", "--root", str(tmp_path)])

    assert capsys.readouterr().out == "one\ntwo\n"


def test_the_root_may_be_named_by_the_environment(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEWROOT_ROOT", str(tmp_path))
    main(["volume", "create", "here"])

    assert os.listdir(tmp_path / "volumes") == ["here"]


@pytest.mark.parametrize(
    "words", [["--debug", "volume", "rm", "no"], ["volume", "rm", "--debug", "no"]]
)
def test_a_traceback_is_shown_with_debug_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str]
) -> None:
    root = f"--root={tmp_path}"
    main([root, *words])
    with_debug = _lines(capsys)
    main([root, *(word for word in words if word != "--debug")])
    without = _lines(capsys)

    assert with_debug[0].startswith("Traceback")
    assert with_debug[-2:] == without == ["newroot: no volume no", without[1]]


def test_an_os_error_is_words_not_a_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    assert main(["--root", str(tmp_path / "file"), "volume", "create", "x1"]) == 125
    assert _lines(capsys) == [f"newroot: Not a directory (ENOTDIR), on {tmp_path}/file/volumes"]


def test_a_bug_is_owned(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise KeyError("surprise")

    monkeypatch.setattr(main_module, "_dispatch", broken)

    assert main([]) == 125
    assert _lines(capsys)[0] == "newroot: this should never happen: KeyError: 'surprise'"


def test_ctrl_c_is_130_and_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "_dispatch", interrupted)

    assert main([]) == 130
    assert _lines(capsys) == []


def test_control_characters_of_a_stranger_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main(["--root", str(tmp_path), "volume", "rm", "a\x1b[31m\nnewroot: ok"])

    error = capsys.readouterr().err
    assert "\x1b" not in error
    assert [line.split(":")[0] for line in error.splitlines()] == ["newroot", "hint"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "newroot.cli.main", "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": SOURCE},
    )
    os.close(write)

    assert (done.returncode, done.stderr) == (141, b"")


def test_closed_standard_streams_are_no_traceback() -> None:
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        command = f'exec "$0" -m newroot.cli.main volume rm no-such {closed}'
        done = subprocess.run(
            ["sh", "-c", command, sys.executable],
            capture_output=True,
            env={"PYTHONPATH": SOURCE, "NEWROOT_ROOT": "/nonexistent"},
        )

        assert done.returncode == 125
        assert b"Traceback" not in done.stderr


def test_the_module_runs_as_a_program() -> None:
    done = _newroot("volume", "nope")

    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("newroot: unknown verb 'volume nope'\nhint: ")


def _step(step: str, number: int) -> StepError:
    return StepError("", errno=number, step=step, index=1, total=1)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (_step("execute /bin/nope", errno.ENOENT), 127),
        (_step("execute /etc", errno.EACCES), 126),
        (_step("execute /etc/passwd", errno.ENOEXEC), 126),
        (_step("mount proc on /proc", errno.ENOENT), 125),
        (ImageError("x"), 125),
        (NewrootError("x"), 125),
    ],
)
def test_exit_codes_are_docker_s(error: NewrootError, code: int) -> None:
    assert exit_code(error) == code
