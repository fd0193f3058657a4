"""What the tests of the virtual machine share: a root file system that its user can read, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

OCI = "/usr/local/bin/newroot-oci"
NEWROOT = "/usr/local/bin/newroot"
#: A device that no container may use, and one that all may: /dev/kmsg and /dev/null.
DEVICES = {"kmsg": (1, 11), "null": (1, 3)}
#: More than the limits of these tests, at once.
EAT = ("dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1")


def run(*words: str | Path, user: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as root or in the session of the user "tester"."""
    return subprocess.run(
        [*(("asuser",) if user else ()), *map(str, words)],
        **{"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, **options},
    )


def sh(*words: str | Path, user: bool = False, **options: Any) -> str:
    """What a command prints; it must succeed."""
    done = run(*words, user=user, **options)

    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def script(text: str, *words: str | Path, user: bool) -> str:
    """What a shell script prints; in a file, for systemd expands what it takes for variables."""
    with tempfile.NamedTemporaryFile("w", prefix="newroot-test-") as file:
        file.write(text)
        file.flush()
        os.chmod(file.name, 0o644)
        return sh("sh", file.name, *words, user=user)


def make_rootfs(directory: Path) -> Path:
    """busybox under a few of its names; everybody may read it."""
    (directory / "bin").mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, directory / "bin/busybox")
    for name in ("sh", "sleep", "cat", "echo", "true", "dd", "id", "setsid"):
        (directory / "bin" / name).symlink_to("busybox")
    for name in ("proc", "sys", "dev", "etc", "tmp"):
        (directory / name).mkdir()
    sh("chmod", "-R", "a+rX", directory)
    return directory
