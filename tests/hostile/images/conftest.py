"""Each test gets a maker of archives and a scene to try them in."""

from __future__ import annotations

from pathlib import Path

import pytest

from newroot.testing.archives import Archive, Scene


@pytest.fixture
def archive() -> Archive:
    return Archive()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)
