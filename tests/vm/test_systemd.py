"""Cgroups that systemd makes, as root and as a user; and a limit on writing that bites.

In the virtual machine.  A forked process joins as newroot-init does: it writes "0" to each of
``procs_paths``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from newroot.container.oci_cgroup import find_cgroup, make_cgroup, place_cgroup
from newroot.errors import SpecError, SyscallError
from newroot.isolation.cgroups.cgroup import Cgroup
from newroot.isolation.cgroups.detect import CgroupHost, detect
from newroot.isolation.cgroups.systemd_bus import Systemd
from newroot.testing.needs import needs

pytestmark = needs("root", "vm")

MEGABYTE = 1 << 20
LIMITS: dict[str, Any] = {
    "memory": {"limit": 64 * MEGABYTE, "swap": 80 * MEGABYTE, "reservation": 32 * MEGABYTE},
    "cpu": {"quota": 30000, "period": 60000, "cpus": "0", "mems": "0", "shares": 512},
    "pids": {"limit": 20},
    "unified": {"memory.high": str(60 * MEGABYTE)},
    "devices": [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
    ],
}


@pytest.fixture(scope="module")
def host() -> CgroupHost:
    return detect()


@contextlib.contextmanager
def member(cgroup: Cgroup) -> Iterator[int]:
    """A process in *cgroup* that waits to be killed."""
    ready, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            for path in cgroup.procs_paths:
                Path(path).write_text("0")
            os.write(theirs, b".")
            while True:
                signal.pause()
        os._exit(1)
    os.close(theirs)
    assert os.read(ready, 1) == b"."
    try:
        yield pid
    finally:
        os.close(ready)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture
def make(host: CgroupHost) -> Iterator[Callable[..., Cgroup]]:
    made: list[Cgroup] = []

    def start(path: str | None = "newroot-test.slice:test:c1", /, **config: Any) -> Cgroup:
        config = {
            **config,
            "linux": {"cgroupsPath": path, "resources": config.pop("resources", {})},
        }
        placed = place_cgroup(config, "c1", host, manager="systemd")
        cgroup = make_cgroup(placed, config, "c1", host)
        assert cgroup is not None
        assert placed is not None
        assert placed.directories == cgroup.directories
        made.append(cgroup)
        return cgroup

    yield start
    for cgroup in made:
        cgroup.kill()
        cgroup.remove()


def shown(unit: str, *properties: str) -> dict[str, str]:
    command = ["systemctl", "show", unit, *(f"--property={name}" for name in properties)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_scope_lives_as_long_as_its_process(make: Callable[..., Cgroup]) -> None:
    cgroup = make()
    with member(cgroup) as pid:
        cgroup.joined()
        active = shown("test-c1.scope", "ActiveState", "ControlGroup", "Delegate")

        assert cgroup.processes() == (pid,)
    cgroup.remove()

    assert active == {
        "ActiveState": "active",
        "ControlGroup": "/newroot.slice/newroot-test.slice/test-c1.scope",
        "Delegate": "yes",
    }
    assert cgroup.directories == ("/sys/fs/cgroup/newroot.slice/newroot-test.slice/test-c1.scope",)
    assert not os.path.exists(cgroup.directories[0])
    assert shown("test-c1.scope", "LoadState") == {"LoadState": "not-found"}


def test_limits_hold_with_systemd_and_in_the_files(make: Callable[..., Cgroup]) -> None:
    cgroup = make(resources=LIMITS)
    with member(cgroup):
        cgroup.joined()
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        said = shown(
            "test-c1.scope",
            *("MemoryMax", "MemoryHigh", "MemoryLow", "MemorySwapMax", "TasksMax", "AllowedCPUs"),
            *("CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "CPUWeight", "DevicePolicy"),
        )
        directory = Path(cgroup.directories[0])
        names = "memory.max memory.high memory.low memory.swap.max pids.max cpu.max cpuset.cpus"
        held = {name: (directory / name).read_text().strip() for name in names.split()}

    assert said == {
        "MemoryMax": str(64 * MEGABYTE),
        "MemoryHigh": str(60 * MEGABYTE),
        "MemoryLow": str(32 * MEGABYTE),
        "MemorySwapMax": str(16 * MEGABYTE),
        "TasksMax": "20",
        "AllowedCPUs": "0",
        "CPUQuotaPerSecUSec": "500ms",
        "CPUQuotaPeriodUSec": "60ms",
        "CPUWeight": "59",
        "DevicePolicy": "strict",
    }
    assert held == {
        "memory.max": str(64 * MEGABYTE),
        "memory.high": str(60 * MEGABYTE),
        "memory.low": str(32 * MEGABYTE),
        "memory.swap.max": str(16 * MEGABYTE),
        "pids.max": "20",
        "cpu.max": "30000 60000",
        "cpuset.cpus": "0",
    }


def test_change_is_told_to_systemd_too(make: Callable[..., Cgroup], host: CgroupHost) -> None:
    made, limit = make(resources=LIMITS), 48 * MEGABYTE
    with member(made):
        made.joined()
        cgroup = find_cgroup(made.directories, host, manager="systemd")
        cgroup.update(
            {"memory": {"limit": 48 * MEGABYTE, "swap": 48 * MEGABYTE}, "pids": {"limit": 7}}
        )
        said = shown("test-c1.scope", "MemoryMax", "MemorySwapMax", "TasksMax", "CPUWeight")
        held = Path(f"{made.directories[0]}/memory.max").read_text()

    assert said == {
        "MemoryMax": str(limit),
        "MemorySwapMax": "0",
        "TasksMax": "7",
        "CPUWeight": "59",
    }
    assert held == f"{limit}\n"


def test_annotations_set_properties(make: Callable[..., Cgroup]) -> None:
    cgroup = make(
        annotations={
            "org.systemd.property.RuntimeMaxSec": "900",
            "org.systemd.property.Description": "'a test of newroot'",
            "other": "x",
        }
    )
    with member(cgroup):
        said = shown("test-c1.scope", "RuntimeMaxUSec", "Description")

    assert said == {"RuntimeMaxUSec": "15min", "Description": "a test of newroot"}


def test_property_that_systemd_has_not_is_refused_and_nothing_remains(
    make: Callable[..., Cgroup],
) -> None:
    with pytest.raises(SyscallError, match="NoSuchThing"):
        make(annotations={"org.systemd.property.NoSuchThing": "true"})

    assert shown("test-c1.scope", "LoadState") == {"LoadState": "not-found"}


def test_unit_of_the_same_name_is_in_the_way(make: Callable[..., Cgroup]) -> None:
    cgroup = make()
    with member(cgroup), pytest.raises(SyscallError, match="already"):
        make()


def test_scope_that_failed_does_not_stand_in_the_way(make: Callable[..., Cgroup]) -> None:
    cgroup = make(
        annotations={
            "org.systemd.property.RuntimeMaxUSec": "uint64 100000",
            "org.systemd.property.TimeoutStopUSec": "uint64 100000",
        }
    )
    with member(cgroup) as pid:
        cgroup.joined()
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        deadline = time.monotonic() + 30
        while shown("test-c1.scope", "ActiveState") != {"ActiveState": "failed"}:
            assert time.monotonic() < deadline
    again = make()

    assert shown("test-c1.scope", "ActiveState") == {"ActiveState": "active"}
    assert again.directories == cgroup.directories


def test_default_scope_is_named_after_the_container(make: Callable[..., Cgroup]) -> None:
    assert make(None).directories == ("/sys/fs/cgroup/system.slice/newroot-c1.scope",)


def test_path_of_a_directory_is_refused(make: Callable[..., Cgroup]) -> None:
    with pytest.raises(SpecError, match="slice:prefix:name"):
        make("/newroot/c1")


def test_root_does_without_a_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Systemd, "_addresses", lambda self: [("/nowhere", True), ("/run/systemd/private", False)]
    )
    with Systemd(user=False) as systemd:
        assert systemd.version() >= 252


def test_runc_says_the_same_to_systemd(
    make: Callable[..., Cgroup], tmp_path: Path, tiny_root: Path
) -> None:
    names = [
        *("MemoryMax", "MemoryLow", "MemorySwapMax", "TasksMax", "AllowedCPUs", "MemoryHigh"),
        *("AllowedMemoryNodes", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "DevicePolicy"),
        *("Delegate", "DefaultDependencies", "Slice", "MemoryAccounting", "IOAccounting"),
    ]
    limits = {**LIMITS, "cpu": {k: v for k, v in LIMITS["cpu"].items() if k != "shares"}}
    subprocess.run(["runc", "spec", "--bundle", tmp_path], check=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["sleep", "100"]}
    config["root"]["path"] = str(tiny_root)
    config["linux"] |= {"cgroupsPath": "newroot-test.slice:runc:c2", "resources": limits}
    (tmp_path / "config.json").write_text(json.dumps(config))
    runc = ["runc", "--systemd-cgroup", "--root", str(tmp_path / "state")]
    try:
        subprocess.run(
            [*runc, "run", "--detach", "--bundle", tmp_path, "c2"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        theirs = shown("runc-c2.scope", *names)
        files = read_limits(Path("/sys/fs/cgroup/newroot.slice/newroot-test.slice/runc-c2.scope"))
    finally:
        subprocess.run([*runc, "delete", "--force", "c2"], check=True)
    cgroup = make(resources=limits)
    with member(cgroup):
        cgroup.joined()

        assert shown("test-c1.scope", *names) == theirs
        assert read_limits(Path(cgroup.directories[0])) == files


def read_limits(directory: Path) -> dict[str, str]:
    names = [
        *("memory.max", "memory.low", "memory.high", "memory.swap.max", "pids.max", "cpu.max"),
        *("cpu.weight", "cpuset.cpus", "cpuset.mems", "cgroup.controllers"),
    ]
    return {name: (directory / name).read_text() for name in names}


AS_USER = """\
import os, signal, subprocess
from newroot.container.oci_cgroup import make_cgroup, place_cgroup
from newroot.isolation.cgroups.detect import detect
host = detect()
config = {"linux": {"cgroupsPath": "user.slice:test:c1", "resources": {"pids": {"limit": 5}}}}
placed = place_cgroup(config, "c1", host, manager="systemd", rootless=True)
cgroup = make_cgroup(placed, config, "c1", host, rootless=True)
ready, theirs = os.pipe()
pid = os.fork()
if pid == 0:
    for path in cgroup.procs_paths:
        open(path, "w").write("0")
    os.write(theirs, b".")
    while True:
        signal.pause()
