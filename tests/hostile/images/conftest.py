"""Each test gets a maker of archives and a scene to try them in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from newroot.testing.archives import Archive, Scene
from newroot.testing.needs import needs


@pytest.fixture
def archive() -> Archive:
    return Archive()


@pytest.fixture(params=["directories", pytest.param("erofs", marks=needs("root", "erofs"))])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path, layers_as=request.param)
    yield made
    made.close()
