"""Run as a program, in a mount namespace of its own: record a store's life, then play power losses.

    power_loss.py DIRECTORY TIMES

Prints one line for each thing that is wrong, and at last how many power losses were played.
"""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import disk

from newroot.doctor.check import Patient, examine
from newroot.doctor.table import STORE_CHECKS
from newroot.engine import Engine
from newroot.images.archive import load_archive
from newroot.images.flat import import_tar
from newroot.testing.archives import Archive

#: After an operation was acknowledged: how long the log was, names there must be, names that must
#: not.  What is neither may be there or not.
Acknowledged = tuple[int, frozenset[str], frozenset[str]]


def archive_of(*names: str) -> bytes:
    made = Archive()
    return made.of(*(made.file(name, name.encode() * 2000) for name in names))


class Life:
    """What is done to the store on the disk, and what was promised after each thing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.acknowledged: list[Acknowledged] = [(0, frozenset(), frozenset())]
        other = Engine(directory / "other", run_root=str(directory / "run2"))
        import_tar(other.images, io.BytesIO(archive_of("b", "c/d")), "new:1")
        import_tar(other.images, io.BytesIO(archive_of("e", "f")), "new:2")
        other.save(["new:1", "new:2"], directory / "a.tar")

    def run(self, engine: Engine) -> None:
        storage, store = engine.storage, engine.images
        flat = io.BytesIO(archive_of("a", "x/y/z"))
        self.do(lambda: import_tar(store, flat, "first"), there=["first"])
        self.do(lambda: load_archive(store, self.directory / "a.tar"), there=["new:1", "new:2"])
        storage.prepare()
        upper = Path(storage.directory("c" * 64), "upper")
        (upper / "made").mkdir(parents=True)
        (upper / "made/file").write_text("x" * 5000)
        lower = list(store.get("first").layers)
        record = {"id": "c" * 64, "lower": lower, "created": 1.0, "source": "first", "command": []}
        self.do(lambda: storage.write("c" * 64, "record.json", record), there=["container"])
        self.do(lambda: engine.commit("c" * 64, "grown"), there=["grown"])
        self.do(lambda: store.tag("grown", "tagged"), there=["tagged"])
        self.do(lambda: engine.remove_image("new:1"), gone=["new:1"])
        self.do(lambda: load_archive(store, self.directory / "a.tar"), there=["new:1"])
        self.do(lambda: engine.prune_images(all=True), gone=["new:1", "new:2", "grown", "tagged"])

    def do(
        self, action: Callable[[], object], *, there: list[str] = (), gone: list[str] = ()
    ) -> None:  # type: ignore[assignment]
        _, before_there, before_gone = self.acknowledged[-1]
        # While it goes on, what it changes may be either way.
        unsure = frozenset(there) | frozenset(gone)
        at = os.stat(self.directory / "log").st_size
        self.acknowledged.append((at, before_there - unsure, before_gone - unsure))
        action()
        at = os.stat(self.directory / "log").st_size
        now_there = (before_there | frozenset(there)) - frozenset(gone)
        self.acknowledged.append((at, now_there, (before_gone | frozenset(gone)) - now_there))

    def promised(self, at: int) -> tuple[frozenset[str], frozenset[str]]:
        """What was promised when the log was *at* bytes long."""
        _, there, gone = [a for a in self.acknowledged if a[0] <= at][-1]
        return there, gone


def mount(image: Path, target: Path) -> None:
    # commit=300: what is not fsynced stays in memory for as long as it may.
    options = "loop,commit=300,noatime"
    subprocess.run(["mount", "-t", "ext4", "-o", options, image, target], check=True)


def wrong(engine: Engine, there: frozenset[str], gone: frozenset[str]) -> list[str]:
    found = [
        f"{f.check}: {f.words}"
        for f in examine(Patient(engine, fetch=False), STORE_CHECKS)
        if f.is_wrong and f.check not in ("leftovers", "orphans")
    ]
    # A container's directory comes before its record, which is what makes it one.
    found = [words for words in found if "has files and no record" not in words]
    names = {i.reference.rpartition("/")[2].removesuffix(":latest") for i in engine.images.list()}
    names |= {"container"} if engine.containers() else set()
    if missing := there - names:
        found.append(f"acknowledged and lost: {', '.join(sorted(missing))}")
    if back := gone & names:
        found.append(f"acknowledged as removed and back: {', '.join(sorted(back))}")
    return found


def main(directory: Path, times: int) -> int:
    image, log, shown, root = (directory / name for name in ("image", "log", "shown", "root"))
    shown.mkdir()
    root.mkdir()
    log.touch()
    disk.make(image)
    disk.serve(image, log, shown)
    life = Life(directory)
    mount(shown / "disk", root)
    try:
        with Engine(root / "root", run_root=str(directory / "run")) as engine:
            life.run(engine)
    finally:
        # Lazily, for the loop device lets go of the file a moment later.
        subprocess.run(["umount", root], check=True)
        subprocess.run(["umount", "-l", shown], check=True)
    records = disk.read_log(log)
    chance = random.Random("newroot")
    end = max(at for at, _, _ in life.acknowledged)
    points = [i for i in range(1, len(records)) if records[i - 1][0] <= end]
    bad = 0
    for cut in sorted(chance.sample(points, min(times, len(points)))):
        disk.after_power_loss(image, records, cut, chance, directory / "after")
        mount(directory / "after", root)
        try:
            if (root / "root").exists() or cut == len(records):
                engine = Engine(root / "root", run_root=str(directory / f"run-{cut}"))
                for words in wrong(engine, *life.promised(records[cut - 1][0])):
                    print(f"power loss at write {cut} of {len(records)}: {words}")
                    bad += 1
            elif life.promised(records[cut - 1][0])[0]:
                print(f"power loss at write {cut} of {len(records)}: everything is lost")
                bad += 1
        finally:
            subprocess.run(["umount", root], check=True)
    print(f"played {min(times, len(points))} of {len(points)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
