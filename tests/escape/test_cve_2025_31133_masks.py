"""CVE-2025-31133, CVE-2025-52565: an image's own /dev/null or /dev/console led a mask elsewhere.

And what is masked or read-only stays so for the root of a container without CAP_SYS_ADMIN.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from subprocess import PIPE

import pytest

from newroot.engine import Engine
from newroot.testing import needs

pytestmark = needs("root")


def _say(engine: Engine, rootfs: str, script: str, **words: object) -> str:
    result = engine.run(
        rootfs=rootfs, command=["/bin/sh", "-c", script], stdout=PIPE, text=True, **words
    )
    assert result.fault is None, result.error
    return str(result.stdout)


@pytest.mark.parametrize("name", ["null", "console", "pts", "ptmx", "tty", "shm", "mqueue"])
def test_what_the_image_has_in_dev_is_not_used(
    engine: Engine, image: Path, tmp_path: Path, name: str
) -> None:
    shutil.rmtree(image / "dev")
    (image / "dev").mkdir()
    (image / "dev" / name).symlink_to("/proc/sysrq-trigger")

    said = _say(engine, str(image), f"readlink /dev/{name}; stat -c %t,%T /proc/keys")

    assert "sysrq" not in said, "THE IMAGE'S /dev WAS USED"
    assert said.splitlines()[-1] == "1,3", "A MASK SHOWS SOMETHING ELSE THAN /dev/null"


def test_a_dev_of_the_users_own_does_not_choose_what_masks(
    engine: Engine, image: Path, tmp_path: Path
) -> None:
    dev = tmp_path / "dev"
    dev.mkdir()
    (dev / "null").symlink_to("/proc/sysrq-trigger")

    said = _say(engine, f"{image}:O", "stat -c %t,%T /proc/keys", volumes={str(dev): "/dev"})

    assert said == "1,3\n", "A MASK SHOWS WHAT A VOLUME HAD IN THE PLACE OF /dev/null"
    assert os.listdir(dev) == ["null"], "SOMETHING WAS MADE IN THE HOST'S DIRECTORY"


@pytest.mark.parametrize(
    "path", ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/irq", "/proc/bus"]
)
def test_the_hosts_settings_cannot_be_opened_for_writing(
    engine: Engine, image: Path, path: str
) -> None:
    # Opened only: to write would be to change the host if this failed.
    script = f"test -e {path} || exit 0; (: >> {path} || mkdir {path}/x) 2>/dev/null && echo open"
    said = _say(engine, f"{image}:O", script + "; true")

    assert said == "", f"A CONTAINER MAY WRITE TO {path}"


def test_a_mask_and_a_read_only_path_cannot_be_taken_off(engine: Engine, image: Path) -> None:
    script = (
        "for p in /proc/keys /proc/acpi /proc/sys /sys; do"
        " umount $p 2>/dev/null && echo $p; umount -l $p 2>/dev/null && echo $p;"
        " mount -o remount,rw,bind $p $p 2>/dev/null && echo $p; done; true"
    )

    assert _say(engine, f"{image}:O", script) == "", "A PROTECTION WAS TAKEN OFF"


def test_no_namespace_of_its_own_gives_a_container_the_right_to(
    engine: Engine, image: Path
) -> None:
    script = "unshare -Ur true 2>/dev/null && echo user; unshare -m true 2>/dev/null && echo mount"

    assert _say(engine, f"{image}:O", script + "; true") == ""
