"""Bundles with limits: config-linux.md, "Control groups".

Read from inside, where a cgroup mount shows the container its own.  On a host of cgroup v1, or of
both, these are files of v1; ``tests/root/test_cgroups_v2.py`` has those of v2.
"""

from __future__ import annotations

from typing import Any

from differential.bundles import Change, case, linux, mount

VIEW = mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro")
AT = "/sys/fs/cgroup"


def limited(name: str, files: str, **resources: Any) -> None:
    """A case with *resources*, that reads *files* of its cgroup."""
    probes = " ".join(f"read:{AT}/{file}" for file in files.split())
    case(f"resources-{name}", VIEW, linux(resources=resources), probes=probes)


def file(controller: str, *names: str) -> str:
    return " ".join(f"{controller}/{controller}.{name}" for name in names)


MEMORY = file(
    "memory", "limit_in_bytes", "memsw.limit_in_bytes", "soft_limit_in_bytes", "swappiness",
    "oom_control", "kmem.tcp.limit_in_bytes", "use_hierarchy",
)  # fmt: skip
M = 1 << 20
limited("memory-limit", MEMORY, memory={"limit": 64 * M})
limited("memory-limit-not-of-a-page", MEMORY, memory={"limit": 64 * M + 1})
limited("memory-and-swap", MEMORY, memory={"limit": 64 * M, "swap": 96 * M})
limited("memory-no-swap", MEMORY, memory={"limit": 64 * M, "swap": 64 * M})
limited("memory-any-swap", MEMORY, memory={"limit": 64 * M, "swap": -1})
limited("memory-unlimited", MEMORY, memory={"limit": -1})
limited("memory-0-is-unset", MEMORY, memory={"limit": 0, "swap": 0, "reservation": 0})
limited("memory-reservation", MEMORY, memory={"reservation": 32 * M})
limited("memory-swappiness", MEMORY, memory={"swappiness": 10})
limited("memory-without-an-oom-killer", MEMORY, memory={"disableOOMKiller": True})
limited("memory-kernel-tcp", MEMORY, memory={"kernelTCP": 8 * M})
case(
    "resources-memory-swap-below-the-limit",
    linux(resources={"memory": {"limit": 64 * M, "swap": 32 * M}}),
    refused="/linux/resources/memory",
)
case(
    "resources-memory-too-little-to-live",
    linux(resources={"memory": {"limit": 4096}}),
    refused="",
)

CPU = file("cpu", "shares", "cfs_quota_us", "cfs_period_us", "cfs_burst_us", "idle")
limited("cpu-shares", CPU, cpu={"shares": 333})
limited("cpu-shares-too-few", CPU, cpu={"shares": 1})
limited("cpu-quota", CPU, cpu={"quota": 50_000, "period": 100_000})
limited("cpu-quota-alone", CPU, cpu={"quota": 20_000})
limited("cpu-period-alone", CPU, cpu={"period": 50_000})
limited("cpu-no-quota", CPU, cpu={"quota": -1, "period": 20_000})
CPUSET = file("cpuset", "cpus", "mems")
limited("cpuset", CPUSET, cpu={"cpus": "0", "mems": "0"})
limited("cpuset-a-range", CPUSET, cpu={"cpus": "0-1"})
case(
    "resources-cpuset-nonsense",
    linux(resources={"cpu": {"cpus": "some"}}),
    refused="/linux/resources/cpu/cpus",
)
limited("pids", file("pids", "max"), pids={"limit": 42})
limited("pids-unlimited", file("pids", "max"), pids={"limit": -1})
limited("everything", f"{MEMORY} {CPU} {CPUSET} {file('pids', 'max')}", memory={"limit": 99 * M},
        cpu={"shares": 99, "quota": 40_000, "cpus": "0"}, pids={"limit": 99})  # fmt: skip
limited("unknown-ones", "", novelty={"limit": 1})

# ── devices: what may be opened and made ─────────────────────────────────────────────────────

DENY = {"allow": False, "access": "rwm"}
NODE = {"path": "/dev/zero2", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666}


