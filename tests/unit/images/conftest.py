"""An empty store and a maker of archives."""

from __future__ import annotations

from pathlib import Path

import pytest

from newroot.images.store import ImageStore
from newroot.testing.archives import Archive


@pytest.fixture
def archive() -> Archive:
    return Archive()


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "root")
