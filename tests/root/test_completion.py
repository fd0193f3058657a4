"""Completion: what may come next, and the same in real shells."""

from __future__ import annotations

import os
import pty
import select
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from newroot.cli.complete import complete
from newroot.engine import Engine
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]


@pytest.fixture
def home(engine: Engine, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A root with containers, a volume and an image to be named."""
    ids = [engine.create("busybox", ["true"], name=name) for name in ("web-one", "web-two")]
    ids.append(engine.create("busybox", ["true"]))
    engine.volumes.create("data")
    engine.volumes.create("dump")
    monkeypatch.setenv("NEWROOT_ROOT", str(root))
    yield root
    for container_id in ids:
        engine.remove_container(container_id)


def offered(*words: str) -> list[str]:
    return [value for value, _ in complete(list(words))[0]]


def test_verbs_and_their_second_words() -> None:
    assert {"run", "volume", "container", "image", "completion"} <= set(offered(""))
    assert offered("vol") == ["volume"]
    assert {"create", "ls", "rm", "prune", "import"} <= set(offered("volume", ""))
    assert offered("--root", "/x", "volume", "insp") == ["inspect"]
    assert "busybox" in offered("image", "bootstrap", "")
    assert offered("nonsense", "") == []
    assert offered("completion", "") == ["bash", "fish", "zsh"]


def test_flags_and_their_values() -> None:
    assert {"--volume", "--help", "--root"} <= set(offered("run", "--"))
    assert offered("run", "--pul") == ["--pull"]
    assert offered("run", "--pull", "") == ["always", "missing", "never"]
    assert offered("run", "--pull=al") == ["--pull=always"]
    assert "SYS_ADMIN" in offered("run", "--cap-add", "SYS")
    assert offered("kill", "-s", "TER") == ["TERM"]
    assert complete(["run", "--env-file", ""]) == ([], "file")
    assert complete(["run", "-v", "/ho"]) == ([], "file")
    assert complete(["run", "busybox", "--"]) == ([], "")  # the command's own


def test_names(home: Path) -> None:
    assert offered("start", "web-") == ["web-one", "web-two"]
    assert len(offered("rm", "")) == 3
    assert offered("volume", "rm", "d") == ["data", "dump"]
    assert offered("volume", "rm", "data", "du") == ["dump"]
    assert offered("run", "-it", "busy") == ["busybox:latest"]
    assert offered("run", "-v", "da") == ["data"]
    assert offered("exec", "-u", "x", "web-o") == ["web-one"]
    assert complete(["cp", "web-o"]) == (
        [("web-one:", offered_id(home, "web-one"))],
        "nospace file",
    )
    assert complete(["cp", "web-one:/e"]) == ([], "file")
    assert offered("--root", "/nowhere", "start", "") == []
    assert offered("--root", "/nowhere", "run", "") == []
    (home / "networks").mkdir()
    (home / "networks/inner.json").write_text("{}")
    assert offered("network", "rm", "") == ["inner"]


def offered_id(home: Path, name: str) -> str:
    return os.readlink(home / "names" / name)[:12]


def test_it_says_nothing_of_what_goes_wrong(newroot_command: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/index.json").write_text("{")
    done = subprocess.run(
        [newroot_command, "__complete", "--root", tmp_path, "run", ""],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, ":\n", "")


LINES = [
    ("newroot vol", ["volume"]),
    ("newroot volume rm d", ["data", "dump"]),
    ("newroot start web-o", ["web-one"]),
    ("newroot run --pull al", ["always"]),
    ("newroot run --rea", ["--read-only"]),
    ("newroot run busy", ["busybox:latest"]),
]


@pytest.mark.parametrize(("line", "wanted"), LINES)
def test_bash(home: Path, newroot_command: str, line: str, wanted: list[str]) -> None:
    script = f"""
        PATH={shlex.quote(os.path.dirname(newroot_command))}:$PATH
        source <(newroot completion bash)
        COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
        _newroot
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=30
    )

    assert (done.stdout.split(), done.stderr) == (wanted, "")


def test_bash_answers_with_what_follows_the_last_colon(home: Path, newroot_command: str) -> None:
    line = "newroot run busybox:la"
    script = f"""
        PATH={shlex.quote(os.path.dirname(newroot_command))}:$PATH
        source <(newroot completion bash)
        COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
        _newroot
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", script], stdout=subprocess.PIPE, text=True)

    assert done.stdout == "latest\n"


@pytest.mark.parametrize(("line", "wanted"), LINES)
@needs("fish")
def test_fish(
    home: Path, newroot_command: str, tmp_path: Path, line: str, wanted: list[str]
) -> None:
    script = (
        f"set -x PATH {shlex.quote(os.path.dirname(newroot_command))} $PATH; "
        f"newroot completion fish | source; complete -C {shlex.quote(line)}"
    )
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], capture_output=True, text=True, timeout=30,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip

    assert [row.split("\t")[0] for row in done.stdout.splitlines()] == wanted, done.stderr


def shown(said: str) -> str:
    """What stands on a terminal of one endless line: a backspace goes back and takes nothing."""
    cells: list[str] = []
    at = 0
    for character in said.replace("\r", ""):
        if character == "\b":
            at = max(at - 1, 0)
        else:
            cells[at : at + 1] = [character]
            at += 1
    return "".join(cells)


class Zsh:
    """A shell at a terminal: completion is part of its line editor."""

    def __init__(self, program: str, directory: Path) -> None:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.environ.update(HOME=str(directory), PS1="", TERM="dumb", LISTMAX="0")
            os.environ["PATH"] = f"{os.path.dirname(program)}:{os.environ['PATH']}"
            os.execvp("zsh", ["zsh", "-f", "-i"])
        self.said = ""
        self.type("PROMPT=''; autoload -U compinit; compinit -u -D; echo rea''dy\n", "ready")
        self.type("source <(newroot completion zsh); echo load''ed\n", "loaded")

    def type(self, text: str, until: str) -> str:
        """Type *text*; what is said, at last *until*."""
        self.said = ""
        os.write(self._fd, text.encode())
        end = time.monotonic() + 20
        while until not in shown(self.said):
            ready, _, _ = select.select([self._fd], [], [], max(end - time.monotonic(), 0))
            assert ready, f"no {until!r} in {self.said!r}"
            self.said += os.read(self._fd, 4096).decode()
        return self.said

    def close(self) -> None:
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)
        os.close(self._fd)


@pytest.fixture
def zsh(home: Path, newroot_command: str, tmp_path: Path) -> Iterator[Zsh]:
    shell = Zsh(newroot_command, tmp_path)
    yield shell
    shell.close()


@needs("zsh")
def test_zsh(zsh: Zsh) -> None:
    for line, wanted in LINES:
        if len(wanted) == 1:
            # One candidate is put into the line; the word after it shows where it ended.
            typed = line.removeprefix("newroot ")
            expected = " ".join([*typed.split()[:-1], wanted[0]])
            zsh.type(f"newroot {typed}\tEND", f"newroot {expected} END")
            zsh.type("\x15", "")
    both = zsh.type("newroot volume rm d\t\t", "dump")
    assert "data" in both
