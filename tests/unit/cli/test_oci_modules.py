"""What the quick verbs of newroot-oci load, and nothing else: an engine calls them all day."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import newroot

_SOURCE = str(Path(newroot.__file__).parents[1])
_PROGRAM = """
import sys
before = set(sys.modules)
sys.path.append({source!r})
from newroot.cli.oci.main import main
code = main({words!r})
print(code, *sorted(m for m in set(sys.modules) - before if m.startswith("newroot.")))
"""

_ALL = {
    *("cli", "cli.flags", "cli.oci", "cli.oci.main", "cli.oci.verbs", "container"),
    *("container.names", "container.oci_state", "errors", "linux", "linux.processes"),
    *("oci", "oci.json", "record"),
}
MODULES = {
    "state": {"cli.oci.state"},
    "start": {"cli.oci.start", "cli.failures", "cli.oci.log", "container.oci_start", "plan"}
    | {"plan.launcher"},
    "kill": {"cli.oci.kill", "cli.failures", "cli.oci.log", "container.oci_kill"}
    | {"linux.constants", "linux.signals"},
    "delete": {"cli.oci.delete", "cli.oci.log", "container.oci_delete", "linux.trees"},
}


@pytest.mark.parametrize("verb", MODULES)
def test_a_quick_verb_loads_little(tmp_path: Path, verb: str) -> None:
    entry = tmp_path / "root/c"
    entry.mkdir(parents=True)
    state = {"id": "c", "ociVersion": "1.0.2", "bundle": "/b", "rootfs": "/b/r", "pid": 2**22 + 1}
    (entry / "state.json").write_text(json.dumps(state))
    (entry / "config.json").write_text("{}")
    words = ["--root", str(tmp_path / "root"), verb, "c"]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _PROGRAM.format(source=_SOURCE, words=words)],
        capture_output=True,
        text=True,
    )
    _, *loaded = done.stdout.splitlines()[-1].split()

    assert {name.removeprefix("newroot.") for name in loaded} == _ALL | MODULES[verb]
