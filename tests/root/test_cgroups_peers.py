"""The same OCI resources given to runc and to us must leave the same words in the same files."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from newroot.isolation.cgroups.cgroup import Cgroup
from newroot.isolation.cgroups.demand import translate
from newroot.isolation.cgroups.detect import CgroupHost, detect
from newroot.testing.needs import needs

pytestmark = needs("root", "runc", "busybox")

PARENT = f"/newroot-test-peer-{os.getpid()}"

#: A block device that takes limits: the one that the root file system is on.
_DISK = os.stat("/").st_dev
DISK = {"major": os.major(_DISK), "minor": os.minor(_DISK)}

RESOURCES: list[dict[str, Any]] = [
    {"memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20}},
    {"memory": {"limit": 64 << 20, "swap": -1}},
    {"memory": {"limit": 64 << 20, "swap": 64 << 20}},
    {"memory": {"limit": -1}},
    {"cpu": {"quota": 50000, "period": 50000}},
    {"cpu": {"quota": -1, "period": 20000}},
    {"cpu": {"cpus": "0", "mems": "0"}},
    {"pids": {"limit": 30}},
    {"pids": {"limit": -1}},
    {"pids": {"limit": 0}},
    {"memory": {"limit": 64 << 20, "kernel": 1 << 20, "kernelTCP": 1 << 20, "swappiness": 60}},
    {"memory": {"limit": 64 << 20, "disableOOMKiller": False}},
    {"cpu": {"quota": 30000}},
    {"cpu": {"period": 30000}},
    {"cpu": {"realtimePeriod": 0, "realtimeRuntime": 0}},
    {"blockIO": {"throttleReadBpsDevice": [{**DISK, "rate": 1 << 20}]}},
    {
        "blockIO": {
            "throttleWriteBpsDevice": [{**DISK, "rate": 2 << 20}],
            "throttleReadIOPSDevice": [{**DISK, "rate": 100}],
            "throttleWriteIOPSDevice": [{**DISK, "rate": 200}],
        }
    },
    {"network": {}},
]
#: runc 1.1 converts shares by the older formula on v2, and has no idle and no burst.
if detect().mode != "v2":
    RESOURCES += [{"cpu": {"shares": 512}}, {"cpu": {"shares": 2}}]
    RESOURCES += [{"memory": {"limit": 64 << 20, "disableOOMKiller": True}}]
else:
    RESOURCES += [
        {"unified": {"memory.high": str(32 << 20), "pids.max": "12", "cpu.weight": "77"}},
        {"unified": {"io.max": f"{DISK['major']}:{DISK['minor']} rbps=1048576\n"}},
        {"memory": {"limit": 64 << 20, "disableOOMKiller": True}},
        {"network": {"classID": 1048577}},
    ]


@pytest.fixture(scope="module")
def host() -> Iterator[CgroupHost]:
    found = detect()
    yield found
    Cgroup.find(PARENT, host=found).remove()


@pytest.fixture
def bundle(tmp_path: Path, tiny_root: Path) -> dict[str, Any]:
    subprocess.run(["runc", "spec", "--bundle", tmp_path], check=True)
    config: dict[str, Any] = json.loads((tmp_path / "config.json").read_text())
    config["process"]["terminal"] = False
    config["root"] = {"path": str(tiny_root), "readonly": True}
    config["linux"]["cgroupsPath"] = f"{PARENT}/runc"
    return config


def read(cgroup: Cgroup, controllers: set[str]) -> dict[str, str]:
    """The limits of a cgroup: each file of *controllers* that can be written and read back."""
    found = {}
    for controller in sorted(controllers):
        directory = Path(cgroup.directory_of(controller) or "/nowhere")
        for file in sorted(directory.glob(f"{controller}.*")):
            if os.stat(file).st_mode & 0o600 == 0o600:
                try:
                    found[file.name] = file.read_text()
                except OSError:
                    continue  # some can be written only
    return found


def is_limit(name: str) -> bool:
    """Whether a file holds a setting, not something that the cgroup's life has counted."""
    counted = ("usage", "failcnt", "events", "pressure", "peak", "stat", "oom_control", "reclaim")
    return not any(word in name for word in counted)


@pytest.mark.parametrize("resources", RESOURCES, ids=str)
def test_limits_are_the_ones_that_runc_sets(
    host: CgroupHost, bundle: dict[str, Any], tmp_path: Path, resources: dict[str, Any]
) -> None:
    controllers = {write.controller for write in translate(resources, host).writes}
    for controller in controllers:
        if host.find(controller) is None:
            pytest.skip(f"needs the cgroup controller {controller}")
    bundle["linux"]["resources"] = resources
    (tmp_path / "config.json").write_text(json.dumps(bundle))
    name = f"newroot-test-{os.getpid()}"
    runc = ["runc", "--root", str(tmp_path / "state")]
    ours = Cgroup.create(f"{PARENT}/ours", resources, host=host)
    try:
        subprocess.run(
            [*runc, "create", "--bundle", str(tmp_path), name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        theirs = read(Cgroup.find(f"{PARENT}/runc", host=host), controllers)
        mine = read(ours, controllers)
    finally:
        subprocess.run([*runc, "delete", "--force", name], check=True)
        ours.remove()

    assert {k: v for k, v in mine.items() if is_limit(k)} == {
        k: v for k, v in theirs.items() if is_limit(k)
    }
    assert mine or not controllers
