"""Who reaches whom: some sixty pairs on newroot's networks, and on podman's with netavark beside.

Where the two differ the row stands in ``DIFFERENT``, with its reason.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from network_hosts import HOST
from network_scene import TABLE, Newroot, Podman

from newroot.testing import tiny_root
from newroot.testing.needs import needs, require

pytestmark = [needs("root", "overlay", "busybox", "nft", "ip", "gcc"), pytest.mark.slow]

Row = tuple[str, str, str, bool]

#: What podman has otherwise, and why.
DIFFERENT: dict[tuple[str, str, str], str] = {
    ("peer", "tcp", f"{HOST}:9090"): "its isolation comes before what was published",
    ("outside", "tcp", "10.61.0.10:80"): "its netavark 1.4 passes on what is routed to a container",
    ("outside", "tcp", "[fd61::10]:80"): "the same",
}
#: With br_netfilter loaded its containers do not reach themselves by the host; else they do.
UNSURE = {("web", "tcp", f"{HOST}:8080"), ("web", "udp", f"{HOST}:8080")}


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("echo") / "udp_echo"
    source = Path(__file__).with_name("udp_echo.c")
    subprocess.run(["gcc", "-static", "-O1", "-o", program, source], check=True)
    return program


@pytest.fixture(scope="module")
def newroot(tmp_path_factory: pytest.TempPathFactory, echo: Path) -> Iterator[Newroot]:
    require("root", "overlay", "busybox")
    from newroot.images.bootstrap import bootstrap_busybox
    from newroot.images.store import ImageStore
    from newroot.testing.roots import find_busybox

    directory = tmp_path_factory.mktemp("newroot")
    bootstrap_busybox(ImageStore(str(directory / "root")), "busybox", find_busybox())
    scene = Newroot(directory, echo)
    try:
        scene.begin()
        yield scene
    finally:
        scene.close()


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory, echo: Path) -> Iterator[Podman]:
    require("podman", "iptables")
    directory = tmp_path_factory.mktemp("podman")
    tiny_root(directory / "rootfs")
    archive = directory / "root.tar"
    subprocess.run(["tar", "-C", directory / "rootfs", "-cf", archive, "."], check=True)
    # podman refuses a run root of more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="nr-", dir="/tmp") as short:
        scene = Podman(directory, echo, archive, short)
        try:
            scene.begin()
            yield scene
        finally:
            scene.close()


def _called(row: Row) -> str:
    who, how, target, reached = row
    return f"{who}-{how}-{target}-{'yes' if reached else 'no'}"


@pytest.mark.parametrize("row", TABLE, ids=_called)
def test_newroot_s_containers_reach_whom_they_should(newroot: Newroot, row: Row) -> None:
    who, how, target, reached = row

    assert newroot.reaches(who, how, target) is reached


@pytest.mark.parametrize("row", [row for row in TABLE if row[:3] not in UNSURE], ids=_called)
def test_podman_s_do_the_same(podman: Podman, row: Row) -> None:
    who, how, target, reached = row

    assert podman.reaches(who, how, target) is (reached ^ ((who, how, target) in DIFFERENT))
