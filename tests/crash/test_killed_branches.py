"""kill -9 at any point of a fork, a snapshot, a rollback: either before or after, nothing between.

As in test_killed.py: a child dies before the N-th system call by which it would change a file.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from dying import calls_of, die_at

from newroot.container.snapshots import SnapshotStore
from newroot.doctor.check import Patient, examine
from newroot.doctor.table import STORE_CHECKS
from newroot.engine import Engine
from newroot.errors import NewrootError
from newroot.images.flat import import_tar
from newroot.linux.merged import MergedView
from newroot.testing.archives import Archive


class Grove:
    """A container of three states, each a snapshot but the last, and what can be done to it."""

    def __init__(self, directory: Path) -> None:
        self.engine = Engine(directory / "root", run_root=str(directory / "run"))
        made = Archive()
        archive = made.of(made.file("a", b"a" * 3000))
        import_tar(self.engine.images, io.BytesIO(archive), "image")
        self.id = self.engine.create("image", ["x"], name="aa")
        self.upper = Path(self.engine.storage.directory(self.id), "upper")
        self.upper.mkdir()
        for state in ("one", "two", "three"):
            self.write(state)
            self.engine.snapshot("aa", state)
        self.number = 0

    def write(self, state: str) -> None:
        (self.upper / "state").write_text(state)
        (self.upper / state).mkdir(exist_ok=True)

    def prepare(self, action: Callable[[], None]) -> None:
        """Something to be lost, written since the last snapshot; and something to be removed."""
        self.number += 1
        with contextlib.suppress(NewrootError):
            self.engine.remove_snapshot("aa", "new")
        if action == self.forget:
            self.snapshot()
        if action == self.prune:
            self.fork()
        self.write(f"state-{self.number}")

    def state(self, name: str = "aa") -> str:
        self.engine.diff(name)  # a reader sees it whole
        found = self.engine.container(name)
        upper = f"{self.engine.storage.directory(found.id)}/upper"
        with MergedView((upper, *found.lower)) as view:
            data = view.read("/state")
            assert view.read("/a") == b"a" * 3000
            assert data is not None
            assert view.exists(f"/{data.decode()}")
        return data.decode()

    # What is done, and killed.

    def fork(self) -> None:
        self.engine.fork("aa")

    def snapshot(self) -> None:
        self.engine.snapshot("aa", "new")

    def rollback(self) -> None:
        self.engine.rollback("aa", "two")

    def flatten(self) -> None:
        self.engine.flatten("aa")

    def forget(self) -> None:
        with contextlib.suppress(NewrootError):
            self.engine.remove_snapshot("aa", "new")

    def prune(self) -> None:
        for container in self.engine.containers():
            if container.name != "aa":
                self.engine.remove_container(container.id)


def kill_often(directory: Path, times: int) -> dict[str, int]:
    grove = Grove(directory)
    chance = random.Random(os.environ.get("PYTEST_SEED", "newroot"))
    actions: list[Callable[[], None]] = [
        grove.fork, grove.snapshot, grove.rollback, grove.flatten, grove.forget, grove.prune,
    ]  # fmt: skip
    long = {}
    for action in actions:
        grove.prepare(action)
        long[action.__name__] = calls_of(action)
    killed = dict.fromkeys(long, 0)
    for turn in range(times):
        action = actions[turn % len(actions)]
        grove.prepare(action)
        before = grove.state()
        where = chance.randrange(1, long[action.__name__] + 1)
        status = die_at(where, action)
        if os.WIFSIGNALED(status):
            assert signal.SIGKILL == os.WTERMSIG(status)
            killed[action.__name__] += 1
        else:
            assert 0 == os.waitstatus_to_exitcode(status), f"{action.__name__} failed"
        after = "two" if action == grove.rollback else before
        # Nobody tidies up first: a reader, and then whoever starts it.
        now = grove.state()
        assert now in (before, after), f"{action.__name__} killed at {where}"
        look_through(grove, f"{action.__name__} killed at {where}")
        if turn % 10 == 9:
            grove.prune()
            for tag in ("one", "two", "three"):
                grove.engine.rollback("aa", tag)
                assert tag == grove.state(), f"after {action.__name__} killed at {where}"
    return killed


def look_through(grove: Grove, after: str) -> None:
    """Whatever container there is can be read, and the doctor leaves nothing."""
    for container in grove.engine.containers():
        assert grove.state(container.id), after
    repaired = Patient(grove.engine, repair=True, fetch=False, quick=True)
    assert [] == [f.words for f in examine(repaired, STORE_CHECKS) if f.is_wrong], after
    assert [] == [f.words for f in examine(repaired, STORE_CHECKS) if f.state != "note"], after
    store = SnapshotStore(grove.engine.root)
    assert all(os.path.isdir(store.path(each)) for each in store.ids()), after


def test_killed_at_any_point_a_branch_is_there_or_not(tmp_path: Path):
    killed = kill_often(tmp_path, 120)

    assert all(count >= 5 for count in killed.values()), killed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_hundreds_of_points_a_branch_is_there_or_not(tmp_path: Path):
    killed = kill_often(tmp_path, 900)

    assert sum(killed.values()) >= 400, killed
