"""CVE-2024-45310, CVE-2021-30465: who shares a volume puts a link where a mount's target is made.

runc made empty files and directories on the host, or mounted there.  The race is run in
test_cve_2021_30465_shared_volume.py; here is what it comes to when it is won.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL

import pytest

from newroot.engine import Engine
from newroot.errors import NewrootError
from newroot.testing import needs

pytestmark = needs("root")

Without = Callable[..., None]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume with a link to a directory of the host, and two more directories of the host."""
    for name in ("volume", "aim", "source"):
        (tmp_path / name).mkdir()
    (tmp_path / "volume/link").symlink_to("/" + "../" * 30 + str(tmp_path / "aim")[1:])
    (tmp_path / "file").touch()
    return tmp_path / "volume"


def _run(engine: Engine, image: Path, volume: Path, source: str, target: str) -> None:
    try:
        engine.run(
            rootfs=f"{image}:O",
            command=["/bin/true"],
            volumes=[f"{volume}:/home", f"{volume.parent / source}:{target}"],
            stderr=DEVNULL,
        )
    except NewrootError:
        pass  # what is there will not do


@pytest.mark.parametrize("target", ["/home/link/new", "/home/link/new/deep", "/home/link"])
@pytest.mark.parametrize("source", ["source", "file"])
def test_no_target_is_made_on_the_host(
    engine: Engine, image: Path, volume: Path, source: str, target: str
) -> None:
    _run(engine, image, volume, source, target)

    assert os.listdir(volume.parent / "aim") == [], "A FILE OR DIRECTORY WAS MADE ON THE HOST"


@pytest.mark.parametrize("source", ["source", "file"])
def test_without_the_guard_it_is(
    engine: Engine, image: Path, volume: Path, source: str, without: Without
) -> None:
    without(
        "path.c",
        "struct open_how how = { .flags = (unsigned)(flags | O_CLOEXEC),\n"
        "                          .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };\n"
        "  if (step->flags & NO_SYMLINKS)",
        "struct open_how how = { .flags = (unsigned)(flags | O_CLOEXEC) };\n"
        "  while (*path == '/' && path[1] != 0) path++;\n"
        "  if (step->flags & NO_SYMLINKS)",
    )

    _run(engine, image, volume, source, "/home/link/new")

    assert os.listdir(volume.parent / "aim") == ["new"]
