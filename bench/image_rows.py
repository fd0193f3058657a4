"""load, save and commit of one image of many files, beside podman's.

Each figure is one call on a store of its own, what it needs prepared outside the clock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from measure import figure
from newroot_rows import program
from peers import Podman
from rig import Rig, write_archive

FILES, FILES_QUICK = 8000, 800
COPY = ("/bin/busybox", "cp", "-a", "/data", "/copy")
_NOTE = "one layer of many small files, some large"


def big(rig: Rig, quick: bool) -> Path:
    """A docker-archive of busybox and many files in /data, called bench:latest."""
    path = rig.dir / f"big-{quick}.tar"
    if not path.exists():
        layer = rig.directory(f"big-{quick}")
        for number in range(FILES_QUICK if quick else FILES):
            directory = layer / f"data/{number % 50}/{number % 7}"
            directory.mkdir(parents=True, exist_ok=True)
            size = 1 << 20 if number % 200 == 0 else 200 + number * 37 % 12_000
            (directory / str(number)).write_bytes(os.urandom(size // 2) + b"text" * (size // 8))
        write_archive(path, [Path(rig.rootfs), layer])
    return path


def timed(action: Callable[[], object]) -> float:
    """Milliseconds that *action* takes."""
    start = time.monotonic_ns()
    action()
    return (time.monotonic_ns() - start) / 1e6


class Newroot:
    """newroot with a store that has the image, and a container that copied its files."""

    def __init__(self, rig: Rig, quick: bool) -> None:
        self.rig = rig
        self.root = str(rig.directory(f"images-{quick}"))
        self.archive = str(big(rig, quick))
        self.call("load", "-q", "-i", self.archive)
        self.call("run", "--name", "copied", "bench", *COPY)

    def call(self, *words: str) -> str:
        return self.rig.call([program("newroot"), "--root", self.root, *words])


_newroot: dict[bool, Newroot] = {}
_podman: dict[bool, Podman] = {}


def newroot(rig: Rig, quick: bool) -> Newroot:
    if quick not in _newroot:
        _newroot[quick] = Newroot(rig, quick)
    return _newroot[quick]


def podman(rig: Rig, quick: bool) -> Podman:
    if quick not in _podman:
        made = rig.once(Podman)
        made.call("load", "--quiet", "--input", str(big(rig, quick)))
        made.call("run", "--network", "none", "--name", "copied", "bench:latest", *COPY)
        _podman[quick] = made
    return _podman[quick]


@figure("images", "newroot load", "ms", _NOTE)
def newroot_load(rig: Rig, quick: bool) -> float:
    archive = str(big(rig, quick))
    # Not removed before the end: see pull.py.
    fresh = str(rig.directory(f"load-{time.monotonic_ns()}"))
    load = [program("newroot"), "--root", fresh, "load", "-q", "-i", archive]
    return timed(lambda: rig.call(load))


@figure("images", "podman load", "ms", _NOTE)
def podman_load(rig: Rig, quick: bool) -> float:
    made = rig.once(Podman)
    now = time.monotonic_ns()
    store = ("--root", str(rig.directory(f"load-podman-{now}")), "--runroot", f"/run/{now}")
    made.call(*store, "images")
    return timed(lambda: made.call(*store, "load", "--quiet", "--input", str(big(rig, quick))))


@figure("images", "newroot save", "ms", "the same, to a docker-archive")
def newroot_save(rig: Rig, quick: bool) -> float:
    made = newroot(rig, quick)
    return timed(lambda: made.call("save", "-o", str(rig.dir / "saved.tar"), "bench"))


@figure("images", "podman save", "ms", "the same, to a docker-archive")
def podman_save(rig: Rig, quick: bool) -> float:
    made = podman(rig, quick)
    out = rig.dir / "saved-podman.tar"
    out.unlink(missing_ok=True)
    return timed(lambda: made.call("save", "--quiet", "-o", str(out), "bench:latest"))


@figure("images", "newroot commit", "ms", "a container that has copied all the files")
def newroot_commit(rig: Rig, quick: bool) -> float:
    made = newroot(rig, quick)
    elapsed = timed(lambda: made.call("commit", "copied", "committed"))
    made.call("rmi", "committed")
    return elapsed


@figure("images", "podman commit", "ms", "a container that has copied all the files")
def podman_commit(rig: Rig, quick: bool) -> float:
    made = podman(rig, quick)
    elapsed = timed(lambda: made.call("commit", "--quiet", "copied", "committed"))
    made.call("rmi", "committed")
    return elapsed
