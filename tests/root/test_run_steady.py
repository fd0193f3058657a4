"""Many containers in a row leave descriptors, memory, mounts, cgroups and disk where they were."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from newroot.engine import Engine
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(110)]

_PAGE_KIB = 4
#: A process that is ready for the next start costs the launcher a pidfd and a door.  There is none
#: for a moment after somebody mounted something on the host.
_READY = 2


def descriptors(pid: int | str) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_kib(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KIB


def disk(root: str) -> set[str]:
    return {
        os.path.join(directory, name)
        for directory, directories, files in os.walk(root)
        for name in (*directories, *files)
    }


def mounts(root: str) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if root in line]


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1000, {}),
        (200, {"upper": "disk"}),
        (100, {"memory": "64m", "pids_limit": 50, "cpus": 1}),
        (50, {"volumes": ["data:/data", "/anonymous"]}),
    ],
    ids=["in memory", "on disk", "limited", "volumes"],
)
def test_many_in_a_row_leave_all_where_it_was(
    engine: Engine, count: int, words: dict[str, Any]
) -> None:
    def run(times: int) -> None:
        for _ in range(times):
            done = engine.run("busybox", ["true"], capture_output=True, **words)
            assert done.returncode == 0

    run(20)  # what is made once is made
    launcher = engine._launcher
    assert launcher is not None
    before = (descriptors("self"), disk(engine.root))
    launchers = descriptors(launcher.pid)
    memory = (resident_kib("self"), resident_kib(launcher.pid))
    run(count)

    assert (descriptors("self"), disk(engine.root)) == before
    assert abs(descriptors(launcher.pid) - launchers) <= _READY
    memory_now = (resident_kib("self"), resident_kib(launcher.pid))
    grown = [now - then for now, then in zip(memory_now, memory, strict=True)]
    assert grown[0] < 1024, f"Python's resident set grew by {grown[0]} KiB"
    assert grown[1] <= 16, f"the launcher's resident set grew by {grown[1]} KiB"
    assert mounts(engine.root) == []
    assert os.listdir(engine.run_root) == []


def test_no_cgroup_stays(engine: Engine) -> None:
    said = []
    for _ in range(20):
        done = engine.run(
            "busybox", ["cat", "/proc/self/cgroup"], capture_output=True, text=True,
            memory="64m", cgroupns="host", check=True,
        )  # fmt: skip
        said.append(done.stdout)
    paths = {line.rpartition(":")[2] for text in said for line in str(text).splitlines()}
    own = {path for path in paths if len(path.rpartition("/")[2]) == 64}

    assert len(own) == 20
    left = {d for d, _, _ in os.walk("/sys/fs/cgroup") if d.endswith(tuple(own))}
    assert left == set()


def test_a_hundred_at_once_and_none_afterwards(engine: Engine) -> None:
    engine.run("busybox", ["true"])
    before = descriptors("self")
    processes = [engine.popen("busybox", ["sleep", "100"]) for _ in range(100)]
    pids = {process.pid for process in processes}
    for process in processes:
        process.kill()

    assert {process.wait() for process in processes} == {-9}
    assert len(pids) == 100
    assert descriptors("self") == before
    assert [pid for pid in pids if os.path.exists(f"/proc/{pid}")] == []
