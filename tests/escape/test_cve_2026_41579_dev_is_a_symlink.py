"""CVE-2026-41579: an image's /dev leads to a directory of the host, where links were made.

runc removed a file named ptmx there, and made links with the names of /dev's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from newroot.testing import needs

pytestmark = needs("root")

Without = Callable[..., None]
Bundle = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def aim(tmp_path: Path) -> Path:
    aim = tmp_path / "aim"
    aim.mkdir()
    (aim / "ptmx").write_text("of the host")
    return aim


def _lead(image: Path, aim: Path, up: str) -> None:
    shutil.rmtree(image / "dev")
    (image / "dev").symlink_to(f"{up}{aim}" if up else aim)


@pytest.mark.parametrize("up", ["", "../../../../../../../../.."], ids=["absolute", "relative"])
@pytest.mark.parametrize("there", [False, True], ids=["dangling", "inside"])
def test_nothing_is_made_or_removed_where_dev_leads(
    run_bundle: Bundle, image: Path, aim: Path, up: str, there: bool
) -> None:
    _lead(image, aim, up)
    if there:
        (image / str(aim)[1:]).mkdir(parents=True)

    run_bundle("true")

    assert os.listdir(aim) == ["ptmx"], "SOMETHING WAS MADE ON THE HOST"
    assert (aim / "ptmx").read_text() == "of the host", "A FILE OF THE HOST WAS REPLACED"


def test_without_the_guard_links_are_made_on_the_host(
    run_bundle: Bundle, image: Path, aim: Path, without: Without
) -> None:
    _lead(image, aim, "")
    without(
        "path.c",
        "struct open_how how = { .flags = (unsigned)(flags | O_CLOEXEC),\n"
        "                          .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };\n"
        "  if (step->flags & NO_SYMLINKS)",
        "struct open_how how = { .flags = (unsigned)(flags | O_CLOEXEC) };\n"
        "  while (*path == '/' && path[1] != 0) path++;\n"
        "  if (step->flags & NO_SYMLINKS)",
    )

    run_bundle("true")

    assert "stdin" in os.listdir(aim)
