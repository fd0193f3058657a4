"""Start N containers that stay; say how long until all run and what they weigh.

`crowd.py N newroot|bubblewrap ROOTFS STATE` prints one line of JSON. One thread starts
them one after the other; "running" is when the container's shell has written a line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = ["/bin/sh", "-c", "echo up; exec sleep 1000"]
Start = Callable[[], Any]


@contextmanager
def newroot(rootfs: str, state: str) -> Iterator[Start]:
    from newroot import Engine

    with Engine(root=state) as engine:
        yield lambda: engine.popen(rootfs=f"{rootfs}:O", command=COMMAND, stdout=subprocess.PIPE)


@contextmanager
def bubblewrap(rootfs: str, state: str) -> Iterator[Start]:
    apart = [f"--unshare-{kind}" for kind in ("pid", "uts", "ipc", "net", "cgroup")]
    tree = ["--ro-bind", rootfs, "/", "--proc", "/proc", "--dev", "/dev", "--die-with-parent"]
    yield lambda: subprocess.Popen(["bwrap", *apart, *tree, *COMMAND], stdout=subprocess.PIPE)


def available_kib() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    return 0


def children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        found.setdefault(parent, []).append(int(path.name))
    return found


def engine_pss_kib() -> int:
    """Pss of our descendants that are in no container: in the pid namespace we are in."""
    tree, todo, total = children(), [os.getpid()], 0
    own = os.readlink("/proc/self/ns/pid")
    while todo:
        for pid in tree.get(todo.pop(), []):
            todo.append(pid)
            try:
                if os.readlink(f"/proc/{pid}/ns/pid") == own:
                    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                    total += int(rollup.partition("\nPss:")[2].split()[0])
            except (OSError, IndexError):
                continue
    return total


def main() -> None:
    count, kind, rootfs, state = int(sys.argv[1]), *sys.argv[2:]
    kinds = {"newroot": newroot, "bubblewrap": bubblewrap}
    with kinds[kind](rootfs, state) as start:
        before = available_kib()
        begin = time.perf_counter()
        crew = [start() for _ in range(count)]
        for process in crew:
            if not process.stdout.readline():
                raise SystemExit(f"crowd: a container of {kind} did not start")
        running_s = time.perf_counter() - begin
        result = {
            "all_running_ms": running_s * 1000,
            "engine_pss_kib": engine_pss_kib(),
            "system_kib": before - available_kib(),
        }
        for process in crew:
            process.kill()
        for process in crew:
            process.wait()
            process.stdout.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
