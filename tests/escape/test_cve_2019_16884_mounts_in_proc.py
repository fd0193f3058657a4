"""CVE-2019-16884: a mount on /proc, or in it, hides what the kernel is asked and told there.

An image's VOLUME /proc made runc write its AppArmor label into a file of the image's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from newroot.engine import Engine
from newroot.errors import NewrootError
from newroot.testing import needs

pytestmark = needs("root")

Without = Callable[..., None]
Bundle = Callable[..., "subprocess.CompletedProcess[str]"]

_GUARD = "return step->flags & IN_PROC || !is_on (target, PROC_SUPER_MAGIC);"


def _mount(kind: str, target: str, source: str) -> dict[str, Any]:
    return {
        "destination": target,
        "type": kind,
        "source": source,
        "options": ["rbind"] if kind == "bind" else [],
    }


@pytest.mark.parametrize("target", ["/proc/self/attr", "/proc/sys", "/proc/1", "/proc/../proc/sys"])
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_nothing_is_mounted_in_proc(
    run_bundle: Bundle, tmp_path: Path, kind: str, target: str
) -> None:
    (tmp_path / "fake").mkdir()
    done = run_bundle("echo hidden", [_mount(kind, target, str(tmp_path / "fake"))])

    assert done.stdout == "", "WHAT THE KERNEL SAYS WAS HIDDEN"
    assert "would hide what the kernel says" in done.stderr


@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_a_link_of_the_image_leads_no_mount_there(
    run_bundle: Bundle, image: Path, tmp_path: Path, kind: str
) -> None:
    (image / "lib").symlink_to("proc/sys")
    (tmp_path / "fake").mkdir()
    done = run_bundle("echo hidden", [_mount(kind, "/lib", str(tmp_path / "fake"))])

    assert done.stdout == "", "WHAT THE KERNEL SAYS WAS HIDDEN"


def test_without_the_guard_it_is_hidden(
    run_bundle: Bundle, image: Path, tmp_path: Path, without: Without
) -> None:
    (image / "lib").symlink_to("proc/sys")
    (tmp_path / "fake").mkdir()
    without("mount.c", _GUARD, "return 1;")
    done = run_bundle("ls /proc/sys; echo hidden", [_mount("bind", "/lib", str(tmp_path / "fake"))])

    assert done.stdout == "hidden\n"


@pytest.mark.parametrize("kind", ["bind", "tmpfs", "overlay"])
def test_nothing_stands_in_for_proc_itself(run_bundle: Bundle, tmp_path: Path, kind: str) -> None:
    (tmp_path / "fake").mkdir()
    mount = _mount(kind, "/proc", str(tmp_path / "fake"))
    if kind == "overlay":
        mount["options"] = [f"lowerdir={tmp_path}/fake:{tmp_path}"]
    done = run_bundle("echo hidden", [mount])

    assert done.stdout == "", "A FALSE /proc"


def test_an_image_s_volume_does_not_stand_in_for_proc(engine: Engine, image: Path) -> None:
    for volume in ("data:/proc", "data:/proc/self"):
        with pytest.raises(NewrootError):
            engine.popen(rootfs=f"{image}:O", command=["/bin/true"], volumes=[volume])


@pytest.mark.parametrize("name", ["uptime", "meminfo", "cpuinfo"])
def test_a_file_of_lxcfs_is_seen(run_bundle: Bundle, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("of the container\n")
    done = run_bundle(
        f"cat /proc/{name}", [_mount("bind", f"/proc/{name}", str(tmp_path / "file"))]
    )

    assert done.stdout == "of the container\n", done.stderr
