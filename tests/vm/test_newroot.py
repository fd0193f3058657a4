"""``newroot run`` and detached containers with cgroup v2 alone: limits, what is told of their end.

In the virtual machine.  As root the engine's cgroups lie beside systemd's, at /newroot; a user's in
what the user's own manager delegates.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machine import EAT, NEWROOT, make_rootfs, run, script, sh

from newroot.testing.needs import needs

pytestmark = needs("root", "vm", "busybox")

Newroot = Callable[..., str]


@pytest.fixture(scope="module")
def newroot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newroot]:
    """The command, on a root of its own with the image ``t``."""
    top = tmp_path_factory.mktemp("newroot")
    sh("tar", "-C", make_rootfs(top / "rootfs"), "-cf", top / "rootfs.tar", ".")

    def newroot(*words: str | Path) -> str:
        return sh(NEWROOT, "--root", top / "root", *words).rstrip("\n")

    newroot("import", top / "rootfs.tar", "t")
    yield newroot
    for container in newroot("ps", "-aq").split():
        newroot("rm", "--force", container)


def state(newroot: Newroot, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(newroot("inspect", name))[0]["State"]
    return found


def test_limits_hold_a_detached_container_and_all_that_joins_it(newroot: Newroot) -> None:
    limits = ("--memory=24m", "--pids-limit=9", "--cpus=0.5")
    newroot("run", "--detach", "--name=c1", *limits, "t", "sleep", "1000")
    own = Path(f"/proc/{state(newroot, 'c1')['Pid']}/cgroup").read_text().rstrip("\n")
    cgroup = Path("/sys/fs/cgroup" + own.removeprefix("0::"))
    held = [(cgroup / name).read_text().strip() for name in ("memory.max", "pids.max", "cpu.max")]
    joined = newroot("exec", "c1", "cat", "/proc/self/cgroup")
    newroot("kill", "c1")
    code = newroot("wait", "c1")
    newroot("rm", "c1")

    assert cgroup.parent == Path("/sys/fs/cgroup/newroot")
    assert held == [str(24 << 20), "9", "50000 100000"]
    assert joined == "0::/"
    assert code == "137"
    assert not cgroup.exists()


def test_want_of_memory_is_told_of_a_detached_container(newroot: Newroot) -> None:
    newroot("run", "--detach", "--name=c2", "--memory=24m", "t", *EAT)

    assert newroot("wait", "c2") == "137"
    ended = state(newroot, "c2")
    assert (ended["Status"], ended["ExitCode"], ended["OOMKilled"]) == ("exited", 137, True)


def test_want_of_memory_is_the_exit_code_of_run(newroot: Newroot, tmp_path: Path) -> None:
    rootfs = make_rootfs(tmp_path / "rootfs")
    done = run(NEWROOT, "--root", tmp_path, "run", "--rm", "--memory=24m", "--rootfs", rootfs, *EAT)

    assert done.returncode == 137
    assert [path for path in Path("/sys/fs/cgroup/newroot").glob("*") if path.is_dir()] == []


USER = """\
set -e
newroot() { /usr/local/bin/newroot --root "$HOME/newroot-test" "$@"; }
newroot import "$1" t >/dev/null
shift # the rest is a command that eats
look='id -u; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max'
newroot run --rm --network=none --memory=24m --pids-limit=9 t sh -c "$look"
code=0; newroot run --rm --network=none --memory=24m t "$@" || code=$?
echo "$code"
newroot run --detach --network=none --name=c1 --memory=24m t sleep 1000 >/dev/null
cgroup=$(cut -d: -f3 "/proc/$(newroot inspect --format '{{.State.Pid}}' c1)/cgroup")
dirname "${cgroup#*/user@1000.service/}"
newroot kill c1 >/dev/null
newroot wait c1
newroot rm c1 >/dev/null
[ ! -e "/sys/fs/cgroup$cgroup" ] || echo "left: $cgroup"
"""


def test_limits_bite_for_a_user_whose_manager_delegates() -> None:
    with tempfile.TemporaryDirectory(prefix="newroot-test-") as directory:
        top = Path(directory)
        top.chmod(0o755)
        sh("tar", "-C", make_rootfs(top / "rootfs"), "-cf", top / "rootfs.tar", ".")
        lines = script(USER, top / "rootfs.tar", *EAT, user=True).splitlines()

    assert lines == [
        *("0", str(24 << 20), "9"),
        "137",
        "app.slice/newroot",
        "137",
    ]