def ruled(name: str, *rules: dict[str, Any]) -> None:
    """A case whose cgroup's device list is *rules*."""
    change: Change = linux(resources={"devices": list(rules)}, devices=[NODE])
    probes = f"write:/dev/zero2 write:/dev/null write:/dev/tty read:{AT}/devices/devices.list"
    case(f"device-rules-{name}", VIEW, change, probes=probes)


ruled("none")
ruled("nothing-allowed", DENY)
ruled("one-allowed", DENY, {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rw"})
ruled("read-alone", DENY, {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"})
ruled("a-whole-major", DENY, {"allow": True, "type": "c", "major": 1, "access": "rwm"})
ruled("all-of-a-type", DENY, {"allow": True, "type": "c", "access": "rwm"})
ruled("everything", {"allow": True, "access": "rwm"})
ruled("everything-of-type-a", {"allow": True, "type": "a", "access": "rwm"})
case("device-rules-absent", VIEW, linux(resources={}), probes=f"read:{AT}/devices/devices.list")
case(
    "device-rules-of-an-unknown-type",
    linux(resources={"devices": [{"allow": True, "type": "x", "access": "rwm"}]}),
    refused="/linux/resources/devices/0/type",
)
case(
    "device-rules-of-an-unknown-access",
    linux(resources={"devices": [{"allow": True, "type": "c", "access": "z"}]}),
    refused="/linux/resources/devices/0/access",
)

# After runc 1.1.
case(
    "resources-cpu-burst",
    VIEW,
    linux(resources={"cpu": {"quota": 50_000, "period": 100_000, "burst": 10_000}}),
    probes=f"read:{AT}/cpu/cpu.cfs_burst_us",
    peer=None,
    expect={f"probes/read:{AT}/cpu/cpu.cfs_burst_us": "10000\n"},
)
case(
    "resources-cpu-idle",
    VIEW,
    linux(resources={"cpu": {"idle": 1}}),
    probes=f"read:{AT}/cpu/cpu.idle",
    peer=None,
    expect={f"probes/read:{AT}/cpu/cpu.idle": "1\n"},
)
BLOCK = [{"major": 7, "minor": 0, "rate": 1_000_000}]
limited(
    "block-io-throttled",
    file(
        "blkio",
        "throttle.read_bps_device",
        "throttle.write_bps_device",
        "throttle.read_iops_device",
        "throttle.write_iops_device",
    ),
    blockIO={
        f"throttle{way}{what}Device": BLOCK for way in ("Read", "Write") for what in ("Bps", "IOPS")
    },
)
# What this host has of a controller says what a limit comes to; without it both refuse.
limited("block-io-weight", file("blkio", "bfq.weight"), blockIO={"weight": 500})
for name, resources, words in (
    ("block-io-leaf-weight", {"blockIO": {"leafWeight": 500}}, "leaf_weight"),
    (
        "block-io-weight-of-no-device",
        {"blockIO": {"weightDevice": [{"major": 1, "minor": 0, "weight": 10}]}},
        "weight_device",
    ),
    ("network-class", {"network": {"classID": 1_048_577}}, "net_cls"),
    ("network-priority", {"network": {"priorities": [{"name": "lo", "priority": 5}]}}, "net_prio"),
    ("rdma", {"rdma": {"mlx5_1": {"hcaHandles": 3}}}, "rdma"),
    ("rdma-of-nothing", {"rdma": {"mlx5_1": {}}}, "rdma"),
    ("cpu-realtime", {"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 100_000}}, "rt_runtime"),
    ("huge-pages-of-no-size", {"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "3MB"),
):
    case(f"resources-{name}", linux(resources=resources), refused=words)
limited("memory-checked-before", MEMORY, memory={"limit": 64 * M, "checkBeforeUpdate": True})
limited("memory-kernel-is-ignored", MEMORY, memory={"limit": 64 * M, "kernel": 32 * M})
limited("memory-hierarchy", MEMORY, memory={"useHierarchy": True})
case(
    "resources-cpu-burst-above-quota",
    linux(resources={"cpu": {"quota": 50_000, "period": 100_000, "burst": 60_000}}),
    peer=None,
    refused="burst",
)
