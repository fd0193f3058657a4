"""CVE-2022-29162, CVE-2022-24769: capabilities that are inheritable without being asked for.

An ordinary user's program with inheritable file capabilities then gains them by execve(2).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE

import pytest

from newroot.engine import Engine
from newroot.testing import needs

pytestmark = needs("root")

_NAME = f"newroot-test-{os.getpid()}"
_INHERITED = "grep -E 'Cap(Inh|Amb)' /proc/self/status"
_NONE = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n"


@pytest.mark.parametrize(
    "words", [{}, {"cap_add": ["ALL"]}, {"privileged": True}, {"user": "5", "cap_add": ["CHOWN"]}]
)
def test_a_container_inherits_none(engine: Engine, image: Path, words: dict[str, object]) -> None:
    result = engine.run(
        rootfs=f"{image}:O", command=["/bin/sh", "-c", _INHERITED], stdout=PIPE, text=True, **words
    )

    assert result.stdout == _NONE, "CAPABILITIES ARE INHERITABLE THAT NOBODY ASKED FOR"


@pytest.fixture
def oci(tmp_path: Path, image: Path) -> Iterator[Callable[..., str]]:
    """``oci(words…)`` runs newroot-oci; a container runs, with CAP_CHOWN and no more."""
    proc = {"destination": "/proc", "type": "proc", "source": "proc"}
    caps = {name: ["CAP_CHOWN"] for name in ("bounding", "effective", "permitted")}
    config = {
        "ociVersion": "1.2.0",
        "root": {"path": str(image)},
        "process": {"args": ["/bin/sleep", "1000"], "cwd": "/", "capabilities": caps},
        "mounts": [proc],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))

    def run(*words: str, before: str = "") -> str:
        program = f"{before}\nfrom newroot.cli.oci.main import main; raise SystemExit(main())"
        detached = "--detach" in words  # then the container has our streams
        done = subprocess.run(
            [sys.executable, "-c", program, "--root", str(tmp_path / "state"), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if detached else PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=30,
        )
        return done.stdout

    run("run", "--detach", "--bundle", str(tmp_path), _NAME)
    yield run
    run("delete", "--force", _NAME)


_WITHOUT = """
from newroot.cli.oci import exec as verb
guarded = verb._with
verb._with = lambda sets, names: {**guarded(sets, names), "inheritable": names}
"""


@pytest.mark.parametrize("before", ["", _WITHOUT], ids=["guarded", "without-the-guard"])
def test_exec_with_more_capabilities_inherits_none(oci: Callable[..., str], before: str) -> None:
    said = oci("exec", "--cap", "CAP_KILL", _NAME, "/bin/cat", "/proc/self/status", before=before)
    sets = dict(line.split(":\t") for line in said.splitlines() if line.startswith("Cap"))

    assert int(sets["CapPrm"], 16) & 1 << 5, "exec --cap gave nothing: so this proves nothing"
    assert int(sets["CapInh"], 16) == (1 << 5 if before else 0), "A CAPABILITY IS INHERITABLE"
