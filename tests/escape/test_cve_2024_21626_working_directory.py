"""CVE-2024-21626: a working directory of /proc/self/fd/N was a directory of the host."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest

from newroot.engine import Engine
from newroot.errors import NewrootError
from newroot.testing import needs

pytestmark = needs("root")


@pytest.mark.parametrize("link", [False, True], ids=["said", "of-the-image"])
@pytest.mark.parametrize("number", range(16))
def test_no_descriptor_of_the_start_is_a_way_out(
    engine: Engine, image: Path, tmp_path: Path, number: int, link: bool
) -> None:
    (tmp_path / "secret").write_text("of the host")
    cwd = f"/proc/self/fd/{number}"
    if link:
        (image / "cwd").symlink_to(cwd)
        cwd = "/cwd"
    up = "../" * 40
    try:
        result = engine.run(
            rootfs=f"{image}:O",
            command=["/bin/sh", "-c", f"cat {up}{tmp_path}/secret"],
            workdir=cwd,
            capture_output=True,
        )
    except NewrootError:
        return  # it is told that this is no directory

    assert result.stdout == b"", "THE WORKING DIRECTORY IS ONE OF THE HOST"


@pytest.mark.parametrize("cwd", ["/proc/self/cwd", "/proc/1/cwd", "/proc/self/root", "/../../.."])
def test_another_way_there_ends_in_the_root(
    engine: Engine, image: Path, tmp_path: Path, cwd: str
) -> None:
    (tmp_path / "secret").write_text("of the host")
    try:
        result = engine.run(
            rootfs=f"{image}:O",
            command=["/bin/sh", "-c", f"cat ../../../../../../../..{tmp_path}/secret"],
            workdir=cwd,
            capture_output=True,
        )
    except NewrootError:
        return

    assert result.stdout == b"", "THE WORKING DIRECTORY IS ONE OF THE HOST"


def test_nothing_of_the_old_root_is_left(engine: Engine, image: Path, tmp_path: Path) -> None:
    result = engine.run(
        rootfs=f"{image}:O", command=["/bin/cat", "/proc/self/mountinfo"], stdout=PIPE, text=True
    )
    points = [line.split()[4] for line in result.stdout.splitlines()]

    assert points[0] == "/"
    assert points.count("/") == 1, "THE OLD ROOT IS STILL MOUNTED"
    assert not [point for point in points if str(tmp_path) in point]


#: Each would do: two that close what is open, one that follows no magic link, one that asks
#: where it is.
_GUARDS = (
    ("main.c", "sys (__NR_close_range, OWNER_FD + 1, ~0U, 0);", ";"),
    (
        "launcher.c",
        "return done < 0 ? done : sys (__NR_close_range, end, ~0U, 0);",
        "return done;",
    ),
    (
        "files.c",
        "int fd CLEANUP_FD = open_target (run, step, text_of (step, step->a), DIRECTORY);\n"
        "      return fd < 0 ? fd : 0;",
        "return 0;",
    ),
    ("identity.c", "&& place[0] != '/')", "&& 0)"),
)


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "without-the-guard"])
def test_a_directory_that_the_caller_left_open_is_no_working_directory(
    image: Path, tmp_path: Path, without: Callable[..., None], guarded: bool
) -> None:
    (tmp_path / "secret").write_text("of the host")
    if not guarded:
        for guard in _GUARDS:
            without(*guard)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(fd, 77, inheritable=True)  # as a careless caller has
    os.close(fd)
    said = b""
    try:
        with Engine(tmp_path / "engine") as engine:
            said = engine.run(
                rootfs=f"{image}:O",
                command=["/bin/sh", "-c", "cat secret"],
                workdir="/proc/self/fd/77",
                capture_output=True,
            ).stdout
    except NewrootError:
        pass
    finally:
        os.close(77)

    assert said == (b"" if guarded else b"of the host"), "THE WORKING DIRECTORY IS ONE OF THE HOST"
