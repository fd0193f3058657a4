"""newroot-init built twice more: as it is shipped, and hosted under the sanitizers.

The hosted build is the same sources with -DNEWROOT_HOSTED: a C library and its main() around
them, because ASan and UBSan need one (docs/decisions/0001-freestanding-c.md).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from newroot.testing import require

ROOT = Path(__file__).parent.parent.parent
NATIVE = ROOT / "src/newroot/native"


def listed_sources() -> list[Path]:
    """The C files that meson.build builds newroot-init from."""
    text = (NATIVE / "meson.build").read_text()
    listing = re.search(r"newroot_init_sources = files\((.*?)\)", text, re.DOTALL)
    assert listing is not None
    return [NATIVE / name for name in re.findall(r"'([^']+)'", listing[1])]


def compile_hosted(output: Path, *arguments: str) -> Path:
    """Build the sources of newroot-init against the host's C library.

    Freestanding all the same: with glibc's <stdint.h> the kernel's headers leave half their names
    to glibc's own headers, and the two do not go together in one file.
    """
    done = subprocess.run(
        [
            *("gcc", "-std=gnu11", "-g", "-O1", "-fno-omit-frame-pointer", "-ffreestanding"),
            "-DNEWROOT_HOSTED",
            *("-Wall", "-Wextra", "-Werror", *arguments, "-o", output, *listed_sources()),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="session")
def sanitized_init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """newroot-init under AddressSanitizer and UBSan: the first finding ends it with a report."""
    require("gcc", "asan")
    output = tmp_path_factory.mktemp("sanitized") / "newroot-init"
    return compile_hosted(output, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="session")
def shipped_init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """newroot-init as meson builds it for the wheel, from the tree as it is now."""
    require("gcc")
    build = tmp_path_factory.mktemp("build")
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    for command in (["meson", "setup", build, ROOT], ["meson", "compile", "-C", build]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "src/newroot/native/newroot-init"
