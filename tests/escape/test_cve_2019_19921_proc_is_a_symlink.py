"""CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: an image's /proc leads somewhere else.

Then what is masked and made read-only below /proc is not what the container uses as its /proc.
And any other directory that newroot mounts on may be a link out of the root.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest

from newroot.engine import Engine
from newroot.errors import StepError
from newroot.testing import needs

pytestmark = needs("root")

Without = Callable[..., None]


def _replace(image: Path, name: str, link: str) -> None:
    place = image / name
    shutil.rmtree(place)
    place.symlink_to(link)


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("link", ["{aim}", "../../../../../../..{aim}", "tmp", "/", "self", "{me}"])
def test_the_kernels_file_systems_go_on_no_symlink(
    engine: Engine, image: Path, tmp_path: Path, name: str, link: str
) -> None:
    (tmp_path / "aim").mkdir()
    _replace(image, name, link.format(aim=tmp_path / "aim", me=name))

    with pytest.raises(StepError, match="ELOOP"):
        engine.popen(rootfs=str(image), command=["/bin/true"])

    assert os.listdir(tmp_path / "aim") == [], "SOMETHING WAS MADE ON THE HOST"


def test_without_the_guard_proc_goes_where_the_image_says(
    engine: Engine, image: Path, without: Without
) -> None:
    _replace(image, "proc", "tmp")
    without("path.c", "how.resolve |= RESOLVE_NO_SYMLINKS;", ";")

    result = engine.run(
        rootfs=f"{image}:O", command=["/bin/sh", "-c", "test -d /tmp/self && echo led"], stdout=PIPE
    )

    assert result.stdout == b"led\n"


@pytest.mark.parametrize("name", ["dev", "etc", "tmp"])
@pytest.mark.parametrize("up", ["", "../../../../../../.."])
def test_another_directory_that_is_a_symlink_leads_nowhere_on_the_host(
    engine: Engine, image: Path, tmp_path: Path, name: str, up: str
) -> None:
    aim = tmp_path / "aim"
    aim.mkdir()
    _replace(image, name, f"{up}{aim}")

    try:
        engine.run(rootfs=str(image), command=["/bin/touch", "/tmp/x"], tmpfs="/tmp/below")
    except StepError:
        pass  # /dev must not be one

    assert os.listdir(aim) == [], "A SYMLINK OF THE IMAGE LED TO THE HOST"


def test_without_the_guard_etc_leads_to_the_host(
    engine: Engine, image: Path, tmp_path: Path, without: Without
) -> None:
    aim = tmp_path / "aim"
    aim.mkdir()
    _replace(image, "etc", str(aim))
    without(
        "path.c",
        "struct open_how how = { .flags = (unsigned)(flags | O_CLOEXEC),\n"
        "                          .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };\n"
        "  if (step->flags & NO_SYMLINKS)",
        "struct open_how how = { .flags = (unsigned)(flags | O_CLOEXEC) };\n"
        "  while (*path == '/' && path[1] != 0) path++;\n"
        "  if (step->flags & NO_SYMLINKS)",
    )

    engine.run(rootfs=str(image), command=["/bin/true"])

    assert "hosts" in os.listdir(aim)


@pytest.mark.parametrize("link", ["/proc/1/root", "/proc/self/root/etc", "/proc/self/cwd"])
def test_a_magic_link_of_proc_is_not_followed(engine: Engine, image: Path, link: str) -> None:
    _replace(image, "etc", link)

    with pytest.raises(StepError, match="ELOOP"):
        engine.popen(rootfs=f"{image}:O", command=["/bin/true"])
