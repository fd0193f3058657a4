"""Which hierarchies the two /proc files of hosts of every kind come to.  Pure."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.isolation.cgroups.detect import Hierarchy, detect, read_host

V2_MOUNTS = """\
22 27 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
29 22 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""
V2_OWN = "0::/user.slice/user-1000.slice/session-3.scope\n"

V1_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:14 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
"""
V1_OWN = "3:memory:/process_api/98fc\n2:cpu,cpuacct:/\n1:name=systemd:/init.scope\n"

UNIFIED_MOUNT = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"


def hierarchy(**changes: object) -> Hierarchy:
    values: dict[str, object] = {
        "version": 2,
        "controllers": (),
        "mount": "/sys/fs/cgroup",
        "root": "/",
        "own": "/",
        "readonly": False,
    }
    return Hierarchy(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mounts", "own", "mode"),
    [
        (V2_MOUNTS, V2_OWN, "v2"),
        (V1_MOUNTS, V1_OWN, "v1"),
        (V1_MOUNTS + UNIFIED_MOUNT, V1_OWN + "0::/\n", "hybrid"),
        ("", V2_OWN, "none"),
        (V1_MOUNTS.splitlines()[1] + "\n" + UNIFIED_MOUNT, "1:name=systemd:/\n0::/\n", "v2"),
    ],
    ids=["pure v2", "pure v1", "hybrid", "nothing mounted", "named v1 and v2"],
)
def test_mode_is_told_by_what_is_mounted(mounts: str, own: str, mode: str) -> None:
    assert read_host(mounts, own).mode == mode


def test_controllers_mounted_together_are_one_hierarchy() -> None:
    host = read_host(V1_MOUNTS, V1_OWN)
    cpu = host.find("cpuacct")

    assert cpu is not None
    assert (cpu.mount, cpu.controllers) == ("/sys/fs/cgroup/cpu,cpuacct", ("cpu", "cpuacct"))


def test_our_place_is_told_for_each_hierarchy_by_itself() -> None:
    host = read_host(V1_MOUNTS, V1_OWN)

    assert {h.controllers: h.own for h in host.hierarchies} == {
        ("name=systemd",): "/init.scope",
        ("cpu", "cpuacct"): "/",
        ("memory",): "/process_api/98fc",
    }


def test_read_only_mount_is_said_to_be_one() -> None:
    host = read_host(V2_MOUNTS.replace("cgroup rw,nosuid", "cgroup ro,nosuid"), "0::/\n")

    assert host.why == "the cgroup file system is mounted read-only here"


def test_absent_mount_is_said_to_be_absent() -> None:
    assert read_host("", V2_OWN).why == "no cgroup file system is mounted here"


def test_writable_mount_is_preferred_to_a_read_only_one_of_the_same_hierarchy() -> None:
    twice = (
        "29 22 0:25 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n"
        "30 22 0:25 / /run/cgroup rw - cgroup2 cgroup2 rw\n"
    )

    assert [h.mount for h in read_host(twice, "0::/\n").hierarchies] == ["/run/cgroup"]


def test_mount_covered_by_a_later_one_does_not_count() -> None:
    host = read_host(
        V1_MOUNTS + "50 23 0:40 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", V1_OWN + "0::/\n"
    )

    assert host.mode == "v2"
    assert [h.mount for h in host.hierarchies] == ["/sys/fs/cgroup"]


def test_octal_escapes_in_a_mount_point_are_undone() -> None:
    host = read_host("29 22 0:25 / /a\\040b\\134c rw - cgroup2 cgroup2 rw\n", "0::/\n")

    assert [h.mount for h in host.hierarchies] == ["/a b\\c"]


def test_absolute_path_counts_from_the_top_of_the_mount() -> None:
    assert hierarchy(own="/user.slice/a.scope").directory("/newroot/x") == (
        "/sys/fs/cgroup/newroot/x"
    )


def test_relative_path_counts_from_our_own_cgroup_on_v1() -> None:
    memory = hierarchy(version=1, mount="/cg/memory", own="/process_api/98fc")

    assert memory.directory("newroot/x") == "/cg/memory/process_api/98fc/newroot/x"


def test_relative_path_counts_from_the_parent_of_our_cgroup_on_v2(tmp_path: object) -> None:
    os.makedirs(f"{tmp_path}/app.slice/a.scope")
    ours = hierarchy(mount=str(tmp_path), own="/app.slice/a.scope")

    assert ours.directory("newroot/x") == f"{tmp_path}/app.slice/newroot/x"


def test_relative_path_stays_inside_the_mount_when_we_are_at_its_top(tmp_path: object) -> None:
    ours = hierarchy(mount=str(tmp_path), own="/")

    assert ours.directory("newroot/x") == f"{tmp_path}/newroot/x"


def test_leaf_that_we_moved_ourselves_to_is_not_counted_as_our_cgroup() -> None:
    ours = hierarchy(version=1, own="/a.scope/newroot.self")

    assert ours.own_directory() == "/sys/fs/cgroup/a.scope"


def test_mount_of_a_subtree_is_taken_off_our_path() -> None:
    ours = hierarchy(root="/docker/1f", own="/docker/1f/child")

    assert ours.own_directory() == "/sys/fs/cgroup/child"


def test_place_that_the_mount_does_not_show_is_taken_for_its_top() -> None:
    ours = hierarchy(root="/docker/1f", own="/elsewhere")

    assert ours.own_directory() == "/sys/fs/cgroup"


def test_default_path_is_relative_where_the_top_is_not_ours() -> None:
    host = read_host(V2_MOUNTS, V2_OWN)

    assert host.default_path("c1") == "/newroot/c1"
    assert (
        type(host)(mode="v2", hierarchies=host.hierarchies, delegated=True, why="").default_path(
            "c1"
        )
        == "newroot/c1"
    )


def test_this_host_can_be_asked() -> None:
    host = detect()

    assert host.mode in ("v1", "v2", "hybrid", "none")
    assert bool(host.hierarchies) == (host.mode != "none")


@given(
    st.lists(st.sampled_from(["cpu", "memory", "pids", "blkio", "cpuset"]), unique=True),
    st.booleans(),
)
def test_every_mounted_controller_is_found_where_it_is_mounted(names: list[str], v2: bool) -> None:
    mounts = "".join(
        f"{i} 1 0:{i} / /cg/{name} rw - cgroup cgroup rw,{name}\n" for i, name in enumerate(names)
    )
    own = "".join(f"{i + 1}:{name}:/own/{name}\n" for i, name in enumerate(names))
    if v2:
        mounts += UNIFIED_MOUNT
        own += "0::/\n"
    host = read_host(mounts, own)

    assert {h.controllers[0]: h.mount for h in host.hierarchies if h.version == 1} == {
        name: f"/cg/{name}" for name in names
    }
    assert (host.unified is not None) == v2
