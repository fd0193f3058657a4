"""Without root, where systemd has delegated a part of the cgroup tree, and where it has not.

Runs in the virtual machine (scripts/test-vm): its user "tester" has a user manager of systemd,
and ``asuser COMMAND`` runs a command in a unit of it, as a login session would.  Each test is a
small program that runs as tester and prints what it saw.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from newroot.testing.needs import needs

pytestmark = needs("root", "vm")

PRELUDE = """\
import os, signal
from newroot.errors import SyscallError
from newroot.isolation.cgroups.cgroup import Cgroup
from newroot.isolation.cgroups.detect import detect
host = detect()

def run(cgroup, work):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for path in cgroup.procs_paths:
        with open(path, "w") as file:
            file.write("0")
    os._exit(work() or 0)
"""
LIMITS = """\
limit = 32 << 20
cgroup = Cgroup.create(
    host.default_path("c1"),
    {"memory": {"limit": limit, "swap": limit}, "pids": {"limit": 1}},
    host=host,
)

def fork_refused():
    try:
        return os.fork() and 1
    except BlockingIOError:
        return 7

print(host.delegated, run(cgroup, lambda: len(bytearray(b"x") * (3 * limit)) and 0))
print(cgroup.oom_kills(), run(cgroup, fork_refused))
cgroup.kill()
cgroup.remove()
print(os.path.exists(cgroup.directories[0]))
print(cgroup.directories[0])
"""


def run_as_tester(code: str, *prefix: str) -> list[str]:
    source = str(Path(__file__).parents[2] / "src")
    python = ["env", f"PYTHONPATH={source}", sys.executable, "-c", PRELUDE + textwrap.dedent(code)]
    done = subprocess.run(
        [*prefix, *python], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )

    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_limits_bite_in_a_unit_of_the_users_own_manager() -> None:
    seen = run_as_tester(LIMITS, "asuser")

    assert seen[:3] == ["True -9", "1 7", "False"]
    assert seen[3].endswith("/user@1000.service/app.slice/newroot/c1")


def test_limits_bite_in_a_delegated_system_service_after_we_made_room_in_it() -> None:
    seen = run_as_tester(
        LIMITS + "print(open('/proc/self/cgroup').read().strip())",
        *("systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--unit=newroot-test-unit"),
        *("-p", "User=tester", "-p", "Delegate=yes", "--"),
    )

    assert seen[:3] == ["True -9", "1 7", "False"]
    assert seen[3].endswith("/system.slice/newroot-test-unit.service/newroot/c1")
    assert seen[4] == "0::/system.slice/newroot-test-unit.service/newroot.self"


def test_without_delegation_the_error_says_how_to_get_it() -> None:
    seen = run_as_tester(
        """\
        try:
            Cgroup.create(host.default_path("c1"), {"pids": {"limit": 1}}, host=host)
        except SyscallError as error:
            print(error)
            print(error.hint)
        """,
        *("systemd-run", "--quiet", "--pipe", "--wait", "--collect", "-p", "User=tester", "--"),
    )

    assert seen[0].startswith("mkdir /sys/fs/cgroup/system.slice/")
    assert seen[0].endswith("Permission denied (EACCES)")
    assert "Delegate=yes" in seen[1]


@pytest.mark.parametrize("controller", ["io", "cpuset"])
def test_controller_that_is_not_delegated_is_said_to_be_missing(controller: str) -> None:
    seen = run_as_tester(
        f"""\
        try:
            Cgroup.create(
                host.default_path("c1"), {{}}, host=host, controllers=("{controller}",)
            )
        except SyscallError as error:
            print(error)
            print(error.hint)
        print(os.path.exists(host.unified.directory(host.default_path("c1"))))
        """,
        "asuser",
    )

    assert controller in seen[0]
    assert "systemd" in seen[1]
    assert seen[2] == "False"
