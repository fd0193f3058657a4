"""Real engines with newroot-oci below them, each in a box of its own: ``Box``.

Nothing of an engine reaches the machine: no process, mount, network, firewall rule or cgroup.
Images are made of busybox; there is no network but the box's own.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import select
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from newroot.testing.roots import tiny_root

HERE = Path(__file__).parent

Done = subprocess.CompletedProcess[str]


class Box:
    """Namespaces and cgroups for an engine; ``close()`` ends all that is in them."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.cgroup = f"newroot-test-{os.getpid()}-{name}"
        self.log = directory / "log"
        self._started: list[subprocess.Popen[bytes]] = []
        self.environment = {**os.environ, "HOME": str(directory), "LC_ALL": "C.UTF-8"}
        with self.log.open("ab") as log:
            self._holder = subprocess.Popen(
                ["sh", HERE / "box.sh", self.cgroup, directory],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            raise AssertionError(f"no box: {self.words()}")
        (first,) = (
            Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        )
        self._prefix = ["nsenter", "--target", first, "--all", "--", "sh", str(HERE / "enter.sh")]

    def words(self) -> str:
        """The last that the box and its daemons said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def run(
        self, *command: str, check: bool = True, timeout_s: float = 60, **options: object
    ) -> Done:
        """Run a command in the box to its end."""
        done = subprocess.run(  # type: ignore[call-overload]
            [*self._prefix, *command],
            **{
                "stdin": subprocess.DEVNULL,
                "capture_output": True,
                "text": True,
                "env": self.environment,
                "timeout": timeout_s,
                **options,
            },
        )
        assert not check or done.returncode == 0, (
            f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}\n{self.words()}"
        )
        return done  # type: ignore[no-any-return]

    def start(self, *command: str, **options: object) -> subprocess.Popen[bytes]:
        """Start a command in the box that stays; what it says goes to the log."""
        with self.log.open("ab") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
                [*self._prefix, *command],
                **{
                    "stdin": subprocess.DEVNULL,
                    "stdout": log,
                    "stderr": log,
                    "env": self.environment,
                    **options,
                },
            )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End the box: its first process ends with its stdin, and the kernel ends the rest."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait(timeout=60)
        self._holder.stdout.close()
        for process in self._started:
            process.wait(timeout=60)
        wait_until(self._is_empty, "the box's cgroups are empty")

    def _is_empty(self) -> bool:
        """Remove its cgroups, from the leaves; a dying process may stand in one for a moment."""
        for directory, _, _ in os.walk("/sys/fs/cgroup", topdown=False):
            if self.cgroup in directory.split("/"):
                try:
                    os.rmdir(directory)
                except OSError:
                    return False
        return True


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Wait until *holds*, or fail and say *what* did not come."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not after {timeout_s} s: {what}"
        select.select([], [], [], 0.05)


def busybox_archive(path: Path, name: str) -> Path:
    """A docker-archive with one image, busybox as *name*."""
    with tempfile.TemporaryDirectory() as directory:
        tiny_root(directory)
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            tar.add(directory, arcname=".", filter=_as_root)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin:/usr/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        for member, data in {
            "layer.tar": layer.getvalue(),
            "config.json": json.dumps(config).encode(),
            "manifest.json": json.dumps(manifest).encode(),
        }.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def _as_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info
