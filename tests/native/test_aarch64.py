"""newroot-init and the commands for the other processor that we name: built, linked, and begun.

Built by meson as a wheel's would be, every warning an error, and begun under qemu's emulation of a
process.  A start is not shown there: qemu has no clone3 and no pidfd to give.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from newroot.testing import needs

pytestmark = needs("aarch64-linux-gnu-gcc", "qemu-aarch64", "readelf")

ROOT = Path(__file__).parent.parent.parent

CROSS = """
[binaries]
c = 'aarch64-linux-gnu-gcc'
strip = 'aarch64-linux-gnu-strip'
exe_wrapper = ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu']
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("aarch64")
    (directory / "cross.ini").write_text(CROSS)
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    build = directory / "build"
    for command in (
        ["meson", "setup", "--cross-file", directory / "cross.ini", build, ROOT],
        ["meson", "compile", "-C", build],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "src/newroot"


@pytest.mark.parametrize("name", ["native/newroot-init", "cli/newroot", "cli/newroot-oci"])
def test_it_is_for_that_processor_and_needs_no_library(built: Path, name: str) -> None:
    said = subprocess.run(
        ["readelf", "--file-header", "--program-headers", built / name],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "AArch64" in said
    assert "INTERP" not in said
    assert "DYNAMIC" not in said


def test_it_begins_and_says_that_a_person_may_not_start_it(built: Path) -> None:
    """Up to there it has found its arguments, looked at its descriptors, written and ended."""
    done = subprocess.run(
        ["qemu-aarch64", built / "native/newroot-init"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert done.stderr == "newroot-init: started by newroot, not by hand\n"
