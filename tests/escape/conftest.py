"""Attacks on a real container, and the same attacks on a newroot-init without the guard.

Each file is named after the CVE it learned from, or after what was found here.  ``attack`` runs a
line of shell in a container on a small root that the test has made hostile; ``without`` builds
newroot-init with one guard taken out, so that a test can show that it would notice.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from newroot.engine import Engine
from newroot.plan import launcher
from newroot.testing import require
from newroot.testing.roots import tiny_root as make_tiny_root

NATIVE = Path(__file__).parents[2] / "src/newroot/native"  # a wheel has no sources

Without = Callable[..., None]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A small root for a test to make hostile."""
    require("root", "busybox")
    return Path(make_tiny_root(tmp_path / "image"))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "engine") as engine:
        yield engine


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Without:
    """``without(file, guard, instead)``: what is started from now on lacks that guard."""
    require("gcc")
    sources = tmp_path / "native"

    def build(file: str, guard: str, instead: str) -> None:
        if not sources.exists():
            shutil.copytree(NATIVE, sources, ignore=shutil.ignore_patterns("newroot-init", "*.py*"))
        text = (sources / file).read_text()
        assert text.count(guard) == 1, f"the guard is no longer in {file}: mend this test"
        (sources / file).write_text(text.replace(guard, instead))
        listing = re.findall(r"'(\w+\.c)'", (NATIVE / "meson.build").read_text())
        subprocess.run(
            [
                *("gcc", "-std=gnu11", "-O2", "-ffreestanding", "-fno-stack-protector", "-w"),
                *("-fno-pie", "-U_FORTIFY_SOURCE", "-fno-tree-loop-distribute-patterns"),
                *("-static", "-nostdlib", "-no-pie", "-o", "newroot-init", *listing),
            ],
            cwd=sources,
            check=True,
        )
        monkeypatch.setattr(launcher, "binary_path", lambda: str(sources / "newroot-init"))

    return build


Bundle = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_bundle(tmp_path: Path, image: Path) -> Bundle:
    """``run_bundle(script, mounts=[…], terminal=…)``: a bundle on the image, with /proc alone.

    Carried out by what ``without`` built, if it built something.
    """

    def run(
        script: str,
        mounts: list[dict[str, object]] | None = None,
        namespaces: Sequence[str] = (),
        **words: object,
    ) -> subprocess.CompletedProcess[str]:
        proc = {"destination": "/proc", "type": "proc", "source": "proc"}
        ids = [{"containerID": 0, "hostID": 0, "size": 65536}]
        maps = {"uidMappings": ids, "gidMappings": ids}
        process = {"args": ["/bin/sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/"}
        config = {
            "ociVersion": "1.2.0",
            "root": {"path": str(image)},
            "process": {**process, **words},
            "mounts": [proc, *(mounts or [])],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("mount", "pid", "ipc", *namespaces)],
                **(maps if "user" in namespaces else {}),
            },
        }
        (tmp_path / "config.json").write_text(json.dumps(config))
        program = (
            "import sys; from newroot.plan import launcher; from newroot.cli.oci.main import main;"
            "launcher.binary_path = lambda: sys.argv[1]; sys.exit(main(sys.argv[2:]))"
        )
        command = [sys.executable, "-c", program, launcher.binary_path()]
        command += [
            "--root",
            str(tmp_path / "state"),
            "run",
            "--bundle",
            str(tmp_path),
            f"newroot-test-{os.getpid()}",
        ]
        if words.get("terminal"):
            command = ["script", "-qec", shlex.join(command), "/dev/null"]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
        )

    return run
