"""cgroup v2 by itself, also on a host that has v1: in a mount namespace with cgroup2 alone.

What v1 holds there is missing on cgroup2, so no memory or cpu limit can bite here; the layout,
joining, freezing, killing, the device program and handing out controllers can (those of real v2
limits run in the virtual machine, where tests/root/test_cgroups.py meets a v2 host).  Each test is
a small program that runs in its own namespaces; it prints what it saw.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from newroot.isolation.cgroups.detect import detect
from newroot.testing.needs import needs

pytestmark = needs("root", "util-linux")

#: The host's own mounts stay as they are: the namespace's are private before anything else.
CGROUP2 = (
    "mount --make-rprivate / && umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup"
)
TESTS = Path(__file__).parents[1]


def run_inside(mounts: str, *command: str, cgroup_namespace: bool = False) -> str:
    """Run *command* in a new mount namespace prepared by *mounts*; its output."""
    namespaces = ["-m", "-C"] if cgroup_namespace else ["-m"]
    done = subprocess.run(
        ["unshare", *namespaces, "sh", "-c", f'{mounts} && exec "$@"', "sh", *command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python(code: str) -> tuple[str, str, str]:
    return (
        sys.executable,
        "-c",
        textwrap.dedent(
            """\
            import errno, os
            from newroot.errors import SyscallError, UnsupportedError
            from newroot.isolation.cgroups.cgroup import Cgroup
            from newroot.isolation.cgroups.detect import detect
            host = detect()
            """
        )
        + textwrap.dedent(code),
    )


def test_life_of_a_cgroup_is_the_same_on_cgroup2_alone() -> None:
    if detect().mode == "v2":
        pytest.skip("this host is v2: tests/root/test_cgroups.py has just shown it here")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    out = run_inside(CGROUP2, *command, str(TESTS / "root/test_cgroups.py"))

    assert " passed" in out
    assert " failed" not in out


def test_mode_is_v2_with_one_directory() -> None:
    out = run_inside(
        CGROUP2,
        *python(
            """\
            path = f"/newroot-test-{os.getpid()}"
            cgroup = Cgroup.create(path, {}, host=host)
            print(host.mode, cgroup.directories == ("/sys/fs/cgroup" + path,))
            cgroup.remove()
            print(os.path.exists("/sys/fs/cgroup" + path))
            """
        ),
    )

    assert out.split() == ["v2", "True", "False"]


def test_read_only_cgroup_mount_is_named_as_the_cause() -> None:
    out = run_inside(
        f"{CGROUP2} && mount -o remount,bind,ro /sys/fs/cgroup",
        *python(
            """\
            try:
                Cgroup.create("/newroot-test/x", {"pids": {"limit": 3}}, host=host)
            except UnsupportedError as error:
                print(error)
            """
        ),
    )

    assert "mounted read-only" in out


def test_absent_cgroup_mount_is_named_as_the_cause_and_needs_no_cgroup_without_limits() -> None:
    out = run_inside(
        "mount --make-rprivate / && umount -R /sys/fs/cgroup",
        *python(
            """\
            print(host.mode, Cgroup.create("/newroot-test/x", {}, host=host).procs_paths)
            try:
                Cgroup.create("/newroot-test/x", {"pids": {"limit": 3}}, host=host)
            except UnsupportedError as error:
                print(error)
            """
        ),
    )

    assert out.startswith("none ()\n")
    assert "no cgroup file system is mounted" in out


def run_alone(code: str, *, neighbour: bool = False) -> str:
    """Run *code* in a cgroup namespace at whose top it is alone (or has one neighbour).

    That is what a container with a private cgroup namespace, or a delegated unit, looks like.
    """
    name = f"newroot-test-alone-{os.getpid()}"
    here = f"/sys/fs/cgroup/{name}"
    outer = textwrap.dedent(
        f"""\
        import os, subprocess, sys
        with open("/sys/fs/cgroup/cgroup.subtree_control", "w") as file:
            file.write("+hugetlb")
        os.mkdir({here!r})
        asleep = None
        def join():
            with open({here + "/cgroup.procs"!r}, "w") as file:
                file.write("0")
        if {neighbour}:
            asleep = subprocess.Popen(["cat"], stdin=subprocess.PIPE, preexec_fn=join)
        done = subprocess.run(
            ["unshare", "-C", "-m", "sh", "-c",
             'umount /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"',
             "sh", *sys.argv[1:]], preexec_fn=join)
        if asleep is not None:
            asleep.communicate()
        for top, names, _ in os.walk({here!r}, topdown=False):
            os.rmdir(top)
        sys.exit(done.returncode)
        """
    )
    return run_inside(CGROUP2, sys.executable, "-c", outer, *python(code))


def has_controller() -> bool:
    """Whether cgroup2 has a controller here at all: hugetlb, on the hybrid host we know."""
    out = run_inside(CGROUP2, "cat", "/sys/fs/cgroup/cgroup.controllers")
    return "hugetlb" in out.split()


def test_we_make_room_for_controllers_when_we_sit_where_they_are_handed_out() -> None:
    if not has_controller():
        pytest.skip("needs the hugetlb controller on cgroup2")
    out = run_alone(
        """\
        limit = {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}
        cgroup = Cgroup.create("/newroot/x", limit, host=host)
        print(open("/proc/self/cgroup").read().split("0::")[1].strip())
        print(open(cgroup.directories[0] + "/hugetlb.2MB.max").read().strip())
        again = Cgroup.create("/newroot/y", limit, host=detect())
        print(again.directories[0])
        cgroup.remove()
        again.remove()
        """,
    )

    assert out.split() == ["/newroot.self", "0", "/sys/fs/cgroup/newroot/y"]


def test_neighbour_in_our_cgroup_is_left_alone_and_named_as_the_cause() -> None:
    if not has_controller():
        pytest.skip("needs the hugetlb controller on cgroup2")
    out = run_alone(
        """\
        limit = {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}
        try:
            Cgroup.create("/newroot/x", limit, host=host)
        except SyscallError as error:
            print(errno.errorcode[error.errno], error)
            print(error.hint)
        print(os.path.exists("/sys/fs/cgroup/newroot/x"))
        print(open("/proc/self/cgroup").read().split("0::")[1].strip())
        """,
        neighbour=True,
    )

    assert out.splitlines()[0].startswith("EBUSY write '+hugetlb' to /sys/fs/cgroup/cgroup.subtree")
    assert "move them into a child cgroup" in out
    assert out.splitlines()[-2:] == ["False", "/"]
