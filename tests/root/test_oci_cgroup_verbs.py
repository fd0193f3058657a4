"""ps, pause, resume, update and events of newroot-oci, on a process in a container's cgroup.

The container is a state record and a forked process: how it came to be does not matter to them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from newroot.cli.oci.main import main
from newroot.container.oci_cgroup import make_cgroup, place_cgroup
from newroot.container.oci_state import OciContainer, save
from newroot.isolation.cgroups.cgroup import Cgroup
from newroot.isolation.cgroups.detect import CgroupHost, detect
from newroot.isolation.cgroups.stats_document import stats_document
from newroot.linux.processes import start_ticks
from newroot.testing.needs import needs

pytestmark = needs("root")

PARENT = f"/newroot-test-verbs-{os.getpid()}"
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def host() -> CgroupHost:
    return detect()


class Member:
    """A process of a cgroup, told by a pipe what to do: ``eat`` memory, else nothing."""

    def __init__(self, cgroup: Cgroup) -> None:
        theirs, self._orders = os.pipe()
        ready, said = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                os.close(self._orders)
                for path in cgroup.procs_paths:
                    Path(path).write_text("0")
                os.write(said, b".")
                while os.read(theirs, 10) == b"eat":
                    eaten = []
                    while True:
                        eaten.append(b"x" * MEGABYTE)
            os._exit(1)
        os.close(theirs)
        os.close(said)
        assert os.read(ready, 1) == b"."
        os.close(ready)

    def eat(self) -> None:
        os.write(self._orders, b"eat")

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        with contextlib.suppress(OSError):
            os.close(self._orders)


class Made:
    """A container that there is a record of."""

    def __init__(self, root: Path, host: CgroupHost, resources: dict[str, Any]) -> None:
        self.root, self.id = root, "c1"
        path = f"{PARENT}/{self.id}"
        self.config = {"linux": {"cgroupsPath": path, "resources": resources}}
        placed = place_cgroup(self.config, self.id, host)
        cgroup = make_cgroup(placed, self.config, self.id, host)
        assert cgroup is not None
        self.cgroup = cgroup
        self.member = Member(cgroup)
        directory = root / self.id
        directory.mkdir(parents=True)
        (directory / "config.json").write_text(json.dumps(self.config))
        save(
            OciContainer(
                id=self.id,
                directory=str(directory),
                oci_version="1.3.0",
                bundle="/b",
                rootfs="/b/rootfs",
                pid=self.member.pid,
                start_ticks=start_ticks(self.member.pid),
                cgroup_path=path,
                cgroups=cgroup.directories,
            )
        )

    def file(self, v1: str, v2: str) -> str:
        """What one of the cgroup's files says, by its name in each version."""
        for name in (v1, v2):
            directory = self.cgroup.directory_of(name.partition(".")[0])
            if directory is not None and Path(f"{directory}/{name}").exists():
                return Path(f"{directory}/{name}").read_text().strip()
        pytest.skip(f"needs the cgroup controller of {v1}")

    def oci(self, *words: str) -> int:
        return main(["--root", str(self.root), words[0], *words[1:]])

    def end(self) -> None:
        self.cgroup.kill()
        self.member.end()
        self.cgroup.remove()


@pytest.fixture
def make(tmp_path: Path, host: CgroupHost) -> Iterator[Callable[..., Made]]:
    made: list[Made] = []

    def create(**resources: Any) -> Made:
        made.append(Made(tmp_path / "root", host, resources))
        return made[-1]

    yield create
    for container in made:
        container.end()


@pytest.fixture
def container(make: Callable[..., Made]) -> Made:
    return make()


