"""OCI resources -> cgroup files, v1 beside v2, one table row a value.  Pure."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import SpecError, UnsupportedError
from newroot.isolation.cgroups import resources_v1, resources_v2
from newroot.isolation.cgroups.resources import Write

#: resources, what v1 writes, what v2 writes; nothing where v2 has no word for it, as in runc.
ROWS: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({}, [], []),
    ({"memory": None, "cpu": {}, "pids": {}, "unified": {}}, [], []),
    (
        {"memory": {"limit": 1 << 20}},
        ["memory.limit_in_bytes=1048576"],
        ["memory.max=1048576"],
    ),
    (
        {"memory": {"limit": 100, "swap": 300}},
        ["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=300"],
        ["memory.swap.max=200", "memory.max=100"],
    ),
    (
        {"memory": {"limit": 100, "swap": 100}},
        ["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=100"],
        ["memory.swap.max=0", "memory.max=100"],
    ),
    (
        {"memory": {"limit": 100, "swap": -1}},
        ["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=-1"],
        ["memory.swap.max=max?", "memory.max=100"],
    ),
    (
        {"memory": {"limit": -1}},
        ["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1?"],
        ["memory.swap.max=max?", "memory.max=max"],
    ),
    ({"memory": {"limit": 0, "swap": 0, "reservation": 0}}, [], []),
    (
        {"memory": {"reservation": 7, "kernel": 9, "kernelTCP": 9, "useHierarchy": True}},
        ["memory.soft_limit_in_bytes=7"],
        ["memory.low=7"],
    ),
    ({"memory": {"disableOOMKiller": False, "checkBeforeUpdate": True}}, [], []),
    ({"memory": {"disableOOMKiller": True}}, ["memory.oom_control=1"], []),
    ({"memory": {"swappiness": 60}}, ["memory.swappiness=60"], []),
    ({"memory": {"swappiness": 2**64 - 1}}, [], []),
    ({"cpu": {"shares": 1024}}, ["cpu.shares=1024"], ["cpu.weight=100"]),
    ({"cpu": {"shares": 2}}, ["cpu.shares=2"], ["cpu.weight=1"]),
    ({"cpu": {"shares": 262144}}, ["cpu.shares=262144"], ["cpu.weight=10000"]),
    (
        {"cpu": {"quota": 50000, "period": 100000}},
        ["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=50000"],
        ["cpu.max=50000 100000"],
    ),
    ({"cpu": {"quota": 50000}}, ["cpu.cfs_quota_us=50000"], ["cpu.max=50000"]),
    ({"cpu": {"quota": -1}}, ["cpu.cfs_quota_us=-1"], ["cpu.max=max"]),
    ({"cpu": {"period": 20000}}, ["cpu.cfs_period_us=20000"], ["cpu.max=max 20000"]),
    (
        {"cpu": {"quota": 50000, "burst": 1000}},
        ["cpu.cfs_quota_us=50000", "cpu.cfs_burst_us=1000"],
        ["cpu.max=50000", "cpu.max.burst=1000"],
    ),
    (
        {"cpu": {"idle": 1, "shares": 2}},
        ["cpu.shares=2", "cpu.idle=1"],
        ["cpu.weight=1", "cpu.idle=1"],
    ),
    (
        {"cpu": {"idle": 0, "shares": 2}},
        ["cpu.idle=0", "cpu.shares=2"],
        ["cpu.idle=0", "cpu.weight=1"],
    ),
    (
        {"cpu": {"realtimePeriod": 1000, "realtimeRuntime": 500}},
        ["cpu.rt_period_us=1000", "cpu.rt_runtime_us=500"],
        [],
    ),
    (
        {"cpu": {"cpus": "0-1,3", "mems": "0"}},
        ["cpuset.cpus=0-1,3", "cpuset.mems=0"],
        ["cpuset.cpus=0-1,3", "cpuset.mems=0"],
    ),
    ({"pids": {"limit": 32}}, ["pids.max=32"], ["pids.max=32"]),
    ({"pids": {"limit": -1}}, ["pids.max=max"], ["pids.max=max"]),
    ({"pids": {"limit": 0}}, [], []),
    (
        {"blockIO": {"weight": 500}},
        ["blkio.weight=500|blkio.bfq.weight=500"],
        ["io.bfq.weight=500|io.weight=4950"],
    ),
    (
        {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}},
        ["blkio.weight_device=8:0 10|blkio.bfq.weight_device=8:0 10"],
        ["io.bfq.weight=8:0 10|io.weight=8:0 1"],
    ),
    ({"blockIO": {"leafWeight": 10}}, ["blkio.leaf_weight=10"], []),
    (
        {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 10}]}},
        ["blkio.leaf_weight_device=8:0 10"],
        [],
    ),
    (
        {
            "blockIO": {
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
                "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 2}],
                "throttleReadIOPSDevice": [{"major": 8, "minor": 16, "rate": 3}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
            }
        },
        [
            "blkio.throttle.read_bps_device=8:0 1",
            "blkio.throttle.write_bps_device=8:0 2",
            "blkio.throttle.read_iops_device=8:16 3",
            "blkio.throttle.write_iops_device=8:16 0",
        ],
        ["io.max=8:0 rbps=1", "io.max=8:0 wbps=2", "io.max=8:16 riops=3", "io.max=8:16 wiops=max"],
    ),
    (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]},
        ["hugetlb.2MB.limit_in_bytes=4194304", "hugetlb.2MB.rsvd.limit_in_bytes=4194304?"],
        ["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304?"],
    ),
    ({"network": {"classID": 1048577}}, ["net_cls.classid=1048577"], []),
    (
        {"network": {"priorities": [{"name": "eth0", "priority": 500}]}},
        ["net_prio.ifpriomap=eth0 500"],
        [],
    ),
    ({"network": {"classID": 0, "priorities": []}}, [], []),
    (
        {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaObjects": 1}}},
        ["rdma.max=mlx5_1 hca_handle=3 hca_object=10000", "rdma.max=mlx4_0 hca_object=1"],
        ["rdma.max=mlx5_1 hca_handle=3 hca_object=10000", "rdma.max=mlx4_0 hca_object=1"],
    ),
]


def shown(writes: tuple[Write, ...]) -> list[str]:
    """``file=value``, with ``?`` for optional and ``|`` before what is written instead."""
    return [
        f"{w.file}={w.value}{'?' if w.optional else ''}"
        + (f"|{w.instead.file}={w.instead.value}" if w.instead else "")
        for w in writes
    ]


@pytest.mark.parametrize(("resources", "v1"), [(row[0], row[1]) for row in ROWS], ids=str)
def test_v1_files(resources: dict[str, Any], v1: list[str]) -> None:
    assert shown(resources_v1.writes(resources)) == v1


@pytest.mark.parametrize(("resources", "v2"), [(row[0], row[2]) for row in ROWS], ids=str)
def test_v2_files(resources: dict[str, Any], v2: list[str]) -> None:
    assert shown(resources_v2.writes(resources)) == v2


def test_unified_names_files_and_has_the_last_word() -> None:
    resources: dict[str, Any] = {
        "unified": {
            "memory.high": "5",
            "io.max": "8:0 rbps=1\n8:16 rbps=2",
            "cgroup.max.depth": "3",
        },
        "memory": {"limit": 9},
    }

    assert [(w.controller, w.file, w.value) for w in resources_v2.writes(resources)] == [
        ("memory", "memory.max", "9"),
        ("memory", "memory.high", "5"),
        ("io", "io.max", "8:0 rbps=1"),
        ("io", "io.max", "8:16 rbps=2"),
        ("", "cgroup.max.depth", "3"),
    ]


def test_unified_is_refused_on_v1() -> None:
    with pytest.raises(UnsupportedError):
        resources_v1.writes({"unified": {"memory.high": "5"}})


@pytest.mark.parametrize(
    ("resources", "pointer"),
    [
        ([], ""),
        ({"memory": 3}, "/memory"),
        ({"memory": {"limit": "64m"}}, "/memory/limit"),
        ({"memory": {"limit": True}}, "/memory/limit"),
        ({"memory": {"limit": -2}}, "/memory/limit"),
        ({"memory": {"limit": 2**63}}, "/memory/limit"),
        ({"memory": {"limit": 1.5}}, "/memory/limit"),
        ({"memory": {"limit": 300, "swap": 200}}, "/memory/swap"),
        ({"memory": {"swappiness": 101}}, "/memory/swappiness"),
        ({"memory": {"disableOOMKiller": 1}}, "/memory/disableOOMKiller"),
        ({"cpu": {"quota": 999}}, "/cpu/quota"),
        ({"cpu": {"period": 999}}, "/cpu/period"),
        ({"cpu": {"period": 1000001}}, "/cpu/period"),
        ({"cpu": {"idle": 2}}, "/cpu/idle"),
        ({"cpu": {"burst": -1}}, "/cpu/burst"),
        ({"cpu": {"cpus": "0;1"}}, "/cpu/cpus"),
        ({"cpu": {"mems": 0}}, "/cpu/mems"),
        ({"blockIO": {"weight": 9}}, "/blockIO/weight"),
        ({"blockIO": {"weightDevice": {}}}, "/blockIO/weightDevice"),
        ({"blockIO": {"weightDevice": [None]}}, "/blockIO/weightDevice/0"),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "rate": 1}]}},
            "/blockIO/throttleReadBpsDevice/0/minor",
        ),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0}]}},
            "/blockIO/throttleReadBpsDevice/0/rate",
        ),
        ({"hugepageLimits": [{"pageSize": "2M", "limit": 1}]}, "/hugepageLimits/0/pageSize"),
        ({"hugepageLimits": [{"pageSize": "/../MB", "limit": 1}]}, "/hugepageLimits/0/pageSize"),
        ({"hugepageLimits": [{"pageSize": "2MB"}]}, "/hugepageLimits/0/limit"),
        ({"rdma": {"a b": {}}}, "/rdma/a b"),
        ({"rdma": {"a/b": {"hcaHandles": -1}}}, "/rdma/a~1b/hcaHandles"),
        ({"pids": {"limit": "max"}}, "/pids/limit"),
    ],
    ids=str,
)
def test_wrong_value_is_pointed_at(resources: Any, pointer: str) -> None:
    for translate in (resources_v1.writes, resources_v2.writes):
        with pytest.raises(SpecError) as caught:
            translate(resources)

        assert caught.value.pointer == "/linux/resources" + pointer


@pytest.mark.parametrize(
    ("network", "pointer"),
    [
        ({"classID": 2**32}, "/network/classID"),
        ({"priorities": [{"name": "a b", "priority": 1}]}, "/network/priorities/0/name"),
        ({"priorities": [{"name": "eth0"}]}, "/network/priorities/0/priority"),
    ],
)
def test_wrong_network_value_is_pointed_at(network: dict[str, Any], pointer: str) -> None:
    for translate in (resources_v1.writes, resources_v2.writes):
        with pytest.raises(SpecError) as caught:
            translate({"network": network})

        assert caught.value.pointer == "/linux/resources" + pointer


@pytest.mark.parametrize(
    ("unified", "pointer"),
    [
        ({"memory": "1"}, "/unified/memory"),
        ({"../memory.max": "1"}, "/unified/..~1memory.max"),
        ({".max": "1"}, "/unified/.max"),
        ({"memory.max": 1}, "/unified/memory.max"),
    ],
)
def test_wrong_unified_entry_is_pointed_at(unified: dict[str, Any], pointer: str) -> None:
    with pytest.raises(SpecError) as caught:
        resources_v2.writes({"unified": unified})

    assert caught.value.pointer == "/linux/resources" + pointer


@pytest.mark.parametrize("shares", [1, 262145])
def test_shares_that_the_kernel_would_clamp_are_refused_on_v1(shares: int) -> None:
    with pytest.raises(SpecError):
        resources_v1.writes({"cpu": {"shares": shares}})


def test_swap_without_a_memory_limit_is_refused_on_v2() -> None:
    with pytest.raises(SpecError) as caught:
        resources_v2.writes({"memory": {"swap": 100}})

    assert caught.value.pointer == "/linux/resources/memory/swap"


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(2, 1), (1024, 100), (262144, 10000), (1, 1), (10**9, 10000)],
)
def test_weight_of_shares_goes_through_the_known_points(shares: int, weight: int) -> None:
    assert resources_v2.weight_of_shares(shares) == weight


@given(st.integers(2, 262143))
def test_weight_of_shares_never_falls_and_stays_in_range(shares: int) -> None:
    less, more = map(resources_v2.weight_of_shares, (shares, shares + 1))

    assert 1 <= less <= more <= 10000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
MEMBERS = st.sampled_from(
    "limit swap reservation swappiness disableOOMKiller shares quota period burst idle cpus mems "
    "weight leafWeight weightDevice throttleReadBpsDevice classID priorities major minor".split()
)


@given(
    st.dictionaries(
        st.sampled_from(
            "memory cpu pids blockIO hugepageLimits network rdma unified devices".split()
        ),
        JSON | st.dictionaries(MEMBERS, JSON, max_size=4),
    )
)
def test_no_document_gets_anything_but_writes_or_our_own_errors(resources: dict[str, Any]) -> None:
    for translate in (resources_v1.writes, resources_v2.writes):
        try:
            writes = translate(resources)
        except (SpecError, UnsupportedError):
            continue

        assert all("/" not in w.file and "\n" not in w.value for w in writes)
