"""The same commands through newroot and through podman and docker, with runc below those.

The same exit code, the same state afterwards (later commands look at it) and, in what both print,
the same words.  Where they are unlike it stands in a table with its reason; a row whose difference
is gone fails like a difference without a row.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import Box, busybox_archive, wait_until
from same import Done, Engine, differences, read_table
from same.expected import DOCKER, PODMAN
from same.table import COMMANDS, FOR_DOCKER

from newroot.testing.needs import needs

pytestmark = [
    needs("root", "overlay", "busybox", "podman"),
    pytest.mark.timeout(900),  # a minute, but for a machine that has others to serve
    pytest.mark.serial,
]

PODMAN_IMAGE, DOCKER_IMAGE = "localhost/busybox:latest", "busybox:latest"

CONF = """\
[containers]
default_ulimits=["nofile=4096:4096","nproc=1000:1000"]
[network]
network_config_dir="{directory}/networks"
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
init_path="/usr/bin/docker-init"
"""

STORAGE = """\
[storage]
driver="overlay"
graphroot="{directory}/storage"
runroot="{directory}/run"
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path, "same")
    try:
        yield box
    finally:
        box.close()


def newroot_in(box: Box, image: str) -> Engine:
    """newroot with a root of its own, which has *image*."""
    command = f"{sysconfig.get_path('scripts')}/newroot"
    words = [command, "--root", str(box.directory / "newroot")]
    archive = busybox_archive(box.directory / "newroot.tar", image)
    box.run(*words, "load", "--input", str(archive))
    return lambda more: box.run(*words, *more, check=False)


def podman_in(box: Box, image: str) -> Engine:
    for name, text in (("containers", CONF), ("storage", STORAGE)):
        path = box.directory / f"{name}.conf"
        path.write_text(text.format(directory=box.directory))
        variable = "CONTAINERS_CONF" if name == "containers" else "CONTAINERS_STORAGE_CONF"
        box.environment[variable] = str(path)
    (box.directory / "networks").mkdir()
    box.run("podman", "load", "--input", str(busybox_archive(box.directory / "image.tar", image)))
    return lambda words: box.run("podman", *words, check=False)


def docker_in(box: Box, image: str) -> Engine:
    """A daemon that ends with the box."""
    here = box.directory
    box.environment |= {"DOCKER_HOST": f"unix://{here}/socket", "DOCKER_CONFIG": str(here)}
    box.environment["PATH"] += ":/usr/sbin:/sbin"
    (here / "daemon.json").write_text("{}")
    places = ["--data-root", f"{here}/data", "--exec-root", f"{here}/exec"]
    box.start(
        *("dockerd", "--config-file", f"{here}/daemon.json", "--pidfile", f"{here}/pid"),
        *(*places, "--host", f"unix://{here}/socket", "--storage-driver", "overlay2"),
        *("--default-ulimit", "nofile=1024:4096", "--bridge", "none", "--iptables=false"),
    )

    def docker(words: list[str]) -> Done:
        return box.run("/usr/bin/docker", *words, check=False)

    wait_until(lambda: docker(["version"]).returncode == 0, "dockerd answers", 60)
    archive = busybox_archive(here / "image.tar", image)
    assert docker(["load", "--input", str(archive)]).returncode == 0
    return docker


# Slow, for podman 4.3 now and then waits 20 s for a conmon that has ended ("Exceeded conmon timeout
# waiting for container", --log-level=debug): from one minute to a quarter of an hour.
@pytest.mark.slow
def test_podman_does_the_same(box: Box) -> None:
    table = read_table(COMMANDS)
    found = differences(
        table, newroot_in(box, PODMAN_IMAGE), podman_in(box, PODMAN_IMAGE), PODMAN_IMAGE
    )

    assert len(table) > 200
    assert found == {row.command: row.what for row in PODMAN}


@needs("docker")
def test_docker_does_the_same(box: Box) -> None:
    table = read_table(FOR_DOCKER)
    found = differences(
        table, newroot_in(box, DOCKER_IMAGE), docker_in(box, DOCKER_IMAGE), DOCKER_IMAGE
    )

    assert found == {row.command: row.what for row in DOCKER}
