"""podman with newroot-oci below it, where systemd makes the cgroups: as root, and as a user.

One script for both, in the virtual machine; tests/peers/test_podman.py tries more, elsewhere.
podman does not notice there that memory ran out (``.State.OOMKilled``), with runc neither.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import EAT, make_rootfs, script, sh

from newroot.testing.needs import needs

pytestmark = needs("root", "vm", "busybox", "podman")

PODMAN = """\
set -ex
podman="podman --runtime /usr/local/bin/newroot-oci"
cd /
$podman import -q "$1" localhost/t >/dev/null
shift # the rest is a command that eats
limits="--network none -m 24m --memory-swap 24m --pids-limit 30"
$podman run -d --name c1 $limits localhost/t sleep 1000 >/dev/null
code=0; $podman exec c1 sh -c 'cat /proc/self/cgroup; exit 3' || code=$?
echo "$code"
$podman pause c1 >/dev/null
set -- "$($podman inspect -f '{{.State.Status}} {{.OCIRuntime}} {{.State.CgroupPath}}' c1)" "$@"
echo "${1% *}"
cgroup=/sys/fs/cgroup${1##* }
shift
cat "$cgroup/pids.max" "$cgroup/memory.max"
$podman unpause c1 >/dev/null
$podman stop -t 0 c1 >/dev/null
[ ! -e "$cgroup" ] || echo "left: $cgroup"
case $cgroup in *.scope | */container) echo scope ;; *) echo "$cgroup" ;; esac
code=0; $podman run --name c2 $limits localhost/t "$@" || code=$?
echo "$code"
$podman inspect -f '{{.State.Status}} {{.State.ExitCode}}' c1 c2
$podman rm c1 c2 >/dev/null
"""


@pytest.fixture(scope="module")
def archive() -> Iterator[Path]:
    """A root file system as podman imports it, which tester can read."""
    with tempfile.TemporaryDirectory(prefix="newroot-test-") as directory:
        top = Path(directory)
        top.chmod(0o755)
        sh("tar", "-C", make_rootfs(top / "rootfs"), "-cf", top / "rootfs.tar", ".")
        yield top / "rootfs.tar"


@pytest.mark.parametrize("user", [False, True], ids=["root", "tester"])
def test_podman_runs_containers_by_newroot(user: bool, archive: Path) -> None:
    lines = script(PODMAN, archive, *EAT, user=user).splitlines()

    assert lines == [
        *("0::/", "3"),
        "paused /usr/local/bin/newroot-oci",
        *("30", str(24 << 20)),
        "scope",
        "137",
        *("exited 137", "exited 137"),
    ]
