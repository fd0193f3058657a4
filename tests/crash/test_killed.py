"""kill -9 at any point of a change: what was acknowledged is there, nothing is half visible.

A child does one thing to a store and dies by SIGKILL before the N-th system call by which it would
change a file, in whatever thread.  Others read meanwhile.  Then the doctor looks, reading every
byte, and the same thing done once more succeeds.
"""

from __future__ import annotations

import collections
import contextlib
import io
import os
import random
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dying import calls_of, die_at
from registries.server import serve

from newroot.doctor.check import Patient, examine
from newroot.doctor.table import STORE_CHECKS
from newroot.engine import Engine
from newroot.errors import NewrootError
from newroot.images.archive import load_archive
from newroot.images.flat import import_tar
from newroot.images.store import ImageStore
from newroot.linux.erofs import open_layer
from newroot.testing.archives import Archive
from newroot.testing.needs import missing, needs

CREATED = "2020-01-01T00:00:00Z"


def archive_of(*names: str) -> bytes:
    made = Archive()
    return made.of(*(made.file(name, name.encode() * 3000) for name in names))


class Scene:
    """A store with two images that share a layer, a container, and more in an archive.

    With a registry, at *host*, they are there too.
    """

    def __init__(self, directory: Path, host: str | None = None) -> None:
        self.engine = Engine(directory / "root", run_root=str(directory / "run"))
        self.store = self.engine.images
        import_tar(self.store, io.BytesIO(archive_of("a")), "kept", created=CREATED)
        self._make_container()
        self.engine.commit("c" * 64, "grown")
        other = Engine(directory / "other", run_root=str(directory / "run2"))
        import_tar(other.images, io.BytesIO(archive_of("a")), "kept", created=CREATED)
        import_tar(other.images, io.BytesIO(archive_of("b", "c/d")), "new:1", created=CREATED)
        import_tar(other.images, io.BytesIO(archive_of("e")), "new:2", created=CREATED)
        self.archive = str(directory / "a.tar")
        other.save(["new:1", "new:2", "kept"], self.archive)
        self.pulled = f"{host}/pulled:1"
        if host is not None:
            other.push("new:1", self.pulled, tls_verify=False)

    def _make_container(self) -> None:
        storage = self.engine.storage
        storage.prepare()
        upper = Path(storage.directory("c" * 64), "upper")
        (upper / "made").mkdir(parents=True)
        (upper / "made/file").write_text("x" * 5000)
        lower = list(self.store.get("kept").layers)
        record = {"id": "c" * 64, "lower": lower, "created": 1.0, "source": "kept", "command": []}
        storage.write("c" * 64, "record.json", record)

    def prepare(self, action: Callable[[], None]) -> None:
        """See to it that *action* has something to do."""
        if action in (self.load, self.tag, self.pull):
            self.remove()
        else:
            self.load()
            self.commit()

    # What is done, and killed.

    def load(self) -> None:
        load_archive(self.store, self.archive)

    def commit(self) -> None:
        self.engine.commit("c" * 64, f"committed:{random.randrange(3)}", message=str(time.time()))

    def remove(self) -> None:
        for name in ("new:1", "new:2", "committed:1", "tagged:1", self.pulled):
            with contextlib.suppress(NewrootError):
                self.engine.remove_image(name, force=True)

    def prune(self) -> None:
        self.engine.prune_images()

    def pull(self) -> None:
        self.engine.pull(self.pulled, tls_verify=False)

    def tag(self) -> None:
        self.store.tag("kept", f"tagged:{random.randrange(3)}")


@contextlib.contextmanager
def reader(store: ImageStore, *names: str) -> Iterator[None]:
    """Somebody who lists and opens images all the time, and must never see half of one."""
    stop, child_stop = os.pipe()
    child = os.fork()
    if not child:
        os.close(child_stop)
        code = 1
        try:
            code = _read_until(store, stop, names)
        finally:
            os._exit(code)
    os.close(stop)
    try:
        yield
    finally:
        os.close(child_stop)
        status = os.waitpid(child, 0)[1]
    assert 0 == os.waitstatus_to_exitcode(status), "A READER SAW HALF OF SOMETHING"


def holds_something(layer: str) -> bool:
    fd = open_layer(layer, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return bool(os.listdir(fd))
    finally:
        os.close(fd)


def _read_until(store: ImageStore, stop: int, names: tuple[str, ...]) -> int:
    while True:
        for name in names:
            image = store.get(name)
            if not image.layers or not all(map(holds_something, image.layers)):
                return 2
        store.list()
        # The wait lets the others have the two cores; it reads often enough.
        if select.select([stop], [], [], 0.002)[0]:
            return 0


def wrong(scene: Scene) -> list[str]:
    """What the doctor finds that is not a leftover or an orphan, and what is left after repair."""
    found = list(examine(Patient(scene.engine, fetch=False), STORE_CHECKS))
    bad = [f"{f.check}: {f.words}" for f in found if f.is_wrong]
    serious = [words for words in bad if not words.startswith(("leftovers", "orphans"))]
    if bad:
        repaired = examine(Patient(scene.engine, repair=True, fetch=False), STORE_CHECKS)
        serious += [f"not mended: {f.words}" for f in repaired if f.is_wrong]
    return serious


def kill_often(directory: Path, times: int, host: str | None = None) -> dict[str, int]:
    """How often each action was killed before its end."""
    scene = Scene(directory, host)
    chance = random.Random(f"{os.environ.get('PYTEST_SEED', 'newroot')} {directory.name}")
    actions = [scene.load, scene.commit, scene.remove, scene.prune, scene.tag]
    if host is not None:
        actions.append(scene.pull)
    kinds = ["directories"] if missing("root") or missing("erofs") else ["directories", "erofs"]
    long = {}
    for action in actions:
        scene.prepare(action)
        long[action.__name__] = calls_of(action)
    killed = dict.fromkeys(long, 0)
    with reader(scene.store, "kept", "grown"):
        for turn in range(times):
            action = actions[turn % len(actions)]
            scene.store.layers_as = chance.choice(kinds)
            scene.prepare(action)
            number = chance.randrange(1, long[action.__name__] + 1)
            status = die_at(number, action)
            if os.WIFSIGNALED(status):
                killed[action.__name__] += 1
            else:
                assert 0 == os.waitstatus_to_exitcode(status), f"{action.__name__} failed"
            names = [image.reference for image in scene.store.list() if not image.layers]
            assert [] == names, f"{action.__name__} killed at {number} left a half image"
            if turn % 10 == 9:
                assert [] == wrong(scene), f"after {action.__name__} killed at {number}"
    for action in actions:
        action()
    scene.load()
    assert [] == wrong(scene)
    assert scene.store.get("new:1").layers
    return killed


def test_killed_at_any_point_nothing_is_half_visible(tmp_path: Path):
    killed = kill_often(tmp_path, 60)

    assert all(count >= 3 for count in killed.values()), killed


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs("docker-registry")
def test_killed_at_hundreds_of_points_nothing_is_half_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))  # no credentials, no proxies, no mirrors
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    killed: collections.Counter[str] = collections.Counter()
    with serve(tmp_path / "registry") as server:
        # A prune that is killed each time leaves more and more to look through: new stores.
        for part in range(8):
            killed.update(kill_often(tmp_path / str(part), 48, server.host))

    assert sum(killed.values()) >= 300, killed
    assert killed["pull"] >= 30, killed
