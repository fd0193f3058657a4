"""``newroot try``: what a command would change on the host, looked at, applied, or dropped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from newroot.testing.needs import needs

pytestmark = [needs("root", "overlay"), pytest.mark.timeout(60)]

Newroot = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """A directory on the root's own file system, with something in it."""
    places = [p for p in (str(tmp_path), "/var/tmp", "/root") if os.path.isdir(p)]
    (place, *_) = (p for p in places if os.stat(p).st_dev == os.stat("/").st_dev)
    path = Path(tempfile.mkdtemp(dir=place))
    (path / "kept").write_text("kept\n")
    (path / "gone").write_text("gone\n")
    (path / "dir/deep").mkdir(parents=True)
    (path / "dir/deep/file").write_text("deep\n")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def scratch() -> Iterator[str]:
    path = tempfile.mkdtemp(dir="/dev/shm")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def newroot(newroot_command: str, here: Path, scratch: str) -> Newroot:
    def run(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [newroot_command, *words],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=here,
            env={**os.environ, "NEWROOT_TRY_ROOT": scratch, "WHO": "me"},
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    return run


WORK = (
    "echo new > new; chmod 640 new; echo more >> kept; rm gone; rm -r dir; mkdir dir;"
    "echo x > dir/x; ln -s new link; mkfifo fifo; mkdir -p a/b; chown 7:8 a/b"
)


def tree(path: Path) -> list[str]:
    done = subprocess.run(
        ["find", ".", "-printf", "%p %y %m %U:%G %l\n"],
        cwd=path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted(done.stdout.splitlines())


def changed(stderr: str, here: Path) -> list[str]:
    found = [line.split(" ", 1) for line in stderr.splitlines() if line[:2] in ("A ", "C ", "D ")]
    return [f"{k} {p.removeprefix(f'{here}/')}" for k, p in found if p.startswith(f"{here}/")]


def only_id(newroot: Newroot) -> str:
    code, out, _ = newroot("try", "ls", "--format", "json")
    assert code == 0
    found: str = json.loads(out)["ID"]
    return found


def test_the_host_stays_as_it_is_and_all_is_told(newroot: Newroot, here: Path):
    before = tree(here)
    code, out, err = newroot("try", "--", "sh", "-c", WORK + "; pwd; echo $WHO; exit 3")

    assert (3, f"{here}\nme\n") == (code, out)
    assert before == tree(here)
    assert [
        "A a", "A a/b", "C dir", "D dir/deep", "A dir/x", "A fifo", "D gone", "C kept", "A link",
        "A new",
    ] == changed(err, here)  # fmt: skip
    others = {line for line in err.splitlines() if line[:2] in ("A ", "C ", "D ")}
    parents = {f"C {p}" for p in (here, *here.parents)}
    assert {line for line in others if f" {here}/" not in line} <= parents


def test_applied_the_host_is_as_the_command_left_its_overlay(newroot: Newroot, here: Path):
    twin = here.with_name(here.name + "-twin")
    shutil.copytree(here, twin, symlinks=True)
    try:
        subprocess.run(["sh", "-c", WORK], cwd=twin, check=True)
        code, _, err = newroot("try", "--", "sh", "-c", WORK)
        assert code == 0, err
        assert 0 == newroot("try", "apply", only_id(newroot))[0]

        assert tree(twin) == tree(here)
        assert "kept\nmore\n" == (here / "kept").read_text()
        assert (0, "", "") == newroot("try", "ls", "--format", "json")
        overlay = [k for p in here.rglob("*") if not p.is_symlink() for k in os.listxattr(p)]
        assert [] == [key for key in overlay if "overlay" in key]
    finally:
        shutil.rmtree(twin)


def test_applied_at_once_only_if_it_ended_well(newroot: Newroot, here: Path):
    assert 1 == newroot("try", "--apply", "--", "sh", "-c", "echo bad > bad; exit 1")[0]
    assert not (here / "bad").exists()
    assert 0 == newroot("try", "--apply", "--", "sh", "-c", "echo good > good")[0]
    assert "good\n" == (here / "good").read_text()


@pytest.mark.parametrize("line", ["echo mine >> kept", "rm kept", "rm kept; mkdir kept"])
def test_what_the_host_changed_meanwhile_is_not_written_over(
    newroot: Newroot, here: Path, line: str
):
    assert 0 == newroot("try", "--", "sh", "-c", f"{line}; echo other > other")[0]
    (here / "kept").write_text("the host's\n")
    code, _, err = newroot("try", "apply", only_id(newroot))

    assert 125 == code
    assert f"changed there meanwhile: {here}/kept" in err
    assert "the host's\n" == (here / "kept").read_text()
    assert not (here / "other").exists()


def test_what_the_host_made_meanwhile_is_not_written_over(newroot: Newroot, here: Path):
    assert 0 == newroot("try", "--", "sh", "-c", "echo mine > new")[0]
    (here / "new").write_text("the host's\n")

    assert 125 == newroot("try", "apply", only_id(newroot))[0]
    assert "the host's\n" == (here / "new").read_text()


def test_a_link_in_the_way_leads_nobody_out(newroot: Newroot, here: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    assert 0 == newroot("try", "--", "sh", "-c", "echo bad > dir/bad")[0]
    shutil.rmtree(here / "dir")
    (here / "dir").symlink_to(outside)

    assert 0 != newroot("try", "apply", only_id(newroot))[0]
    assert [] == os.listdir(outside), "A LINK LED OUT OF THE TREE"


def test_dropped_it_is_as_if_it_had_never_been(newroot: Newroot, here: Path, scratch: str):
    assert 0 == newroot("try", "--", "sh", "-c", WORK)[0]
    assert 0 == newroot("try", "drop", only_id(newroot))[0]

    assert (0, "", "") == newroot("try", "ls", "--format", "json")
    assert [] == os.listdir(f"{scratch}/containers")


def test_what_changes_nothing_leaves_nothing(newroot: Newroot):
    code, out, err = newroot("try", "cat", "kept")

    assert (0, "kept\n") == (code, out)
    assert "nothing was changed" in err
    assert (0, "", "") == newroot("try", "ls", "--format", "json")


def test_a_scratch_on_the_roots_own_file_system_is_refused(newroot: Newroot, here: Path):
    code, _, err = newroot("try", "--scratch", str(here), "true")

    assert 125 == code
    assert "on the root's own file system" in err
