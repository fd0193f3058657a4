"""In a user namespace too, the script of a plan does what newroot-init does."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import newroot.plan.steps
from newroot.testing import needs

pytestmark = needs("userns", "util-linux", "busybox")

SCRIPT = Path(__file__).parent / "user_namespace_views.py"


def _cases() -> list[str]:
    spec = importlib.util.spec_from_file_location("user_namespace_views", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.CASES)


@pytest.mark.parametrize("case", _cases())
def test_the_script_and_newroot_do_the_same(tmp_path: Path, tiny_root: Path, case: str) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    source = str(Path(newroot.plan.steps.__file__).parent.parent.parent)
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc",
         sys.executable, SCRIPT, tiny_root, scratch, case],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
    )  # fmt: skip

    assert (done.stdout.strip(), done.stderr, done.returncode) == ("", "", 0)
