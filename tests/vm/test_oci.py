"""newroot-oci on a host with systemd and pure cgroup v2: limits that bite, freezing, the end.

In the virtual machine, where the command stands in /usr/local/bin.  One container for each manager
of cgroups, for starting one takes longer there than looking at it; the tests follow its life.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machine import DEVICES, EAT, OCI, make_rootfs, run, script, sh

from newroot.testing.needs import needs

pytestmark = needs("root", "vm", "busybox")

MEGABYTE = 1 << 20
SLICE = "/sys/fs/cgroup/newroot.slice/newroot-oci.slice"
MANAGERS = {
    "cgroupfs": ("/newroot-oci/c1", "/sys/fs/cgroup/newroot-oci/c1"),
    "systemd": ("newroot-oci.slice:oci:c1", f"{SLICE}/oci-c1.scope"),
}
RESOURCES = {
    "memory": {"limit": 24 * MEGABYTE, "swap": 24 * MEGABYTE},
    "pids": {"limit": 9},
    "cpu": {"quota": 50000, "period": 100000},
    "devices": [{"allow": False, "access": "rwm"}],
}


class Container:
    """One of newroot-oci's, and the directory of its cgroup."""

    def __init__(self, directory: Path, rootfs: Path, manager: str) -> None:
        self.manager, self.bundle = manager, directory / "bundle"
        path, cgroup = MANAGERS[manager]
        self.cgroup = Path(cgroup)
        self.command = [OCI, "--cgroup-manager", manager, "--root", str(directory / "state")]
        self.bundle.mkdir()
        sh(OCI, "spec", "--bundle", self.bundle)
        file = self.bundle / "config.json"
        self.config: dict[str, Any] = json.loads(file.read_text())
        # A shell buries the orphans of what is run in it; as zombies they would count.
        self.config["process"] |= {"terminal": False, "args": ["sh", "-c", "sleep 1000; exit 1"]}
        self.config["root"]["path"] = str(rootfs)
        self.config["linux"] |= {"cgroupsPath": path, "resources": RESOURCES}
        file.write_text(json.dumps(self.config))

    def __call__(self, *words: str) -> str:
        return sh(*self.command, *words)

    def exec(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run(*self.command, "exec", "c1", *words)

    def left_alone(self, *words: str | Path) -> None:
        """A command whose process stays, with our streams: pipes would not end with the command."""
        with open(os.devnull, "r+b") as null:
            subprocess.run(
                [*self.command, *words], check=True, stdin=null, stdout=null, stderr=null
            )

    def status(self) -> str:
        return str(json.loads(self("state", "c1"))["status"])

    def read(self, name: str) -> str:
        return (self.cgroup / name).read_text().strip()

    def processes(self) -> list[int]:
        return [int(line) for line in self.read("cgroup.procs").splitlines()]

    def is_empty(self) -> bool:
        """Of no process; systemd removes the cgroup of a scope that is."""
        try:
            return self.counted("cgroup.events", "populated") == 0
        except FileNotFoundError:
            return self.manager == "systemd"

    def counted(self, name: str, key: str) -> int:
        return int(dict(line.split() for line in self.read(name).splitlines())[key])


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


class Endings:
    """Processes that are to end."""

    def __init__(self, pids: list[int]) -> None:
        self._pidfds = [os.pidfd_open(pid) for pid in pids]

    def all_seen(self) -> bool:
        seen = [bool(select.select([pidfd], [], [], 60)[0]) for pidfd in self._pidfds]
        for pidfd in self._pidfds:
            os.close(pidfd)
        return all(seen)


@pytest.fixture(scope="module")
def rootfs() -> Iterator[Path]:
    """Where tester may go, too: pytest's own directories are its user's alone."""
    with tempfile.TemporaryDirectory(prefix="newroot-test-") as directory:
        Path(directory).chmod(0o755)
        found = make_rootfs(Path(directory) / "rootfs")
        for name, number in DEVICES.items():
            os.mknod(found / name, 0o020666, os.makedev(*number))
        yield found


@pytest.fixture(scope="module", params=MANAGERS)
def container(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, rootfs: Path
) -> Iterator[Container]:
    """One that runs."""
    container = Container(tmp_path_factory.mktemp("c1"), rootfs, request.param)
    container.left_alone("create", "--bundle", container.bundle, "c1")
    try:
        assert container.status() == "created"
        container("start", "c1")
        yield container
    finally:
        run(*container.command, "delete", "--force", "c1")


def test_limits_are_in_the_files(container: Container) -> None:
    names = ("memory.max", "memory.swap.max", "pids.max", "cpu.max")

    assert container.status() == "running"
    assert [container.read(name) for name in names] == [
        *(str(24 * MEGABYTE), "0", "9", "50000 100000")
    ]


def test_memory_that_is_too_much_is_the_end_of_who_asked_for_it(container: Container) -> None:
    assert container.exec(*EAT).returncode == 137
    assert container.counted("memory.events", "oom_kill") == 1
    assert container.status() == "running"


def test_processes_that_are_too_many_are_not_begun(container: Container) -> None:
    # Each reads what we write, so that all end with this test.
    many = "exec 3<&0; for i in 1 2 3 4 5 6 7 8 9; do cat <&3 >/dev/null 2>&1 & done"
    pipe = subprocess.PIPE
    words = [*container.command, "exec", "c1", "sh", "-c", many]
    with subprocess.Popen(words, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        process.wait()  # its children remain
        stats = json.loads(container("events", "--stats", "c1"))["data"]["pids"]
        others = [pid for pid in container.processes() if name_of(pid) == "cat"]
        endings = Endings(others)

    assert endings.all_seen()
    assert "can't fork" in said
    assert stats["limit"] == 9
    assert container.counted("pids.events", "max") >= 1
    assert 1 <= len(others) < 8


def test_time_of_the_processor_is_rationed(container: Container) -> None:
    container.exec("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done")
    used = json.loads(container("events", "--stats", "c1"))["data"]["cpu"]["throttling"]

    assert used["throttledPeriods"] >= 1
    assert used["throttledTime"] > 0


def test_device_program_lets_through_what_it_should(container: Container) -> None:
    allowed = container.exec("sh", "-c", "echo x > /null")
    denied = container.exec("cat", "/kmsg")

    assert (allowed.returncode, allowed.stderr) == (0, "")
    assert (denied.returncode, denied.stderr) == (
        1,
        "cat: can't open '/kmsg': Operation not permitted\n",
    )


def test_update_changes_limits(container: Container) -> None:
    container("update", "--memory", "40M", "--memory-swap", "40M", "--pids-limit", "12", "c1")

    assert [container.read(name) for name in ("memory.max", "pids.max")] == [
        *(str(40 * MEGABYTE), "12")
    ]


def test_paused_container_does_nothing(container: Container) -> None:
    container("pause", "c1")
    frozen = (container.status(), container.counted("cgroup.events", "frozen"))
    refused = container.exec("true")
    container("resume", "c1")
    thawed = (container.status(), container.counted("cgroup.events", "frozen"))

    assert frozen == ("paused", 1)
    assert (refused.returncode, "paused" in refused.stderr) == (255, True)
    assert thawed == ("running", 0)


def test_kill_all_reaches_who_has_left_the_session(container: Container) -> None:
    container.left_alone("exec", "--detach", "c1", "setsid", "sleep", "1000")
    there = json.loads(container("ps", "--format", "json", "c1"))
    endings = Endings(there)
    container("kill", "--all", "c1", "KILL")

    assert endings.all_seen()
    assert len(there) > 1
    assert container.is_empty()
    assert container.status() == "stopped"


def test_nothing_is_left_of_it(container: Container) -> None:
    container("delete", "c1")

    assert container("list", "--quiet") == ""
    assert not container.cgroup.exists()
    if container.manager == "systemd":
        unit = sh("systemctl", "show", "oci-c1.scope", "--property=LoadState")
        assert unit == "LoadState=not-found\n"


@pytest.mark.parametrize("manager", MANAGERS)
def test_run_returns_137_of_a_container_that_memory_ran_out_for(
    manager: str, tmp_path: Path, rootfs: Path
) -> None:
    container = Container(tmp_path, rootfs, manager)
    container.config["process"]["args"] = list(EAT)
    (container.bundle / "config.json").write_text(json.dumps(container.config))
    done = run(*container.command, "run", "--bundle", container.bundle, "c1")

    assert done.returncode == 137
    assert not container.cgroup.exists()


USER = """\
set -e
oci="/usr/local/bin/newroot-oci --cgroup-manager $1 --root $XDG_RUNTIME_DIR/newroot-test"
mkdir "$3" && cd "$3"
python3 - "$2" "$4" <<'P'
import json, subprocess, sys
subprocess.run(["/usr/local/bin/newroot-oci", "spec", "--rootless"], check=True)
config = json.load(open("config.json"))
config["process"] |= {"terminal": False, "args": ["sleep", "1000"]}
config["root"]["path"] = sys.argv[1]
config["linux"]["cgroupsPath"] = sys.argv[2]
config["linux"]["resources"] = {
    "memory": {"limit": 24 << 20, "swap": 24 << 20}, "pids": {"limit": 9}
}
json.dump(config, open("config.json", "w"))
P
state() { $oci state c1 | grep '"status"' | tr -d ' ,"'; }
$oci create c1 </dev/null >create.log 2>&1 || { cat create.log; exit 1; }
state
$oci start c1
state
$oci exec c1 id -u
cgroup=/sys/fs/cgroup$(cut -d: -f3 "/proc/$($oci ps --format json c1 | tr -d '[]')/cgroup")
cat "$cgroup/memory.max" "$cgroup/pids.max"
code=0; $oci exec c1 dd if=/dev/zero of=/dev/null bs=100M count=1 2>/dev/null || code=$?
echo "$code" "$(grep '^oom_kill ' "$cgroup/memory.events")"
$oci pause c1
state
$oci resume c1
$oci update --pids-limit 7 c1
cat "$cgroup/pids.max"
$oci kill c1 KILL
until [ "$(state)" = status:stopped ]; do :; done
$oci delete c1
[ ! -e "$cgroup" ] || echo "left: $cgroup"
$oci list -q
echo "${cgroup#*/user@1000.service/}"
"""


@pytest.mark.parametrize(
    ("manager", "path", "place"),
    [
        ("systemd", "user.slice:oci:c1", "user.slice/oci-c1.scope"),
        ("cgroupfs", "newroot-test/c1", "app.slice/newroot-test/c1"),
    ],
    ids=["systemd", "cgroupfs"],
)
def test_life_of_a_users_container(manager: str, path: str, place: str, rootfs: Path) -> None:
    bundle = f"/home/tester/{manager}"
    lines = script(USER, manager, rootfs, bundle, path, user=True).splitlines()

    assert lines == [
        *("status:created", "status:running", "0"),
        *(str(24 * MEGABYTE), "9"),
        "137 oom_kill 1",
        *("status:paused", "7"),
        place,
    ]
