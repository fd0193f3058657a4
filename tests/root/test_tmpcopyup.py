"""``tmpcopyup`` of a directory that is full of surprises; what runc copies too is compared with it
in tests/peers."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from newroot.testing.needs import needs

pytestmark = [needs("root", "busybox"), pytest.mark.timeout(60)]


@pytest.fixture
def full(bundle: Any) -> Path:
    """A directory of the image that a tmpfs goes over, with what it has."""
    directory: Path = bundle.directory / "rootfs/full"
    directory.mkdir()
    entry = {"destination": "/full", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
    bundle.config["mounts"].append(entry)
    return directory


def test_a_fifo_is_copied_and_a_socket_is_not(bundle: Any, full: Path) -> None:
    os.mkfifo(full / "fifo")
    os.chmod(full / "fifo", 0o620)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{full}/socket")
        code, out, errors = bundle.run("stat", "-c", "%n %F %a", "/full/fifo")

    assert (code, out) == (0, "/full/fifo fifo 620\n"), errors
    assert bundle.run("ls", "/full")[1] == "fifo\n"


def test_a_link_is_copied_and_not_followed(bundle: Any, full: Path) -> None:
    (full / "out").symlink_to("/etc/shadow")
    (full / "up").symlink_to("../../../../../..")
    code, out, errors = bundle.run("sh", "-c", "readlink /full/out; readlink /full/up")

    assert (code, out) == (0, "/etc/shadow\n../../../../../..\n"), errors


def test_owner_mode_and_many_entries_are_kept(bundle: Any, full: Path) -> None:
    for number in range(300):
        (full / f"a-file-with-a-name-of-some-length-{number}").write_text(str(number))
    (full / "suid").write_bytes(b"x" * 300_000)
    os.chown(full / "suid", 12, 34)
    os.chmod(full / "suid", 0o4755)
    script = "ls /full | wc -l; stat -c '%u:%g %a %s' /full/suid"
    code, out, errors = bundle.run("sh", "-c", script)

    assert (code, out) == (0, "301\n12:34 4755 300000\n"), errors


def test_what_is_written_stays_in_memory(bundle: Any, full: Path) -> None:
    (full / "file").write_text("the image's\n")
    assert bundle.run("sh", "-c", "echo other >/full/file; rm -f /full/file")[0] == 0

    assert (full / "file").read_text() == "the image's\n"


def test_a_file_system_that_is_too_small_is_an_error(bundle: Any, full: Path) -> None:
    (full / "file").write_bytes(bytes(100_000))
    bundle.config["mounts"][-1]["options"].append("size=16k")
    code, _, errors = bundle.run("true")

    assert code == 1
    assert "mount tmpfs on /full (size=16k,mode=1777,tmpcopyup)" in errors
    assert "(ENOSPC)" in errors


def test_a_tree_without_an_end_is_an_error(bundle: Any, full: Path) -> None:
    deep = full
    for _ in range(140):
        deep = deep / "d"
        deep.mkdir()
    code, _, errors = bundle.run("true")

    assert (code, "(ELOOP)" in errors) == (1, True), errors
