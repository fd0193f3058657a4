"""``newroot run --timeline FILE``, end to end: the measured steps of a start that took place."""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from newroot.testing import needs

pytestmark = needs("root", "busybox", "overlay")


def _run(command: str, root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [command, "--root", str(root), "--run-root", f"{root}/run", "run", "--rm", *words]
    return subprocess.run(line, capture_output=True, text=True)


def test_the_steps_are_the_plan_s_and_all_but_the_command_were_measured(
    newroot_command: str, root: Path, tmp_path: Path
) -> None:
    done = _run(newroot_command, root, f"--timeline={tmp_path}/t.json", "busybox", "echo", "hi")
    whole = json.loads((tmp_path / "t.json").read_text())
    steps = whole["steps"]

    assert (done.stdout, done.stderr, done.returncode) == ("hi\n", "", 0)
    assert whole["command"] == ["echo", "hi"]
    assert steps[0]["words"].startswith("new namespaces: ")
    assert any(step["words"].startswith("mount overlay on ") for step in steps)
    assert any(step["words"].startswith("pivot_root to ") for step in steps)
    assert steps[-1]["words"] == "execute echo hi"
    assert all(step["duration_ns"] > 0 for step in steps[:-1])
    assert whole["total_ns"] == sum(step["duration_ns"] for step in steps)


def test_the_picture_has_a_row_for_each_step(
    newroot_command: str, root: Path, tmp_path: Path
) -> None:
    for name in ("t.svg", "t.json"):
        _run(newroot_command, root, "--timeline", str(tmp_path / name), "busybox", "true")
    steps = json.loads((tmp_path / "t.json").read_text())["steps"]
    rows = ET.parse(tmp_path / "t.svg").getroot().iter("{http://www.w3.org/2000/svg}g")

    assert len(list(rows)) == len(steps)


def test_a_missing_directory_is_one_clear_line_and_nothing_was_started(
    newroot_command: str, root: Path, tmp_path: Path
) -> None:
    done = _run(newroot_command, root, f"--timeline={tmp_path}/no/t.svg", "busybox", "echo", "hi")

    assert done.stdout == ""
    assert done.stderr == (
        f"newroot: write the timeline {tmp_path}/no/t.svg: there is no directory {tmp_path}/no\n"
        "hint: make it first\n"
    )
    assert done.returncode == 125


@pytest.mark.parametrize("name", ["t.svg", "t.json"])
def test_a_start_that_fails_leaves_the_file_as_it_was(
    newroot_command: str, root: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("before")
    done = _run(newroot_command, root, f"--timeline={tmp_path}/{name}", "busybox", "/missing")

    assert done.returncode == 127
    assert (tmp_path / name).read_text() == "before"
    assert [entry for entry in os.listdir(tmp_path) if entry.endswith(".new")] == []
