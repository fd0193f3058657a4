"""A mount of the host that appears while a container runs: seen inside or not, as with runc.

Both runtimes run on a host of the test's own, whose mounts are shared as systemd makes them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from differential.bundles import BASE
from differential.views import Host, Kit, Runtime, placed

from newroot.testing.needs import needs
from newroot.testing.roots import find_busybox

pytestmark = [needs("root", "gcc", "runc", "busybox"), pytest.mark.timeout(60)]

#: The options of a bind, and whether what is mounted later on its source is seen:
#: mount_namespaces(7), "Shared subtrees".
BINDS = {
    "rbind": True,  # the root of a container is the host's slave, and so is what is bound
    "rbind,rprivate": False,
    "rbind,rslave": True,
    "rbind,rshared": True,
    "bind,slave": True,
    "bind,private": False,
}


#: ``rootfsPropagation``, and whether what is mounted later in the root's directory is seen.
ROOTS = {
    None: True,
    "private": False,
    "rprivate": False,
    "unbindable": False,
    "slave": True,
    "rslave": True,
    "shared": True,
}
#: "slave: the rootfs mount receives propagation events from the host" (config-linux.md), and who is
#: shared with others still hears of the host.  runc makes the mount that the root is on private
#: first, unless the word is a recursive one, and so cuts it off.
UNLIKE_RUNC = ("slave", "shared")


@pytest.fixture(scope="module")
def shared_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host("mount --make-rshared /")
    yield host
    host.close()


def _live(
    runtime: Runtime, host: Host, kit: Kit, where: Path, change: Any, place: str, seen: str
) -> bool:
    """Whether a container that runs sees at *seen* what is then mounted on the host at *place*."""
    config = json.loads(json.dumps(BASE))
    config["process"]["args"] = ["/bin/sleep", "1000"]
    change(config, where)
    where.mkdir()
    kit.bundle(placed(config, where), where)
    state = where / "state"
    shutil.copy(find_busybox(), where / "rootfs/bin/sleep")
    (where / "source").mkdir()
    (where / "source/late").mkdir()
    (where / "rootfs/late").mkdir()
    host.run("mount", "--bind", str(where), str(where))
    try:
        with (where / "log").open("w") as log:  # the container keeps it, so it is no pipe of ours
            done = runtime(
                host,
                state,
                *("run", "--detach", "--bundle", str(where), "live"),
                capture_output=False,
                stdout=log,
                stderr=log,
            )
        assert done.returncode == 0, (where / "log").read_text()
        try:
            pid = json.loads(runtime(host, state, "state", "live").stdout)["pid"]
            host.run("mount", "-t", "tmpfs", "late-tmpfs", f"{where}/{place}")
            points = [
                line.split()[4]
                for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
                if "late-tmpfs" in line
            ]
            return seen in points
        finally:
            runtime(host, state, "delete", "--force", "live")
    finally:
        host.run("umount", "--recursive", str(where))


@pytest.mark.parametrize("options", BINDS)
def test_a_mount_on_a_bind_s_source(
    options: str, kit: Kit, shared_host: Host, newroot_oci: Runtime, runc: Runtime
) -> None:
    def change(config: dict[str, Any], where: Path) -> None:
        entry = {"destination": "/mnt", "source": f"{where}/source", "options": options.split(",")}
        config["mounts"].append({**entry, "type": "bind"})

    found = {
        runtime.name: _live(
            runtime,
            shared_host,
            kit,
            kit.directory / f"live-{runtime.name}-{options}",
            change,
            "source/late",
            "/mnt/late",
        )
        for runtime in (newroot_oci, runc)
    }

    assert found == {"newroot-oci": BINDS[options], "runc": BINDS[options]}


@pytest.mark.parametrize("word", ROOTS)
def test_a_mount_in_the_root_s_directory(
    word: str | None, kit: Kit, shared_host: Host, newroot_oci: Runtime, runc: Runtime
) -> None:
    def change(config: dict[str, Any], where: Path) -> None:
        if word is not None:
            config["linux"]["rootfsPropagation"] = word

    found = {
        runtime.name: _live(
            runtime,
            shared_host,
            kit,
            kit.directory / f"root-{runtime.name}-{word}",
            change,
            "rootfs/late",
            "/late",
        )
        for runtime in (newroot_oci, runc)
    }

    unlike = word in UNLIKE_RUNC
    assert found == {"newroot-oci": ROOTS[word], "runc": ROOTS[word] is not unlike}


def test_the_host_keeps_no_mount_of_theirs(shared_host: Host) -> None:
    assert "late-tmpfs" not in shared_host.run("cat", "/proc/self/mountinfo")
    assert subprocess.run(["mount"], capture_output=True, text=True).stdout.count("late-tmpfs") == 0
