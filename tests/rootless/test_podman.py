"""Beside rootless podman: the same lines give the same results; and newroot inside of one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from newroot.testing import needs

pytestmark = needs("podman")

Do = Callable[..., "subprocess.CompletedProcess[str]"]
Says = Callable[[str], str]

RANGE = "user:200000:65536"
CONF = """\
[containers]
default_ulimits=["nofile=4096:4096","nproc=1000:1000"]
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
"""
PODMAN = (
    "podman() { CONTAINERS_CONF=$HOME/containers.conf CONTAINERS_STORAGE_CONF=$HOME/storage.conf "
    'command podman "$@" 2>&1 | grep -v "is not a shared mount"; }; '
)


@pytest.fixture(scope="session", params=[RANGE], ids=["range"])
def subids(request: pytest.FixtureRequest) -> str:
    """As podman needs them."""
    return str(request.param)


@pytest.fixture
def podman(says: Says, user_home: Path) -> str:
    """A word of shell that makes ``podman`` a command with the image ``busybox``."""
    if not (user_home / "storage.conf").exists():
        (user_home / "containers.conf").write_text(CONF)
        home = "/media/home"
        (user_home / "storage.conf").write_text(
            f'[storage]\ndriver="overlay"\ngraphroot="{home}/pods"\nrunroot="{home}/run/pods"\n'
        )
        says(
            f"{PODMAN} newroot save -o b.tar busybox; podman load -q -i b.tar >/dev/null; rm b.tar"
        )
    return PODMAN


#: Not in /, which podman makes 0555.
SCRIPT = (
    'exec 2>&1; id -u; id -g; tr -s " " </proc/self/uid_map; stat -c %u:%g / /bin /tmp /dev/null;'
    " cd /home; touch a; chown 5:6 a; stat -c %u:%g a; touch /b/made; stat -c %u:%g /b/made;"
    " mount -t tmpfs x /tmp; mknod n c 1 3; hostname x; exit 7"
)


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--userns=nomap",
        "--userns=keep-id",
        "--user 5:6",
        "--cap-drop ALL",
        "--read-only",
        "--userns=keep-id --user 0:0",
    ],
)
def test_the_same_line_gives_the_same(says: Says, podman: str, flags: str) -> None:
    line = f"run --rm --network none --cap-drop NET_RAW {flags} -v $HOME/shared:/b"
    script = f"""
        rm -rf shared; mkdir -m 777 shared
        {{ newroot {line} busybox sh -c '{SCRIPT}' 2>&1; echo $?; }} >ours
        newroot unshare rm -f shared/made
        podman {line} docker.io/library/busybox sh -c '{SCRIPT}' >theirs
        newroot unshare rm -f shared/made
        sed '$d' ours >ours.said; diff ours.said theirs && tail -1 ours
    """

    done = says(f"{podman} set +e; {script} true")

    assert done == "7\n", done


def test_in_a_podman_container_newroot_runs_containers(do: Do, podman: str) -> None:
    interpreter = os.path.dirname(os.path.dirname(os.path.realpath(sys.executable)))
    places = ("/usr", "/lib", "/lib64", str(Path(__file__).parents[2]), sys.prefix, interpreter)
    binds = " ".join(f"-v {place}:{place}" for place in dict.fromkeys(places))
    command = f"{sys.prefix}/bin/newroot --root /inner"
    inner = (
        f"{command} image bootstrap busybox >/dev/null;"
        f" {command} run --rm --network none --uts host busybox id -u;"
        f" {command} run --rm --network none busybox true"
    )
    done = do(
        f"{podman} podman run --rm --network none {binds} -v inner:/inner busybox sh -c '{inner}'"
    )

    assert "\n0\n" in f"\n{done.stdout}"
    assert "an outer container masks parts of /proc" in done.stdout
    assert "set the hostname" in done.stdout
    assert "a seccomp filter refuses it" in done.stdout
    assert "--uts host" in done.stdout
