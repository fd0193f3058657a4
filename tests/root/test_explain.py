"""``newroot explain`` draws the plan of a container, an image or a bundle, as it was or will be."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from newroot.testing.needs import needs

pytestmark = needs("root", "overlay", "busybox")

Newroot = Callable[..., str]


@pytest.fixture
def newroot(root: Path, newroot_command: str) -> Newroot:
    environment = {**os.environ, "NEWROOT_ROOT": str(root), "NEWROOT_RUN_ROOT": f"{root}/run"}

    def call(*words: str) -> str:
        done = subprocess.run(
            [newroot_command, *words], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return re.sub("[0-9a-f]{64}", "ID", done.stdout)

    return call


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--init", "--switch", "move"],
        ["--privileged"],
        ["--security-opt", "seccomp=unconfined"],
        ["--network", "host", "--user", "nobody", "-v", "vol:/x", "--tmpfs", "/t", "--read-only"],
    ],
    ids=lambda flags: " ".join(flags) or "default",
)
def test_a_container_is_explained_by_the_script_that_it_was_started_by(
    newroot: Newroot, flags: list[str]
) -> None:
    words = ["--name", "kept", "--hostname", "host", *flags, "busybox", "true"]
    before = newroot("run", "--explain", *words)
    newroot("run", *words)

    assert newroot("explain", "kept") == before


def test_an_image_is_explained_as_a_start_without_flags(newroot: Newroot) -> None:
    def steps(script: str) -> list[str]:
        return re.findall(r"(?m)^# \d+\. (.*)$", re.sub("[0-9a-f]{12}", "SHORT", script))

    by_image = steps(newroot("explain", "busybox"))

    assert by_image == steps(newroot("run", "--explain", "busybox"))
    assert by_image[-1].startswith("execute sh")


def test_a_bundle_is_explained_by_its_directory_or_its_config(
    newroot: Newroot, tmp_path: Path, newroot_command: str
) -> None:
    subprocess.run([f"{newroot_command}-oci", "spec"], cwd=tmp_path, check=True)
    by_directory = json.loads(newroot("explain", "--format", "json", str(tmp_path)))
    by_file = json.loads(newroot("explain", "--format", "json", f"{tmp_path}/config.json"))

    assert by_directory == by_file
    assert by_directory[-1]["does"] == "execute sh"
    assert all(step["why"] for step in by_directory if step["does"].startswith("mount"))
    lines = newroot("explain", "--format", "list", str(tmp_path)).splitlines()
    assert len(lines) == len(by_directory)
