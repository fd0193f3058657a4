"""A root of newroot's with a busybox image, and an engine on it, for each test alone.

The image's files are shared, for making it takes longer than most tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from newroot.engine import Engine
from newroot.testing import tiny_root
from newroot.testing.needs import require


@pytest.fixture(scope="session")
def busybox_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, and only ever read."""
    require("root", "overlay", "busybox")
    from newroot.images.bootstrap import bootstrap_busybox
    from newroot.images.store import ImageStore
    from newroot.testing.roots import find_busybox

    root = tmp_path_factory.mktemp("busybox-root")
    bootstrap_busybox(ImageStore(str(root)), "busybox", find_busybox())
    return root


@pytest.fixture
def root(busybox_root: Path, tmp_path: Path) -> Path:
    """A root directory of newroot's that has the image ``busybox``, and shares its files."""
    root = tmp_path / "root"
    root.mkdir()
    for name in ("images", "layers"):
        (root / name).symlink_to(busybox_root / name)
    return root


@pytest.fixture
def engine(root: Path) -> Iterator[Engine]:
    """An engine on *root*."""
    with Engine(root) as engine:
        yield engine


class Bundle:
    """An OCI bundle with busybox in it, whose *config* a test changes and runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        tiny_root(directory / "rootfs")
        caps = ["CAP_KILL", "CAP_CHOWN", "CAP_NET_ADMIN"]
        self.config: dict[str, Any] = {
            "ociVersion": "1.3.0",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["true"],
                "env": ["PATH=/bin"],
                "cwd": "/",
                "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), caps),
            },
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            ],
            "linux": {
                "namespaces": [{"type": k} for k in ("pid", "network", "ipc", "uts", "mount")],
                "cgroupsPath": f"/newroot-test-bundle-{os.getpid()}",  # goes with the container
            },
        }

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start *command*, or the config's, by ``newroot-oci run``."""
        if command:
            self.config["process"]["args"] = list(command)
        (self.directory / "config.json").write_text(json.dumps(self.config))
        program = os.path.join(sysconfig.get_path("scripts"), "newroot-oci")
        words = ["--root", str(self.directory / "state"), "run", "--bundle", str(self.directory)]
        return subprocess.Popen(
            [program, *words, "case"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str) -> tuple[int, str, str]:
        """Run *command* to its end: its exit code, what it wrote, and what went wrong."""
        with self.start(*command) as process:
            output, errors = process.communicate(timeout=60)
        return process.returncode, output, errors


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    require("root", "busybox")
    return Bundle(tmp_path)


@pytest.fixture
def newroot_command() -> str:
    """The real command, as it was installed."""
    command = os.path.join(sysconfig.get_path("scripts"), "newroot")
    if not os.access(command, os.X_OK):
        pytest.fail(f"{command} is missing: make install, or make dev")
    return command
