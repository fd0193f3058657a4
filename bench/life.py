"""Containers that stay, beside podman's and docker's: exec, run -d, ps among many, the log.

Whole commands, by the clock; what a row needs is prepared outside it.  The memory of what keeps a
container is in scale.py.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import newroot_rows
from measure import figure, row
from peers import PROCESS, Docker, Podman
from rig import Resident, Rig

Call = Callable[..., str]

MANY, MANY_QUICK = 1000, 100
LOG_BYTES, LOG_BYTES_QUICK = 200 << 20, 20 << 20
_STAYS = ("run", "-d", "--network", "none", "--name", "stays", "bench:latest", "sleep", "1000000")
_EXEC = ("exec", "stays", "/bin/true")
_DETACHED = ("run", "-d", "--rm", "--network", "none", "bench:latest", "/bin/true")
_LINES = "yes 'sixty-three letters, which is a usual length of a line of a log' | head -c"


class Newroot:
    """newroot on a root of its own that has the image."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.root = rig.once(newroot_rows.load_one)
        self.prefix = [newroot_rows.program("newroot"), "--root", self.root]

    def call(self, *arguments: str) -> str:
        return self.rig.call([*self.prefix, *arguments])

    def time(self, *arguments: str) -> Resident:
        return self.rig.start(self.rig.stopwatch(*self.prefix, *arguments))


Engine = Newroot | Podman | Docker


def beside_one_that_stays(rig: Rig, make: Callable[[Rig], Engine]) -> Resident:
    engine = rig.once(make)
    engine.call(*_STAYS)
    rig.undo.callback(_quietly, engine.call, "rm", "-f", "stays")
    return engine.time(*_EXEC)


def _quietly(call: Call, *words: str) -> None:
    try:
        call(*words)
    except Exception:  # its daemon may have ended before
        pass


@row("exec", "newroot exec", PROCESS, "true in a container that runs")
def newroot_exec(rig: Rig) -> Resident:
    return beside_one_that_stays(rig, Newroot)


@row("exec", "podman exec", PROCESS, "the same, by conmon and runc")
def podman_exec(rig: Rig) -> Resident:
    return beside_one_that_stays(rig, Podman)


@row("exec", "docker exec", PROCESS, "the same, by dockerd, containerd and runc")
def docker_exec(rig: Rig) -> Resident:
    return beside_one_that_stays(rig, Docker)


@row("run -d", "newroot run -d", PROCESS, "until the ID is printed; --rm, so it goes by itself")
def newroot_detached(rig: Rig) -> Resident:
    return rig.once(Newroot).time(*_DETACHED)


@row("run -d", "podman run -d", PROCESS, "the same, by conmon and runc")
def podman_detached(rig: Rig) -> Resident:
    return rig.once(Podman).time(*_DETACHED)


@row("run -d", "docker run -d", PROCESS, "the same, by dockerd, containerd, shim and runc")
def docker_detached(rig: Rig) -> Resident:
    return rig.once(Docker).time(*_DETACHED)


# ---- ps among many ------------------------------------------------------------------------------


def milliseconds(action: Callable[[], object], times: int) -> float:
    """The median of so many."""
    found = []
    for _ in range(times):
        start = time.monotonic_ns()
        action()
        found.append((time.monotonic_ns() - start) / 1e6)
    return statistics.median(found)


def ps_among(engine: Engine, create: Callable[[int], None], quick: bool) -> float:
    create(MANY_QUICK if quick else MANY)
    try:
        return milliseconds(lambda: engine.call("ps", "-a"), 5)
    finally:
        for kept in _batches(engine.call("ps", "-aq", "--filter", "label=many").split()):
            engine.call("rm", *kept)


def _batches(ids: list[str]) -> list[list[str]]:
    return [ids[at : at + 100] for at in range(0, len(ids), 100)]


def one_by_one(engine: Engine) -> Callable[[int], None]:
    words = ("create", "--network", "none", "--label", "many=1", "bench:latest", "/bin/true")

    def create(count: int) -> None:
        for _ in range(count):
            engine.call(*words)

    return create


def by_library(rig: Rig, root: str) -> Callable[[int], None]:
    program = (
        "import sys; from newroot.engine import Engine; engine = Engine(sys.argv[1])\n"
        "for _ in range(int(sys.argv[2])):\n"
        "    engine.create('bench:latest', ['/bin/true'], label=['many=1'])"
    )

    def create(count: int) -> None:
        command = [sys.executable, "-c", program, root, str(count)]
        rig.call(command, **newroot_rows.environment())

    return create


_NOTE = f"ps -a among {MANY} containers that do not run; {MANY_QUICK} when quick"


@figure("ps", "newroot ps", "ms", _NOTE)
def newroot_ps(rig: Rig, quick: bool) -> float:
    engine = rig.once(Newroot)
    return ps_among(engine, by_library(rig, engine.root), quick)


@figure("ps", "podman ps", "ms", "the same")
def podman_ps(rig: Rig, quick: bool) -> float:
    engine = rig.once(Podman)
    return ps_among(engine, one_by_one(engine), quick)


@figure("ps", "docker ps", "ms", "the same, asked of dockerd")
def docker_ps(rig: Rig, quick: bool) -> float:
    engine = rig.once(Docker)
    return ps_among(engine, one_by_one(engine), quick)


# ---- the log ------------------------------------------------------------------------------------


def log_speed(engine: Engine, quick: bool, *options: str) -> float:
    """MB/s of what a container says, from its start until all of it is in the log."""
    count = LOG_BYTES_QUICK if quick else LOG_BYTES
    words = ["run", "-d", "--name", "talks", "--network", "none", *options]
    start = time.monotonic()
    engine.call(*words, "bench:latest", "sh", "-c", f"{_LINES} {count}")
    try:
        engine.call("wait", "talks")
        return count / 1e6 / (time.monotonic() - start)
    finally:
        engine.call("rm", "-f", "talks")


@figure("log", "newroot monitor, json-file", "MB/s", "lines of 64 bytes, run -d and wait included")
def newroot_log(rig: Rig, quick: bool) -> float:
    return log_speed(rig.once(Newroot), quick)


@figure("log", "newroot monitor, plain", "MB/s", "the same, --log-driver plain")
def newroot_plain_log(rig: Rig, quick: bool) -> float:
    return log_speed(rig.once(Newroot), quick, "--log-driver", "plain")


@figure("log", "podman's conmon, k8s-file", "MB/s", "the same")
def podman_log(rig: Rig, quick: bool) -> float:
    return log_speed(rig.once(Podman), quick, "--log-driver", "k8s-file")


@figure("log", "docker, json-file", "MB/s", "the same, by shim and dockerd")
def docker_log(rig: Rig, quick: bool) -> float:
    return log_speed(rig.once(Docker), quick)