os.read(ready, 1)
cgroup.joined()
show = ["systemctl", "--user", "show", "test-c1.scope", "-p", "TasksMax", "-p", "ActiveState"]
print(*sorted(subprocess.run(show, capture_output=True, text=True).stdout.split()))
print(cgroup.directories[0])
print(cgroup.processes() == (pid,))
cgroup.kill()
os.waitpid(pid, 0)
cgroup.remove()
print(os.path.exists(cgroup.directories[0]))
"""


@pytest.mark.parametrize("prefix", [(), ("unshare", "--user", "--map-root-user")], ids=str)
def test_user_has_a_scope_of_the_users_own_manager(prefix: tuple[str, ...]) -> None:
    path = os.pathsep.join(sys.path)
    python = ["env", f"PYTHONPATH={path}", sys.executable, "-c", textwrap.dedent(AS_USER)]
    done = subprocess.run(
        ["asuser", *prefix, *python], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "ActiveState=active TasksMax=5",
        "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/user.slice/test-c1.scope",
        "True",
        "False",
    ]


def test_limit_on_writing_slows_it_down(host: CgroupHost, tmp_path: Path) -> None:
    device = os.stat("/").st_dev
    number = {"major": os.major(device), "minor": os.minor(device), "rate": MEGABYTE}
    resources = {"blockIO": {"throttleWriteBpsDevice": [number]}}
    cgroup = Cgroup.create("/newroot-test-io", resources, host=host)
    try:
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                for path in cgroup.procs_paths:
                    Path(path).write_text("0")
                fd = os.open("/var/tmp/newroot-test-io", os.O_WRONLY | os.O_CREAT, 0o600)
                os.write(fd, bytes(3 * MEGABYTE))
                os.fsync(fd)
                os._exit(0)
            os._exit(1)
        began = time.monotonic()
        status = os.waitpid(pid, 0)[1]
        took_s = time.monotonic() - began
        written = cgroup.stats().io_written_bytes or 0
    finally:
        cgroup.remove()
        Path("/var/tmp/newroot-test-io").unlink(missing_ok=True)

    assert status == 0
    assert written >= 3 * MEGABYTE
    assert took_s >= 1.5
