"""``make demo`` says what it shows: its proofs hold here, and it leaves nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from newroot.testing import needs

# It compares the host before, during and after: nobody else of ours may change it meanwhile.
pytestmark = [needs("root", "busybox", "overlay", "util-linux"), pytest.mark.serial]

DEMO = Path(__file__).parent.parent.parent / "scripts/demo"


@pytest.fixture
def shown(tmp_path: Path, leaves_nothing: Callable[..., None]) -> str:
    """What the demo prints; its directory, its processes and its mounts are gone afterwards."""
    leaves_nothing(str(tmp_path))
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "VENV": os.path.dirname(sysconfig.get_path("scripts")),
    }
    done = subprocess.run([DEMO], env=environment, capture_output=True, text=True, timeout=100)

    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def test_the_demo_s_proofs_hold(shown: str) -> None:
    words = re.findall(r"^  (true|FALSE)   ", shown, re.MULTILINE)

    assert words == ["true"] * 7
    _, own, host, *_ = re.split(r"^\d  .*$", shown, flags=re.MULTILINE)[2:]
    assert "# hostname\n  demo\n" in own
    assert re.search(r"^ +1 root +sh$", own, re.MULTILINE)
    assert re.search(r"^  overlay on / type overlay", own, re.MULTILINE)
    assert "./etc/changed:changed" in shown
    assert "pivot_root" in shown
    assert re.search(r'busybox   "sh" .* demo$', host, re.MULTILINE)
    assert max(map(len, shown.splitlines())) <= 120
