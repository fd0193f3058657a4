"""Rows about many: layers, existing containers, threads, containers at once, memory.

Each compares newroot with what the kernel alone charges (floor) and with a peer where one
can do the same.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import newroot_rows
from measure import ROWS, Row, figure
from peers import LIBRARY, SYSCALLS, Docker, Podman
from rig import HERE, Resident, Rig, wait_until

LAYERS = (1, 10, 100, 400)
EXISTING = (1, 100, 1000)
THREADS = (1, 2, 8)
CROWD = 200


def floor_with(layers: int) -> Callable[[Rig], Resident]:
    return lambda rig: rig.start(rig.floor("--serve", layers=layers))


def newroot_with(layers: int) -> Callable[[Rig], Resident]:
    def start(rig: Rig) -> Resident:
        newroot_rows.environment()
        root = newroot_rows.load(rig, layers)
        return newroot_rows.library(rig, "bench:latest", root=Path(root).name)

    return start


for count in LAYERS:
    ROWS.append(Row("layers", f"floor, {count}", SYSCALLS, "", floor_with(count)))
    ROWS.append(Row("layers", f"newroot library, {count}", LIBRARY, "", newroot_with(count)))


def newroot_beside(existing: int) -> Callable[[Rig], Resident]:
    def start(rig: Rig) -> Resident:
        name = f"newroot-beside-{existing}"
        client = [sys.executable, str(HERE / "client.py"), "--populate", str(existing), "newroot"]
        arguments = [str(rig.directory(name)), f"{rig.rootfs}:O"]
        rig.call([*client, *arguments], **newroot_rows.environment())
        return newroot_rows.library(rig, arguments[1], root=name)

    return start


for count in EXISTING:
    title = f"newroot library, {count}"
    ROWS.append(Row("existing", title, LIBRARY, "stopped ones in its root", newroot_beside(count)))


def runs(quick: bool) -> int:
    return 80 if quick else 400


def floor_threads(threads: int) -> Callable[[Rig, bool], float]:
    def find(rig: Rig, quick: bool) -> float:
        options = ("--threads", str(threads), "--count", str(runs(quick)))
        return float(json.loads(rig.call(rig.floor(*options)))["per_second"])

    return find


def newroot_threads(threads: int) -> Callable[[Rig, bool], float]:
    def find(rig: Rig, quick: bool) -> float:
        client = [sys.executable, str(HERE / "client.py"), "--threads", str(threads)]
        root = str(rig.directory(f"newroot-threads-{threads}"))
        arguments = [str(runs(quick)), "newroot", root, f"{rig.rootfs}:O"]
        return float(rig.call([*client, *arguments], **newroot_rows.environment()))

    return find


def bubblewrap_threads(threads: int) -> Callable[[Rig, bool], float]:
    def find(rig: Rig, quick: bool) -> float:
        options = ["--threads", str(threads), "--count", str(runs(quick))]
        apart = [f"--unshare-{kind}" for kind in ("pid", "uts", "ipc", "net", "cgroup")]
        tree = ["--ro-bind", str(rig.rootfs), "/", "--proc", "/proc", "--dev", "/dev"]
        command = [rig.need("bwrap"), *apart, *tree, "/bin/true"]
        return float(json.loads(rig.call(rig.stopwatch(*command, options=options)))["per_second"])

    return find


for count in THREADS:
    of = f"{count} thread{'s' if count > 1 else ''}"
    figure("threads", f"floor, {of}", "per second")(floor_threads(count))
    figure("threads", f"newroot library, {of}", "per second")(newroot_threads(count))
    figure("threads", f"bubblewrap, {of}", "per second")(bubblewrap_threads(count))


def crowd(rig: Rig, kind: str) -> dict[str, float]:
    """Start CROWD containers that stay, as crowd.py says."""
    command = [sys.executable, str(HERE / "crowd.py"), str(CROWD), kind, str(rig.rootfs)]
    environment = {} if kind == "bubblewrap" else newroot_rows.environment()
    if kind == "bubblewrap":
        rig.need("bwrap")
    found: dict[str, float] = json.loads(
        rig.call([*command, str(rig.directory("newroot-crowd"))], **environment)
    )
    return found


def newroot_crowd(rig: Rig) -> dict[str, float]:
    return crowd(rig, "newroot")


def bubblewrap_crowd(rig: Rig) -> dict[str, float]:
    return crowd(rig, "bubblewrap")


CROWD_FIGURES = {
    "all_running_ms": ("all running", "ms"),
    "engine_pss_kib": ("our processes, Pss", "KiB"),
    "system_kib": ("all memory, kernel's too", "KiB"),
}
for name, gather in (("newroot library", newroot_crowd), ("bubblewrap", bubblewrap_crowd)):
    for key, (what, unit) in CROWD_FIGURES.items():
        figure(f"{CROWD} at once", f"{name}: {what}", unit)(
            lambda rig, quick, gather=gather, key=key: rig.once(gather)[key]  # type: ignore[misc]
        )


def pss_kib(pid: int) -> int:
    """Proportional resident memory of one process, proc_pid_smaps(5)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def find_process(command: list[str]) -> int | None:
    wanted = "\0".join([*command, ""]).encode()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cmdline").read_bytes() == wanted:
                return int(path.name)
        except OSError:
            continue
    return None


def keeper_memory(call: Callable[..., str], marker: int) -> float:
    """Start a detached `sleep`, weigh the process that keeps it, remove it again."""
    sleep = ["sleep", str(1_000_000 + 1000 * (os.getpid() % 100_000) + marker)]
    name = f"keeper-{marker}"
    call("run", "-d", "--name", name, "--network", "none", "bench:latest", *sleep)
    try:
        wait_until(lambda: find_process(sleep) is not None, "sleep")
        keeper = parent_of(find_process(sleep) or 0)
        if keeper in (1, os.getpid()):
            return 0
        return pss_kib(keeper)
    finally:
        call("rm", "-f", name)


@figure("memory", "newroot monitor", "KiB", "Pss of the process that keeps one detached container")
def newroot_monitor(rig: Rig, quick: bool) -> float:
    root = rig.once(newroot_rows.load_one)
    newroot = [newroot_rows.program("newroot"), "--root", root]
    return keeper_memory(lambda *arguments: rig.call([*newroot, *arguments]), 1)


@figure("memory", "podman's conmon", "KiB", "the same")
def conmon(rig: Rig, quick: bool) -> float:
    return keeper_memory(rig.once(Podman).call, 2)


@figure("memory", "docker's containerd-shim", "KiB", "the same; dockerd and containerd not counted")
def shim(rig: Rig, quick: bool) -> float:
    return keeper_memory(rig.once(Docker).call, 3)
