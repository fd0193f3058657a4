"""Chaos: many do everything at once, and are killed at it; afterwards nothing is wrong.

Eight processes work on one root, each with its own engine, each doing whatever comes next by its
seed; meanwhile one of ours is killed every so often: a worker, a monitor, a launcher, whatever
works at the root.  What they were told is done must be there: volumes with what was put into them,
images with their layers, containers in a state that there is, and roots of which each is one that
somebody made.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import newroot
from newroot.container.lifecycle import wait_until_it_ends
from newroot.doctor.check import Patient, examine
from newroot.doctor.table import STORE_CHECKS
from newroot.engine import Engine
from newroot.errors import NewrootError
from newroot.images.bootstrap import bootstrap_busybox
from newroot.linux.merged import MergedView
from newroot.testing.needs import needs
from newroot.testing.roots import find_busybox

pytestmark = needs("root", "overlay", "busybox")

WORKERS = 8
NAMES = [f"box-{number}" for number in range(4)]
VOLUMES = [f"vol-{number}" for number in range(3)]
STATES = {"created", "running", "paused", "restarting", "exited"}
PACKAGE = str(Path(newroot.__file__).parent.parent)

#: One generation more, whole: whoever reads finds as many lines in both, or one more in the first.
GROW = "echo x >> /grown; cp /grown /t && mv /t /copy; echo {0} > /vol/{0}; sync"


class Worker:
    """One that does whatever comes next.  What fails for a reason is part of it."""

    def __init__(self, root: str, run_root: str, seed: str, count: int) -> None:
        self.engine = Engine(root, run_root=run_root)
        self.chance = random.Random(seed)
        self.seed = seed
        self.count = count

    def work(self) -> None:
        doings = [
            self.create, self.create, self.run, self.start, self.start, self.stop, self.kill,
            self.remove, self.volume, self.look, self.diff,
            self.exec, self.fork, self.fork, self.snapshot, self.snapshot, self.rollback,
            self.rollback, self.forget, self.flatten, self.commit,
        ]  # fmt: skip
        for number in range(self.count):
            doing = self.chance.choice(doings)
            self.mark = f"{self.seed}.{number}"
            began = time.monotonic()
            try:
                doing()
            except NewrootError as error:
                outcome = f"{type(error).__name__}: {error}"
            except OSError as error:  # a launcher or a monitor was killed under it
                outcome = f"{type(error).__name__}: {error}"
            else:
                outcome = "done"
            took = time.monotonic() - began
            print(f"{self.mark} {doing.__name__} {took:.2f} {outcome}"[:300], flush=True)

    def name(self) -> str:
        return self.chance.choice(NAMES)

    def create(self) -> None:
        restart = self.chance.choice(["no", "no", "always", "on-failure:2"])
        line = GROW.format(self.mark) + self.chance.choice(["", "; exec sleep 1000", "; exit 3"])
        self.engine.create(
            "busybox",
            ["sh", "-c", line],
            name=self.name(),
            restart=restart,
            volumes=[f"{self.chance.choice(VOLUMES)}:/vol"],
        )

    def run(self) -> None:
        self.engine.run("busybox", ["true"], timeout=30)

    def start(self) -> None:
        self.engine.start(self.name())

    def stop(self) -> None:
        self.engine.stop(self.name(), timeout=0.2)

    def kill(self) -> None:
        self.engine.kill(self.name())

    def remove(self) -> None:
        self.engine.remove_container(self.name(), force=self.chance.random() < 0.5)

    def exec(self) -> None:
        self.engine.exec(self.name(), ["sh", "-c", "cat /copy"], timeout=30)

    def fork(self) -> None:
        self.engine.fork(self.name(), self.name(), start=self.chance.random() < 0.5)

    def snapshot(self) -> None:
        self.engine.snapshot(self.name(), self.chance.choice(["a", "b", None]))

    def rollback(self) -> None:
        self.engine.rollback(self.name(), self.chance.choice(["a", "b", "1"]))

    def forget(self) -> None:
        self.engine.remove_snapshot(self.name(), self.chance.choice(["a", "b", "1"]))

    def flatten(self) -> None:
        self.engine.flatten(self.name())

    def commit(self) -> None:
        name = f"made:{self.chance.randrange(3)}"
        self.engine.commit(self.name(), name)
        print(f"IMAGE {name}", flush=True)

    def volume(self) -> None:
        name = self.chance.choice(VOLUMES)
        volume = self.engine.volumes.create(name)
        path = Path(volume.mountpoint, self.mark)
        path.write_text(self.mark)
        print(f"VOLUME {path}", flush=True)

    def look(self) -> None:
        for container in self.engine.containers():
            assert container.status in STATES, container
        self.engine.snapshots()

    def diff(self) -> None:
        self.engine.diff(self.name())


class Reign:
    """The workers, and whoever kills."""

    def __init__(self, directory: Path, seed: str, operations: int) -> None:
        self.root, self.run_root = str(directory / "root"), str(directory / "run")
        self.engine = Engine(self.root, run_root=self.run_root)
        bootstrap_busybox(self.engine.images, "busybox", find_busybox())
        for number, name in enumerate(NAMES):
            line = GROW.format(f"first-{number}") + "; exec sleep 1000"
            volume = f"{VOLUMES[number % len(VOLUMES)]}:/vol"
            self.engine.create("busybox", ["sh", "-c", line], name=name, volumes=[volume])
        self.seed = seed
        self.chance = random.Random(seed)
        self.each = operations // WORKERS + 8
        self.said: list[str] = []
        self.killed = 0
        self.turn = 0

    def begin(self) -> subprocess.Popen[str]:
        self.turn += 1
        words = [self.root, self.run_root, f"{self.seed}-{self.turn}", str(self.each)]
        return subprocess.Popen(
            [sys.executable, __file__, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": PACKAGE, "NEWROOT_SNAPSHOT_DEPTH": "4"},
        )

    def rule(self, operations: int) -> None:
        """Until so many were done, and a worker that was killed has another in its place."""
        workers = [self.begin() for _ in range(WORKERS)]
        done = 0
        try:
            while done < operations:
                streams = {w.stdout: w for w in workers}
                ready, _, _ = select.select(list(streams), [], [], 30)
                assert ready, "NOBODY HAS DONE ANYTHING FOR 30 SECONDS\n" + self.last_words()
                for stream in ready:
                    line = stream.readline()
                    if line:
                        self.said.append(line.rstrip())
                        done += " NotFound: " not in line and line[:5] not in ("IMAGE", "VOLUM")
                        if self.chance.random() < 0.08:
                            self.kill_somebody(workers)
                        continue
                    worker = streams[stream]
                    code = worker.wait()
                    stream.close()
                    assert code in (0, -9), self.last_words()
                    workers[workers.index(worker)] = self.begin()
        finally:
            for worker in workers:
                worker.kill()
                assert worker.stdout is not None
                worker.stdout.close()
                worker.wait()

    def kill_somebody(self, workers: list[subprocess.Popen[str]]) -> None:
        ours = [*(w.pid for w in workers), *self.of_this_root()]
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.chance.choice(ours), signal.SIGKILL)
            self.killed += 1

    def of_this_root(self) -> Iterator[int]:
        """Monitors: the parents of the first processes of the containers here."""
        for container_id in self.engine.storage.ids():
            state = self.engine.storage.state(container_id)
            if isinstance(pid := state.get("pid"), int):
                with contextlib.suppress(OSError):
                    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    parent = int(stat[1])
                    if int(stat[19]) == state["startTicks"] and parent > 1:
                        yield parent

    def last_words(self) -> str:
        return "\n".join(self.said[-40:])


def judge(reign: Reign) -> None:
    """Nothing is wrong."""
    engine = Engine(reign.root, run_root=reign.run_root)
    words = reign.last_words()
    for container in engine.containers():
        engine.kill(container.id) if container.is_up else None
    for container in engine.containers():
        wait_until_it_ends(engine.storage, container.id)
    for line in reign.said:
        kind, _, what = line.partition(" ")
        if kind == "VOLUME":
            assert Path(what).read_text() == Path(what).name, f"LOST: {what}\n{words}"
        if kind == "IMAGE":
            assert engine.images.get(what).layers, f"LOST: {what}\n{words}"
    # A removal or creation that was killed half-way is finished or undone by whoever comes next.
    engine._sweep()
    for container in engine.containers():
        assert engine.container(container.id).status in ("created", "exited"), words
        upper = f"{engine.storage.directory(container.id)}/upper"
        engine.diff(container.id) if os.path.isdir(upper) else None
        grown, copy = read_both(upper, engine.container(container.id).lower)
        assert grown.strip("x\n") == copy.strip("x\n") == ""
        assert len(grown) - len(copy) in (0, 2, 4), f"{container}: {grown!r} {copy!r}\n{words}"
    found = list(examine(Patient(engine, repair=True, fetch=False), STORE_CHECKS))
    wrong = [f"{f.check}: {f.words}" for f in found if f.is_wrong]
    assert [] == wrong, words
    again = list(examine(Patient(engine, fetch=False), STORE_CHECKS))
    assert [] == [f"{f.check}: {f.words}" for f in again if f.state != "note"], words
    for container in engine.containers():
        engine.remove_container(container.id, force=True)
    assert [] == engine.storage.ids()
    assert [] == os.listdir(f"{engine.root}/snapshots")
    assert [] == os.listdir(f"{engine.root}/names")


def read_both(upper: str, lower: tuple[str, ...]) -> tuple[str, str]:
    layers = (upper, *lower) if os.path.isdir(upper) else lower
    with MergedView(layers) as view:
        return tuple((view.read(path) or b"").decode() for path in ("/grown", "/copy"))  # type: ignore[return-value]


def chaos(directory: Path, seed: str, operations: int) -> Reign:
    reign = Reign(directory, seed, operations)
    try:
        reign.rule(operations)
        judge(reign)
    finally:
        with Engine(reign.root, run_root=reign.run_root) as engine:
            for container in engine.containers():
                with contextlib.suppress(NewrootError):
                    engine.remove_container(container.id, force=True)
    return reign


@pytest.mark.timeout(180)
def test_a_little_chaos_leaves_nothing_wrong(tmp_path: Path):
    reign = chaos(tmp_path, os.environ.get("PYTEST_SEED", "newroot"), 60)

    assert reign.killed >= 1
    assert sum(line.endswith(" done") for line in reign.said) >= 15, reign.last_words()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", ["one", "two"])
def test_five_hundred_doings_and_many_killed_leave_nothing_wrong(tmp_path: Path, seed: str):
    reign = chaos(tmp_path, os.environ.get("PYTEST_SEED", seed), 500)

    print(reign.killed, "killed,", sum(line.endswith(" done") for line in reign.said), "done")
    assert reign.killed >= 20


if __name__ == "__main__":
    Worker(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])).work()
