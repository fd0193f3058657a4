"""The nodes in a container's /dev are binds of the host's: nothing about those may change.

Found in review: root in a container could chmod the host's /dev/null to 0, and with it every
program of the host.  What the tests try changes nothing where it succeeds: the mode that is there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest

from newroot.engine import Engine
from newroot.testing import needs

pytestmark = needs("root")

Without = Callable[..., None]

_NODES = ("null", "zero", "full", "random", "urandom", "tty")


def _change(engine: Engine, image: Path, path: str, **words: object) -> list[str]:
    """What of the node at *path* could be changed, with values that it has already."""
    script = (
        f"chmod $(stat -c %a {path}) {path} && echo mode;"
        f"chown $(stat -c %u:%g {path}) {path} && echo owner;"
        f"touch -a -d @$(stat -c %X {path}) {path} && echo times"
    )
    command = ["/bin/sh", "-c", f"({script}) 2>/dev/null"]
    result = engine.run(rootfs=f"{image}:O", command=command, stdout=PIPE, text=True, **words)
    assert result.fault is None, result.error
    return str(result.stdout).split()


@pytest.mark.parametrize("name", _NODES)
def test_a_node_of_the_host_keeps_mode_owner_and_times(
    engine: Engine, image: Path, name: str
) -> None:
    changed = _change(engine, image, f"/dev/{name}")

    assert changed == [], f"THE HOST'S /dev/{name} WAS CHANGED"


def test_a_device_that_was_asked_for_keeps_them_too(engine: Engine, image: Path) -> None:
    changed = _change(engine, image, "/dev/z", device="/dev/zero:/dev/z")

    assert changed == [], "THE HOST'S /dev/zero WAS CHANGED"


def test_what_is_shown_in_place_of_a_masked_file_keeps_them_too(
    engine: Engine, image: Path
) -> None:
    changed = _change(engine, image, "/proc/keys")

    assert changed == [], "THE HOST'S /dev/null WAS CHANGED THROUGH A MASK"


def test_without_the_guard_a_mask_lets_the_host_be_changed(
    engine: Engine, image: Path, without: Without
) -> None:
    without("mount.c", ".attr_set = MOUNT_ATTR_RDONLY }, 0)", ".attr_set = 0 }, 0)")

    assert _change(engine, image, "/proc/keys") == ["mode", "owner", "times"]


def test_a_node_on_a_read_only_mount_works_as_ever(engine: Engine, image: Path) -> None:
    script = "echo x > /dev/null && head -c2 /dev/zero | wc -c && head -c1 /dev/urandom | wc -c"
    result = engine.run(
        rootfs=f"{image}:O", command=["/bin/sh", "-c", script], capture_output=True, text=True
    )

    assert (result.stdout.split(), result.stderr) == (["2", "1"], "")