def test_ps_lists_the_processes(container: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert container.oci("ps", "--format", "json", "c1") == 0
    assert json.loads(capsys.readouterr().out) == [container.member.pid]


def test_ps_shows_the_lines_that_ps_has_of_them(
    container: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert container.oci("ps", "c1") == 0
    title, line = capsys.readouterr().out.splitlines()

    assert title.split()[:2] == ["UID", "PID"]
    assert line.split()[1] == str(container.member.pid)


def test_ps_hands_its_own_arguments_on(container: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert container.oci("ps", "c1", "-A", "-o", "pid,ppid") == 0
    assert capsys.readouterr().out.split() == [
        "PID",
        "PPID",
        str(container.member.pid),
        str(os.getpid()),
    ]


def test_ps_without_a_pid_column_is_refused(
    container: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert container.oci("ps", "c1", "-o", "args") == 1
    assert "couldn't find PID field in ps output" in capsys.readouterr().err


def test_ps_in_another_format_is_refused(
    container: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert container.oci("ps", "-f", "yaml", "c1") == 1
    assert "invalid format option" in capsys.readouterr().err


def test_paused_container_is_frozen_until_it_is_resumed(
    container: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = [container.oci("pause", "c1")]
    frozen = container.cgroup.is_frozen()
    assert container.oci("state", "c1") == 0
    status = json.loads(capsys.readouterr().out)["status"]
    codes.append(container.oci("resume", "c1"))

    assert (codes, frozen, status) == ([0, 0], True, "paused")
    assert not container.cgroup.is_frozen()


def test_pausing_twice_and_resuming_what_runs_is_refused(
    container: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert container.oci("resume", "c1") == 1
    assert "container not paused" in capsys.readouterr().err
    assert container.oci("pause", "c1") == 0
    assert container.oci("pause", "c1") == 1
    assert "container not running" in capsys.readouterr().err


def test_stopped_container_is_not_paused_and_not_updated(
    container: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    container.member.end()
    codes = [container.oci("pause", "c1"), container.oci("update", "--memory", "1g", "c1")]

    assert codes == [1, 1]
    assert capsys.readouterr().err.count("container not running") == 2


@pytest.mark.parametrize(
    ("words", "v1", "v2"),
    [
        (("--memory", "64M"), "memory.limit_in_bytes=67108864", "memory.max=67108864"),
        (
            ("--memory-reservation", "32m"),
            "memory.soft_limit_in_bytes=33554432",
            "memory.low=33554432",
        ),
        (("--pids-limit", "17"), "pids.max=17", "pids.max=17"),
        (("--pids-limit", "-1"), "pids.max=max", "pids.max=max"),
        (("--cpu-share", "512"), "cpu.shares=512", "cpu.weight=59"),
        (("--cpu-period", "50000"), "cpu.cfs_period_us=50000", "cpu.max=max 50000"),
        (("--cpu-quota", "25000"), "cpu.cfs_quota_us=25000", "cpu.max=25000 100000"),
        (("--cpu-quota", "-1"), "cpu.cfs_quota_us=-1", "cpu.max=max 100000"),
        (
            ("--cpu-quota", "25000", "--cpu-burst", "5000"),
            "cpu.cfs_burst_us=5000",
            "cpu.max.burst=5000",
        ),
        (("--cpu-idle", "1"), "cpu.idle=1", "cpu.idle=1"),
        (("--cpuset-cpus", "0"), "cpuset.cpus=0", "cpuset.cpus=0"),
        (("--cpuset-mems", "0"), "cpuset.mems=0", "cpuset.mems=0"),
        (
            ("--memory", "64M", "--memory-swap", "128M"),
            "memory.memsw.limit_in_bytes=134217728",
            "memory.swap.max=67108864",
        ),
    ],
    ids=str,
)
def test_flag_changes_a_limit(container: Made, words: tuple[str, ...], v1: str, v2: str) -> None:
    names = v1.partition("=")[0], v2.partition("=")[0]
    container.file(*names)  # skips where the controller is missing

    assert container.oci("update", *words, "c1") == 0
    assert container.file(*names) in (v1.partition("=")[2], v2.partition("=")[2])


def test_flags_of_older_runtimes_are_taken_and_do_nothing(container: Made) -> None:
    assert container.oci("update", "--kernel-memory", "1g", "--kernel-memory-tcp", "1g", "c1") == 0


@pytest.mark.parametrize(
    "words", [("--cpu-quota", "xx"), ("--memory", "lots"), ("--pids-limit", "1.5")]
)
def test_wrong_value_is_refused_and_named(
    container: Made, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert container.oci("update", *words, "c1") == 1
    assert words[1] in capsys.readouterr().err


def test_document_changes_limits_and_leaves_the_others(
    make: Callable[..., Made], tmp_path: Path
) -> None:
    container = make(pids={"limit": 50}, memory={"limit": 64 * MEGABYTE})
    document = tmp_path / "resources.json"
    document.write_text(
        '{"pids": {"limit": 33}, "memory": {"limit": 0}, "devices": [{"allow": true}]}'
    )

    assert container.oci("update", "--resources", str(document), "--pids-limit", "7", "c1") == 0
    assert container.file("pids.max", "pids.max") == "33"
    assert container.file("memory.limit_in_bytes", "memory.max") == str(64 * MEGABYTE)


def test_document_comes_on_stdin(container: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b'{"pids": {"limit": 21}}'))
    monkeypatch.setattr(sys, "stdin", stdin)

    assert container.oci("update", "-r", "-", "c1") == 0
    assert container.file("pids.max", "pids.max") == "21"


def test_memory_alone_is_read_with_the_swap_that_was_given_before(
    make: Callable[..., Made],
) -> None:
    container = make(memory={"limit": 32 * MEGABYTE, "swap": 96 * MEGABYTE})
    names = "memory.memsw.limit_in_bytes", "memory.swap.max"
    container.file(*names)

    assert container.oci("update", "--memory", "64M", "c1") == 0
    assert container.file(*names) in (str(96 * MEGABYTE), str(32 * MEGABYTE))


def test_change_is_remembered_for_the_next(make: Callable[..., Made]) -> None:
    container = make(cpu={"quota": 20000, "period": 40000})
    container.file("cpu.cfs_quota_us", "cpu.max")
    codes = [
        container.oci("update", "--cpu-quota", "30000", "c1"),
        container.oci("update", "--cpu-period", "60000", "c1"),
    ]

    assert codes == [0, 0]
    assert container.file("cpu.cfs_quota_us", "cpu.max") in ("30000", "30000 60000")
    kept = json.loads((container.root / "c1/config.json").read_text())["linux"]["resources"]
    assert kept["cpu"] == {"quota": 30000, "period": 60000}


def test_memory_below_what_is_used_is_refused_when_asked_to_check(
    make: Callable[..., Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    container = make(memory={"limit": 64 * MEGABYTE})
    container.file("memory.limit_in_bytes", "memory.max")
    document = tmp_path / "resources.json"
    document.write_text('{"memory": {"limit": 4096, "checkBeforeUpdate": true}}')

    assert container.oci("update", "-r", str(document), "c1") == 1
    assert "EBUSY" in capsys.readouterr().err
    assert container.file("memory.limit_in_bytes", "memory.max") == str(64 * MEGABYTE)


def test_stats_are_one_document(container: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert container.oci("events", "--stats", "c1") == 0
    event = json.loads(capsys.readouterr().out)

    assert (event["type"], event["id"]) == ("stats", "c1")
    assert event["data"]["pids"]["current"] == 1
    assert event["data"]["memory"]["usage"]["usage"] > 0
    assert set(event["data"]) == {
        *("cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt"),
        "network_interfaces",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--interval", "0s"), "must be greater than 0"),
        (("--interval", "soon"), "invalid duration"),
    ],
)
def test_wrong_interval_is_refused(
    container: Made, words: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert container.oci("events", *words, "c1") == 1
    assert said in capsys.readouterr().err


def test_events_tell_of_want_of_memory_and_end_with_the_container(
    make: Callable[..., Made],
) -> None:
    container = make(memory={"limit": 24 * MEGABYTE, "swap": 24 * MEGABYTE})
    container.file("memory.limit_in_bytes", "memory.max")
    code = "import sys; from newroot.cli.oci.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--root", str(container.root), "events"]
    events = subprocess.Popen(
        [*command, "--interval", "50ms", "c1"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert events.stdout is not None
    try:
        first = json.loads(events.stdout.readline())
        container.member.eat()
        seen = [first["type"]]
        deadline = time.monotonic() + 60
        while "oom" not in seen and time.monotonic() < deadline:
            assert select.select([events.stdout], [], [], 30)[0]
            seen.append(json.loads(events.stdout.readline())["type"])
        container.end()
        events.wait(30)
    finally:
        events.kill()
        events.wait()
        events.stdout.close()

    assert set(seen) == {"stats", "oom"}
    assert events.returncode == 0


@needs("runc", "busybox")
def test_stats_of_a_container_are_runcs(tmp_path: Path, tiny_root: Path, host: CgroupHost) -> None:
    subprocess.run(["runc", "spec", "--bundle", tmp_path], check=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["sleep", "100"], "rlimits": []}
    config["root"]["path"] = str(tiny_root)
    config["linux"]["cgroupsPath"] = f"{PARENT}/runc"
    config["linux"]["resources"] |= {"pids": {"limit": 9}, "cpu": {"quota": 20000, "period": 50000}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    runc = ["runc", "--root", str(tmp_path / "state")]
    try:
        subprocess.run(
            [*runc, "run", "--detach", "--bundle", tmp_path, "c1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        said = subprocess.run([*runc, "events", "--stats", "c1"], capture_output=True, check=True)
        ours = stats_document(Cgroup.find(f"{PARENT}/runc", host=host))
    finally:
        subprocess.run([*runc, "delete", "--force", "c1"], check=True)
        Cgroup.find(PARENT, host=host).remove()
    theirs = json.loads(said.stdout)["data"]

    assert shape(ours) == shape(theirs)


#: What changes from one look to the next, and what runc 1.1 does not tell yet.
_MOVING = {
    *("usage", "max", "total", "percpu", "percpu_kernel", "percpu_user", "kernel", "user"),
    *("cache", "current", "failcnt"),
}
_NEWER = {"psi", "hugetlb", "throttling", "blkio"}


def shape(value: Any) -> Any:
    """The document with its numbers, but for those that move between two looks."""
    if not isinstance(value, dict):
        return value
    return {
        key: sorted(inner) if key == "raw" else shape(inner)
        for key, inner in value.items()
        if key not in _NEWER and (isinstance(inner, dict) or key not in _MOVING)
    }
