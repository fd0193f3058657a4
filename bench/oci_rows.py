"""OCI runtimes beside each other: a whole run, a whole life in five commands, and one question.

All make one cgroup in one cgroup2 mount (``--cgroup2`` of the stopwatch), for crun 1.8 refuses a
hybrid host and runc pays there for each hierarchy.
"""

from __future__ import annotations

import json
import sys

import bundle
from measure import row
from newroot_rows import program
from peers import PROCESS
from rig import Resident, Rig

GROUP = "oci"
BARE = "bare interpreter"


def command(rig: Rig, name: str) -> tuple[list[str], dict[str, str]]:
    """A runtime up to its verb, and the environment that it wants."""
    path = program(name) if name == "newroot-oci" else rig.need(name)
    shim = {"LD_PRELOAD": rig.built("memlock_shim.so")} if name == "crun" else {}
    return [path, "--root", str(rig.directory(f"{name}-oci"))], shim


def sleeper(rig: Rig, name: str) -> str:
    """A bundle whose process stays until it is killed."""
    place = rig.directory(f"{name}-sleeper")
    config = bundle.config(rig.rootfs, filtered=False)
    config["process"]["args"] = ["/bin/sleep", "1000"]  # type: ignore[index]
    (place / "config.json").write_text(json.dumps(config))
    return str(place)


def in_turn(*commands: list[str]) -> list[str]:
    """One command line of several, as the stopwatch takes it."""
    words: list[str] = []
    for one in commands:
        words += [*one, ";"]
    return words[:-1]


def run(rig: Rig, name: str) -> Resident:
    place = rig.directory(f"{name}-runner")
    bundle.write(place, rig.rootfs)
    runtime, environment = command(rig, name)
    line = [*runtime, "run", "--bundle", str(place), "run-@"]
    return rig.start(rig.stopwatch(*line, options=["--cgroup2"]), **environment)


def life(rig: Rig, name: str) -> Resident:
    runtime, environment = command(rig, name)
    place = sleeper(rig, name)
    line = in_turn(
        [*runtime, "create", "--bundle", place, "life-@"],
        [*runtime, "start", "life-@"],
        [*runtime, "state", "life-@"],
        [*runtime, "kill", "life-@", "KILL"],
        [*runtime, "delete", "--force", "life-@"],
    )
    return rig.start(rig.stopwatch(*line, options=["--cgroup2"]), **environment)


def state(rig: Rig, name: str) -> Resident:
    runtime, environment = command(rig, name)
    place = sleeper(rig, name)
    first = in_turn([*runtime, "create", "--bundle", place, "asked"], [*runtime, "start", "asked"])
    last = [*runtime, "delete", "--force", "asked"]
    options = ["--cgroup2", "--first", *first, "--end", "--last", *last, "--end"]
    line = [*runtime, "state", "asked"]
    return rig.start(rig.stopwatch(*line, options=options), **environment)


LIFE = "create, start, state, kill KILL, delete --force: five processes"


@row(GROUP, "newroot-oci run", PROCESS, "a bundle on a directory, no seccomp", BARE)
def newroot_run(rig: Rig) -> Resident:
    return run(rig, "newroot-oci")


@row(GROUP, "runc run", PROCESS, "the same", BARE)
def runc_run(rig: Rig) -> Resident:
    return run(rig, "runc")


@row(GROUP, "crun run", PROCESS, "the same", BARE)
def crun_run(rig: Rig) -> Resident:
    return run(rig, "crun")


@row(GROUP, "newroot-oci, a life", PROCESS, LIFE, BARE)
def newroot_life(rig: Rig) -> Resident:
    return life(rig, "newroot-oci")


@row(GROUP, "runc, a life", PROCESS, LIFE, BARE)
def runc_life(rig: Rig) -> Resident:
    return life(rig, "runc")


@row(GROUP, "crun, a life", PROCESS, LIFE, BARE)
def crun_life(rig: Rig) -> Resident:
    return life(rig, "crun")


@row(GROUP, "newroot-oci state", PROCESS, "of a container that runs", BARE)
def newroot_state(rig: Rig) -> Resident:
    return state(rig, "newroot-oci")


@row(GROUP, "runc state", PROCESS, "of a container that runs", BARE)
def runc_state(rig: Rig) -> Resident:
    return state(rig, "runc")


@row(GROUP, "crun state", PROCESS, "of a container that runs", BARE)
def crun_state(rig: Rig) -> Resident:
    return state(rig, "crun")


@row(GROUP, BARE, PROCESS, "python -I -S -c pass: what any command of ours begins with", BARE)
def bare_interpreter(rig: Rig) -> Resident:
    return rig.start(rig.stopwatch(sys.executable, "-I", "-S", "-c", "pass"))
