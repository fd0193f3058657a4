"""A bundle of a tiny root, and ``newroot-oci`` to be driven as an engine drives it."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

from newroot.linux.processes import process_status
from newroot.testing.roots import tiny_root

COMMAND = os.path.join(sysconfig.get_path("scripts"), "newroot-oci")
NAMESPACES = ("mount", "pid", "uts", "ipc", "network")
CAPABILITIES = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID"]

Done = subprocess.CompletedProcess[str]


def base_config(mark: str) -> dict[str, Any]:
    """A config of few words; its cgroup has *mark* in its name."""
    return {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "hostname": "inside",
        "process": {
            "args": ["sleep", "1000"],
            "cwd": "/",
            "env": ["PATH=/bin", "HOME=/root"],
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": True,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["newinstance", "ptmxmode=0666", "mode=0620"],
            },
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in NAMESPACES],
            "cgroupsPath": f"/{mark}/c",
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}],
            },
        },
    }


class Oci:
    """``newroot-oci`` on a root of its own, and one bundle."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "state"
        self.bundle = directory / "bundle"
        self.mark = f"newroot-test-{os.getpid()}-{directory.name}"
        tiny_root(self.bundle / "rootfs")
        self.configure(lambda config: None)

    def configure(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Write the bundle's config, changed."""
        config = base_config(self.mark)
        change(config)
        (self.bundle / "config.json").write_text(json.dumps(config))

    def words(self, *words: str | Path) -> list[str]:
        return [COMMAND, "--root", str(self.root), *map(str, words)]

    def __call__(self, *words: str | Path, check: bool = True, **options: Any) -> Done:
        done: Done = subprocess.run(
            self.words(*words),
            **{
                "stdin": subprocess.DEVNULL,
                "capture_output": True,
                "text": True,
                "timeout": 60,
                **options,
            },
        )
        assert not check or done.returncode == 0, (words, done.returncode, done.stderr)
        return done

    def create(self, name: str = "c", *words: str | Path, **options: Any) -> Done:
        # A container keeps our streams, so pipes of ours would not end with the command.
        log = self.bundle / "stderr"
        with log.open("w+") as file:
            done = self(
                *("create", "--bundle", self.bundle, *words, name),
                capture_output=False,
                stdout=file,
                stderr=file,
                **{**options, "check": False},
            )
        assert options.get("check") is False or done.returncode == 0, log.read_text()
        return subprocess.CompletedProcess(done.args, done.returncode, "", log.read_text())

    def state(self, name: str = "c") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("state", name).stdout)
        return found

    def status(self, name: str = "c") -> str:
        return str(self.state(name)["status"])

    def left(self) -> list[str]:
        """State, processes and cgroups that are still there."""
        state = [str(path) for path in self.root.glob("*")]
        cgroups = [str(p) for p in Path("/sys/fs/cgroup").glob(f"*/{self.mark}/*") if p.is_dir()]
        cgroups += [str(p) for p in Path("/sys/fs/cgroup").glob(f"{self.mark}/*") if p.is_dir()]
        return state + cgroups + self.processes()

    def processes(self) -> list[str]:
        """The processes whose root or command line is this bundle's or this root's."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cgroup").read_text()
                except OSError:
                    continue
                status = process_status(int(entry.name))
                # Orphans are the first process's to collect, which takes its time.
                if self.mark in words and status is not None and status.state != "Z":
                    found.append(entry.name)
        return found

    def close(self) -> None:
        for name in self("list", "-q").stdout.split():
            self("delete", "--force", name, check=False)
        for parent in Path("/sys/fs/cgroup").glob(f"*/{self.mark}"):
            parent.rmdir()
