"""A root of newroot's with a busybox image, and an engine on it, for each test alone.

The image's files are shared, for making it takes longer than most tests.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from newroot.engine import Engine
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


@pytest.fixture
def newroot_command() -> str:
    """The real command, as it was installed."""
    command = os.path.join(sysconfig.get_path("scripts"), "newroot")
    if not os.access(command, os.X_OK):
        pytest.fail(f"{command} is missing: make install, or make dev")
    return command
