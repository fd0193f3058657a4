"""host_state(): a picture before and after, and the words for what differs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from newroot.testing import host_state


def test_two_pictures_of_a_host_at_rest_are_equal(tmp_path: Path) -> None:
    assert host_state(tmp_path).changes(host_state(tmp_path)) == []


def test_a_new_file_is_named(tmp_path: Path) -> None:
    before = host_state(tmp_path)
    (tmp_path / "left behind").touch()

    assert before.changes(host_state(tmp_path)) == [f"+ files: {tmp_path}/left behind"]


def test_a_closed_descriptor_is_named(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    before = host_state()
    os.close(descriptor)

    assert before.changes(host_state()) == [f"- descriptors: {descriptor} -> {tmp_path}"]


def test_a_grandchild_is_named() -> None:
    before = host_state()
    with subprocess.Popen(
        ["sh", "-c", "sleep 100 & echo $!; wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        changes = [line for line in before.changes(host_state()) if "processes" in line]
        os.kill(grandchild, 9)

    assert len(changes) == 2
    assert changes[0].startswith("+ processes: ")
    assert any(line.split()[2] == str(grandchild) for line in changes)
