"""A container's changes, listed, exported and made an image, by the real commands."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from newroot.engine import Engine
from newroot.errors import ImageError, NotFound, StateError
from newroot.testing.needs import needs

pytestmark = needs("root", "overlay", "busybox")

Newroot = Callable[..., str]


@pytest.fixture
def newroot(root: Path, tmp_path: Path, newroot_command: str) -> Newroot:
    # A store of its own: commit writes into it, and the shared one is only read.
    for name in ("images", "layers"):
        shared = os.readlink(root / name)
        (root / name).unlink()
        subprocess.run(["cp", "-a", shared, root / name], check=True)

    def run(*words: str, code: int = 0, **environment: str) -> str:
        done = subprocess.run(
            [newroot_command, "--root", root, "--run-root", tmp_path / "run", *words],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **environment},
        )
        assert code == done.returncode, done.stderr
        return done.stdout + done.stderr

    return run


WORK = (
    "set -e; echo new > /etc/new; rm /etc/group; rm -r /home; mkdir -m 700 /home; echo y > /home/x;"
    "ln /bin/busybox /etc/linked; chmod 4711 /etc/new; mkfifo /etc/fifo; mkdir /data/mine 2>&-;"
    "dd if=/dev/zero of=/sparse bs=1 count=1 seek=8388608 2>&-; mknod /null c 1 3"
)


def test_a_container_becomes_an_image_that_runs_with_its_changes(newroot: Newroot):
    newroot("run", "--name", "cc", "-e", "WHO=me", "-v", "vol:/data", "busybox", "sh", "-c", WORK)
    listed = newroot("diff", "cc").splitlines()
    digest = newroot("commit", "-c", 'CMD ["cat", "/etc/new"]', "-m", "why", "cc", "mine:1").strip()

    assert "A /etc/new" in listed
    assert "D /etc/group" in listed
    assert not [line for line in listed if "/data" in line or "/proc" in line or "hosts" in line]
    assert "new\n" == newroot("run", "--rm", "mine:1")
    probe = "stat -c '%a %h' /etc/new /etc/linked; test -p /etc/fifo && ls -A /home && echo $WHO"
    out = newroot("run", "--rm", "mine:1", "sh", "-c", probe + "; ls /etc/group /data 2>&1; true")
    assert ["4711 1", "755 2", "x", "me", "ls: /etc/group: No such file or directory"] == (
        out.splitlines()[:5]
    )
    facts = json.loads(newroot("image", "inspect", "mine:1"))[0]
    assert (digest, "why", ["mine:1"]) == (facts["Id"], facts["Comment"], facts["RepoTags"])
    assert 2 == len(facts["RootFS"]["Layers"])
    history = newroot("history", "--format", "{ID} {Comment} {size}", "mine:1").splitlines()
    assert history[0].startswith(f"{digest[7:19]} why ")
    assert history[1].startswith("<missing> ")
    assert ["└─ " in line for line in newroot("image", "tree").splitlines()][:2] == [False, True]


def test_the_same_changes_give_the_same_image(newroot: Newroot):
    digests = []
    for name in ("aa", "bb"):
        newroot("run", "--name", name, "busybox", "sh", "-c", "mkdir /x; echo 1 > /x/y")
        digests.append(newroot("commit", name, SOURCE_DATE_EPOCH="1000000000"))

    assert digests[0] == digests[1]


def test_a_container_without_changes_becomes_an_image_too(newroot: Newroot):
    newroot("run", "--name", "cc", "busybox", "true")

    assert "" == newroot("diff", "cc")
    newroot("commit", "cc", "same")
    assert "ok\n" == newroot("run", "--rm", "same", "echo", "ok")


def test_an_export_is_the_whole_root_and_imports_again(newroot: Newroot, tmp_path: Path):
    newroot("run", "--name", "cc", "busybox", "sh", "-c", "echo hi > /etc/hi; rm /etc/group")
    newroot("export", "-o", str(tmp_path / "c.tar"), "cc")
    with tarfile.open(tmp_path / "c.tar") as tar:
        names = tar.getnames()

    assert {"etc/hi", "bin/busybox", "etc/passwd"} <= set(names)
    assert "etc/group" not in names
    assert names == sorted(set(names), key=lambda name: name.split("/"))
    newroot("import", str(tmp_path / "c.tar"), "flat")
    assert "hi\n" == newroot("run", "--rm", "flat", "cat", "/etc/hi")


def test_a_container_that_runs_is_frozen_and_goes_on(newroot: Newroot, root: Path, tmp_path: Path):
    with Engine(root, run_root=str(tmp_path / "run")) as engine:
        process = engine.popen(
            "busybox",
            ["sh", "-c", "echo a > /a; echo; cat"],
            name="cc",
            rm=False,
            upper="disk",
            pids_limit=100,
            stdin=-1,
            stdout=-1,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        assert b"\n" == process.stdout.readline()
        image = engine.commit("cc", "live")
        process.stdin.write(b"still here")
        process.stdin.close()
        assert b"still here" == process.stdout.read()
        assert 0 == process.wait()
        process.close_pipes()

        assert os.path.exists(f"{image.layers[0]}/a")


def test_errors_say_what_is_missing(newroot: Newroot, root: Path, tmp_path: Path):
    with Engine(root, run_root=str(tmp_path / "run")) as engine:
        with pytest.raises(NotFound):
            engine.diff("nobody")
        newroot("run", "--name", "cc", "busybox", "true")
        newroot("run", "--name", "dd", "--rootfs", f"{engine.images.get('busybox').layers[0]}:O",
                "true")  # fmt: skip
        with pytest.raises((StateError, NotFound)):
            engine.diff("dd")
        newroot("rmi", "-f", "busybox")
        with pytest.raises(ImageError, match="not here any more"):
            engine.commit("cc")
        assert [] == engine.diff("cc")
        newroot("rm", "cc", "dd")
        newroot("image", "prune", "-f")

        assert [] == [name for name in os.listdir(engine.images.layers) if name[0] != "."]


def test_prune_leaves_what_a_container_stands_on(newroot: Newroot, root: Path):
    newroot("run", "--name", "cc", "busybox", "sh", "-c", "echo 1 > /x")
    newroot("commit", "cc", "one")
    newroot("run", "--name", "dd", "one", "touch", "/y")
    newroot("commit", "dd", "two")
    newroot("rm", "cc")
    out = newroot("image", "prune", "-a", "-f")

    assert "untagged: two:latest" in out
    assert "Total reclaimed space: " in out
    assert ["one:latest"] == sorted(newroot("images", "--format", "{repository}:{tag}").split())
