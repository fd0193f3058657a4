"""What systemd is told: names, properties, annotations.  Pure; the real systemd is in tests/vm."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import SpecError
from newroot.isolation.cgroups import resources_v1, resources_v2
from newroot.isolation.cgroups.devices import read_rules
from newroot.isolation.cgroups.gvariant import properties_of
from newroot.isolation.cgroups.resources import POINTER, Section
from newroot.isolation.cgroups.systemd import (
    device_properties,
    expand_slice,
    limit_properties,
    unit_name,
)

INFINITY = 2**64 - 1
NOW = 255


@pytest.mark.parametrize(
    ("path", "slice_", "unit", "cgroup"),
    [
        (None, "system.slice", "newroot-x.scope", "/system.slice/newroot-x.scope"),
        ("a-b.slice:runc:x", "a-b.slice", "runc-x.scope", "/a.slice/a-b.slice/runc-x.scope"),
        (":libpod:x", "system.slice", "libpod-x.scope", "/system.slice/libpod-x.scope"),
        ("-.slice:p:x", "-.slice", "p-x.scope", "/p-x.scope"),
        ("a.slice::x", "a.slice", "x.scope", "/a.slice/x.scope"),
        ("a.slice:p:x.slice", "a.slice", "x.slice", "/a.slice/x.slice"),
    ],
)
def test_cgroups_path_names_a_unit(path: str | None, slice_: str, unit: str, cgroup: str) -> None:
    name = unit_name(path, "x", user=False)

    assert (name.slice, name.unit, name.path()) == (slice_, unit, cgroup)


def test_default_slice_is_the_managers_own() -> None:
    assert unit_name(None, "x", user=True).slice == "user.slice"


@pytest.mark.parametrize(
    "path",
    [
        "/a/b",
        "a.slice:b",
        "a.slice:b:c:d",
        "a.slice:b:",
        "a:b:c",
        "a.slice:b/c:d",
        "a--b.slice:c:d",
    ],
)
def test_other_cgroups_paths_are_refused(path: str) -> None:
    with pytest.raises(SpecError) as caught:
        unit_name(path, "x", user=False)

    assert caught.value.pointer == "/linux/cgroupsPath"


@given(st.lists(st.from_regex(r"[a-z0-9_]+", fullmatch=True), min_size=1, max_size=6))
def test_slice_lies_below_the_slices_that_its_name_begins_with(parts: list[str]) -> None:
    path = expand_slice("-".join(parts) + ".slice")
    names = path.split("/")[1:]

    assert len(names) == len(parts)
    assert names[-1] == "-".join(parts) + ".slice"
    assert all(b.startswith(a.removesuffix("slice").rstrip(".") + "-") for a, b in pairwise(names))


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"memory": {"limit": 7}}, {"MemoryMax": ("t", 7)}),
        (
            {"memory": {"limit": 100, "swap": 300, "reservation": 50}},
            {"MemoryMax": ("t", 100), "MemorySwapMax": ("t", 200), "MemoryLow": ("t", 50)},
        ),
        (
            {"memory": {"limit": -1}},
            {"MemoryMax": ("t", INFINITY), "MemorySwapMax": ("t", INFINITY)},
        ),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": ("t", 100)}),
        ({"cpu": {"shares": 1024, "idle": 1}}, {"CPUWeight": ("t", 0)}),
        (
            {"cpu": {"quota": 50000, "period": 100000}},
            {"CPUQuotaPeriodUSec": ("t", 100000), "CPUQuotaPerSecUSec": ("t", 500000)},
        ),
        # A fraction of a percent is rounded up.
        ({"cpu": {"quota": 12345}}, {"CPUQuotaPerSecUSec": ("t", 130000)}),
        ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": ("t", INFINITY)}),
        (
            {"cpu": {"cpus": "0-1,9", "mems": "0"}},
            {"AllowedCPUs": ("ay", b"\3\2"), "AllowedMemoryNodes": ("ay", b"\1")},
        ),
        ({"pids": {"limit": 20}}, {"TasksMax": ("t", 20)}),
        ({"pids": {"limit": -1}}, {"TasksMax": ("t", INFINITY)}),
        (
            {"unified": {"memory.high": "5", "pids.max": "9"}},
            {"MemoryHigh": ("t", 5), "TasksMax": ("t", 9)},
        ),
        ({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]}}, {}),
    ],
    ids=str,
)
def test_limits_on_v2_are_said_to_systemd(resources: dict[str, object], expected: object) -> None:
    assert limit_properties(resources_v2.writes(resources), version=NOW) == expected


def test_limits_on_v1_are_said_to_systemd() -> None:
    resources: dict[str, object] = {
        "memory": {"limit": 7},
        "cpu": {"shares": 512, "quota": 50000, "period": 50000},
        "pids": {"limit": 3},
        "blockIO": {"weight": 10},
    }

    assert limit_properties(resources_v1.writes(resources), version=NOW) == {
        "MemoryLimit": ("t", 7),
        "CPUShares": ("t", 512),
        "CPUQuotaPeriodUSec": ("t", 50000),
        "CPUQuotaPerSecUSec": ("t", 1000000),
        "TasksMax": ("t", 3),
        "BlockIOWeight": ("t", 10),
    }


def test_older_systemd_is_not_told_of_idle() -> None:
    writes = resources_v2.writes({"cpu": {"idle": 1}})

    assert limit_properties(writes, version=251) == {}


@given(st.sets(st.integers(0, 300), min_size=1))
def test_bits_are_the_members_of_the_list(members: set[int]) -> None:
    writes = resources_v2.writes({"cpu": {"cpus": ",".join(map(str, members))}})
    _, bits = limit_properties(writes, version=NOW)["AllowedCPUs"]

    assert isinstance(bits, bytes)
    assert {n for n in range(8 * len(bits)) if bits[n // 8] >> n % 8 & 1} == members


def test_device_rules_become_an_allow_list() -> None:
    rules = read_rules(Section({"devices": []}, POINTER))
    properties = device_properties(rules)

    assert properties["DevicePolicy"] == ("s", "strict")
    entries = properties["DeviceAllow"][1]
    assert isinstance(entries, list)
    assert ("/dev/char/1:3", "rwm") in entries
    assert ("char-*", "m") in entries
    assert ("char-136", "rwm") in entries


@pytest.mark.parametrize(
    "devices",
    [
        [{"allow": True}],
        [{"allow": True}, {"allow": False, "type": "c", "major": 10, "minor": 229}],
        [{"allow": True, "type": "c", "minor": 229, "access": "rwm"}],
    ],
)
def test_rules_that_systemd_cannot_say_are_left_to_our_program(devices: list[object]) -> None:
    rules = read_rules(Section({"devices": devices}, POINTER))

    assert device_properties(rules)["DevicePolicy"] == ("s", "auto")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("TimeoutStopUSec", "uint64 123456789", ("TimeoutStopUSec", ("t", 123456789))),
        ("CollectMode", "'inactive-or-failed'", ("CollectMode", ("s", "inactive-or-failed"))),
        ("RuntimeMaxSec", "2", ("RuntimeMaxUSec", ("t", 2000000))),
        ("RuntimeMaxSec", "0.5", ("RuntimeMaxUSec", ("t", 500000))),
        ("IPAccounting", "true", ("IPAccounting", ("b", True))),
        ("TasksMax", "int32 -1", ("TasksMax", ("i", -1))),
        ("After", "['a.service', 'b.service']", ("After", ("as", ["a.service", "b.service"]))),
    ],
)
def test_annotation_is_a_property(name: str, text: str, expected: tuple[str, object]) -> None:
    found = properties_of({f"org.systemd.property.{name}": text, "other": "x"})

    assert found == dict([expected])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("A", "1"),
        ("Bad-Name", "1"),
        ("TasksMax", "byte 256"),
        ("TasksMax", "x y"),
        ("After", "['a'"),
        ("After", "['a', 1]"),
        ("TimeoutStopSec", "'x'"),
        ("TasksMax", "4294967296"),
    ],
)
def test_other_annotations_are_refused(name: str, text: str) -> None:
    key = f"org.systemd.property.{name}"
    with pytest.raises(SpecError) as caught:
        properties_of({key: text})

    assert caught.value.pointer == f"/annotations/{key}"


@given(st.text(max_size=20), st.text(max_size=30))
def test_no_annotation_gets_anything_but_a_property_or_our_own_error(name: str, text: str) -> None:
    try:
        properties_of({f"org.systemd.property.{name}": text})
    except SpecError:
        return
