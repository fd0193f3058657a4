"""After a power loss at any write, what was acknowledged is there and whole, the doctor finds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import newroot
from newroot.testing.needs import needs

pytestmark = needs("root", "mkfs.ext4")

HERE = Path(__file__).parent
SOURCE = Path(newroot.__file__).parent.parent


def play(directory: Path, times: int) -> str:
    if not os.path.exists("/dev/fuse") or not os.path.exists("/dev/loop-control"):
        pytest.skip("needs FUSE and loop devices")
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private",
         sys.executable, str(HERE / "power_loss.py"), str(directory), str(times)],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "PYTHONPATH": f"{SOURCE}:{HERE}"},
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_a_power_loss_loses_nothing_acknowledged(tmp_path: Path):
    assert "played 15 of " in play(tmp_path, 15)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_power_losses_lose_nothing_acknowledged(tmp_path: Path):
    assert "played 120 of " in play(tmp_path, 120)
