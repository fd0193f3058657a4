"""tiny_root(): a root filesystem that a process can live in."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

from newroot.testing import needs


@needs("busybox")
def test_tiny_root_has_a_shell_and_a_sticky_tmp(tiny_root: Path) -> None:
    assert (tiny_root / "bin/sh").is_symlink()
    assert stat.S_IMODE((tiny_root / "tmp").stat().st_mode) == 0o1777


@needs("busybox", "root")
def test_a_process_can_live_in_a_tiny_root(tiny_root: Path) -> None:
    done = subprocess.run(
        ["chroot", tiny_root, "/bin/sh", "-c", "id -un; ls /"], capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["root", *sorted(path.name for path in tiny_root.iterdir())]
