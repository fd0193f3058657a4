"""fork and commit of a container with a large upper, beside podman's commit.

A fork is measured in the library, five of one container, the median; beside it one of a container
whose upper has a single small file, for it is to take no longer.  podman has no fork: what it has
for the same wish is commit, and a new container of that.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from image_rows import timed
from measure import figure
from newroot_rows import environment, load, program
from peers import Podman
from rig import Rig

#: Directories of a thousand files of 10 KiB each.
LARGE, LARGE_QUICK = 100, 2
_FORK = """
import sys, time
from newroot import Engine
root, name = sys.argv[1:]
with Engine(root, run_root=root + "/run") as engine:
    for number in range(5):
        path = engine.storage.directory(engine.storage.resolve(name)) + "/upper/more"
        open(path, "a").close()  # else there is nothing to seal
        began = time.perf_counter()
        made = engine.fork(name)
        print((time.perf_counter() - began) * 1000)
        engine.remove_container(made)
"""


def _fill(directories: int) -> list[str]:
    line = (
        "head -c 10240000 /dev/urandom > /b; "
        f"for d in $(seq {directories}); do mkdir -p /u/$d; cd /u/$d; "
        "split -b 10240 -a 3 /b f; done; rm /b"
    )
    return ["/bin/busybox", "sh", "-c", line]


class Large:
    """newroot's store with a container ``large`` and one ``small``."""

    def __init__(self, rig: Rig, quick: bool) -> None:
        self.rig = rig
        self.root = load(rig)
        run = [program("newroot"), "--root", self.root, "--run-root", f"{self.root}/run"]
        self.command = run
        for name, line in (
            ("large", _fill(LARGE_QUICK if quick else LARGE)),
            ("small", ["/bin/busybox", "touch", "/one"]),
        ):
            rig.call([*run, "run", "--name", f"{name}-{quick}", "bench", *line])

    def fork(self, name: str) -> float:
        words = [sys.executable, "-c", _FORK, self.root, name]
        done = subprocess.run(
            words, env={**os.environ, **environment()}, capture_output=True, text=True, check=True
        )
        return statistics.median(map(float, done.stdout.split()))


_large: dict[bool, Large] = {}


def large(rig: Rig, quick: bool) -> Large:
    if quick not in _large:
        _large[quick] = Large(rig, quick)
    return _large[quick]


@figure("branches", "newroot fork, library, small upper", "ms", "one file; a median of five")
def fork_small(rig: Rig, quick: bool) -> float:
    return large(rig, quick).fork(f"small-{quick}")


@figure("branches", "newroot fork, library, large upper", "ms", "100,000 files, 1 GB")
def fork_large(rig: Rig, quick: bool) -> float:
    return large(rig, quick).fork(f"large-{quick}")


@figure("branches", "newroot commit, large upper", "ms", "the same, as an image")
def commit_large(rig: Rig, quick: bool) -> float:
    made = large(rig, quick)
    elapsed = timed(lambda: rig.call([*made.command, "commit", f"large-{quick}", "committed"]))
    rig.call([*made.command, "rmi", "committed"])
    return elapsed


@figure("branches", "podman commit, large upper", "ms", "the same, as an image")
def podman_commit_large(rig: Rig, quick: bool) -> float:
    made = rig.once(Podman)
    made.call("load", "--quiet", "--input", str(Path(rig.archive(1))))
    line = _fill(LARGE_QUICK if quick else LARGE)
    made.call("run", "--network", "none", "--name", f"large-{quick}", "bench:latest", *line)
    elapsed = timed(lambda: made.call("commit", "--quiet", f"large-{quick}", "committed"))
    made.call("rmi", "committed")
    made.call("rm", f"large-{quick}")
    return elapsed
