"""What Cgroup decides without touching a cgroup: paths, placing, refusals, remedies."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import SpecError, SyscallError, UnsupportedError
from newroot.isolation.cgroups import files
from newroot.isolation.cgroups.cgroup import Cgroup, clean_path
from newroot.isolation.cgroups.demand import translate
from newroot.isolation.cgroups.detect import CgroupHost, Hierarchy


def host_of(mode: str, *hierarchies: Hierarchy, why: str = "") -> CgroupHost:
    return CgroupHost(mode=mode, hierarchies=hierarchies, delegated=False, why=why)


def hierarchy(version: int, *controllers: str, mount: str = "/nowhere") -> Hierarchy:
    return Hierarchy(
        version=version, controllers=controllers, mount=mount, root="/", own="/", readonly=False
    )


HYBRID = host_of("hybrid", hierarchy(1, "memory"), hierarchy(1, "pids"), hierarchy(2, "hugetlb"))
V1 = host_of("v1", hierarchy(1, "memory"), hierarchy(1, "devices"))
V2 = host_of("v2", hierarchy(2, "memory", "pids"))
NOTHING = host_of("none", why="no cgroup file system is mounted here")


def test_each_controller_is_spoken_to_in_the_version_it_lives_in() -> None:
    demand = translate(
        {
            "memory": {"limit": 9},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
            "pids": {"limit": 1},
        },
        HYBRID,
    )

    assert [w.file for w in demand.writes if not w.optional] == [
        "memory.limit_in_bytes",
        "pids.max",
        "hugetlb.2MB.max",
    ]


@pytest.mark.parametrize(("host", "program"), [(V1, False), (V2, True), (HYBRID, True)])
def test_devices_become_a_program_where_no_v1_hierarchy_has_them(
    host: CgroupHost, program: bool
) -> None:
    demand = translate({"devices": []}, host)

    assert (demand.device_program is not None) == program
    assert bool(demand.writes) != program


def test_limit_without_its_controller_is_unsupported() -> None:
    with pytest.raises(UnsupportedError) as caught:
        Cgroup.create("/newroot/x", {"pids": {"limit": 3}}, host=V1)

    assert caught.value.feature == "cgroup controller pids"
    assert "memory, devices" in (caught.value.tried or "")


def test_limit_without_any_cgroup_mount_says_so() -> None:
    with pytest.raises(UnsupportedError) as caught:
        Cgroup.create("/newroot/x", {"pids": {"limit": 3}}, host=NOTHING)

    assert "no cgroup file system is mounted here" in str(caught.value)


@pytest.mark.parametrize("host", [V1, NOTHING])
def test_nothing_asked_for_makes_no_directory_on_v1(host: CgroupHost) -> None:
    cgroup = Cgroup.create("/newroot/x", {}, host=host)

    assert cgroup.procs_paths == ()
    assert cgroup.oom_kills() == 0
    assert cgroup.processes() == ()
    cgroup.kill()
    cgroup.remove()


def test_freezing_without_a_freezer_says_what_was_missed() -> None:
    with pytest.raises(UnsupportedError) as caught:
        Cgroup.create("/newroot/x", {}, host=V1).freeze()

    assert caught.value.feature == "freezer"


@pytest.mark.parametrize(
    ("given_path", "cleaned"),
    [
        ("/newroot/x", "/newroot/x"),
        ("//a/./b/", "/a/b"),
        ("a//b", "a/b"),
        ("a:b:c", "a:b:c"),
        ("/a/../../b", "/b"),
        ("../a", "a"),
    ],
)
def test_path_is_cleaned(given_path: str, cleaned: str) -> None:
    assert clean_path(given_path) == cleaned


@pytest.mark.parametrize("path", ["", "/", "//./", "/a/..", "..", "a\0b", "a\nb"])
def test_path_that_names_no_cgroup_of_its_own_is_refused(path: str) -> None:
    with pytest.raises(SpecError) as caught:
        clean_path(path)

    assert caught.value.pointer == "/linux/cgroupsPath"


@given(st.text(alphabet="ab./\n\0", max_size=12))
def test_cleaned_path_never_climbs(path: str) -> None:
    try:
        cleaned = clean_path(path)
    except SpecError:
        return

    assert os.path.normpath(cleaned) == cleaned
    assert ".." not in cleaned.split("/")
    assert clean_path(cleaned) == cleaned


def test_reopening_by_directories_finds_the_hierarchies_again() -> None:
    host = host_of(
        "hybrid", hierarchy(1, "memory", mount="/cg/memory"), hierarchy(2, mount="/cg/unified")
    )
    cgroup = Cgroup.at(["/cg/memory/newroot/x", "/cg/unified/newroot/x"], host=host)

    assert cgroup.path == "/newroot/x"
    assert cgroup.directory_of("memory") == "/cg/memory/newroot/x"
    assert cgroup.directory_of("") == "/cg/unified/newroot/x"


def test_failure_names_the_file_the_value_and_the_kernels_words() -> None:
    error = files.failure(
        "write", "/cg/x/cgroup.subtree_control", OSError(errno.EBUSY, ""), value="+memory"
    )

    assert str(error) == (
        "write '+memory' to /cg/x/cgroup.subtree_control: Device or resource busy (EBUSY)"
    )
    assert "systemd-run" in (error.hint or "")
    assert (error.errno, error.call, error.target) == (
        errno.EBUSY,
        "write",
        "/cg/x/cgroup.subtree_control",
    )


@pytest.mark.parametrize(
    ("code", "file", "word"),
    [
        (errno.EROFS, "newroot", "read-only"),
        (errno.EACCES, "cgroup.subtree_control", "Delegate=yes"),
        (errno.EACCES, "cpuset.cpus", "CPU"),
        (errno.EPERM, "memory.max", "Delegate=yes"),
        (errno.ENOENT, "memory.swap.max", "swap"),
        (errno.ENOENT, "pids.max", "cgroup.controllers"),
        (errno.EINVAL, "cpuset.cpus", "CPU"),
        (errno.EBUSY, "memory.limit_in_bytes", "in use"),
        (errno.EOPNOTSUPP, "cgroup.procs", "threaded"),
    ],
)
def test_well_known_refusal_gets_its_remedy(code: int, file: str, word: str) -> None:
    assert word in (files.failure("write", f"/cg/x/{file}", OSError(code, "")).hint or "")


def test_missing_file_is_not_made(tmp_path: object) -> None:
    with pytest.raises(SyscallError) as caught:
        files.write(f"{tmp_path}/pids.max", "1")

    assert caught.value.errno == errno.ENOENT
    assert os.listdir(str(tmp_path)) == []


def test_symbolic_link_in_a_files_place_is_not_followed(tmp_path: object) -> None:
    os.symlink("/dev/null", f"{tmp_path}/pids.max")

    with pytest.raises(SyscallError) as caught:
        files.write(f"{tmp_path}/pids.max", "1")

    assert caught.value.errno == errno.ELOOP


def test_import_loads_nothing_heavy() -> None:
    heavy = "re dataclasses typing enum argparse logging subprocess pathlib json ctypes signal math"
    code = (
        "import sys; from newroot.isolation.cgroups import cgroup, detect, members, removal, stats,"
        " resources_v1, resources_v2, devices, devices_v2;"
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[]"
