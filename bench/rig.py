"""The rig of a benchmark run: one private directory with everything the peers need.

A root filesystem with busybox, the same as a docker-archive, the small C programs, a
virtual environment for the peers that live on PyPI. Whatever is made, started or mounted
here is registered to be undone when the run ends, however it ends. Assumes root.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

Made = TypeVar("Made")
HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
APPLETS = (
    "sh",
    "true",
    "cat",
    "sleep",
    "ls",
    "id",
    "hostname",
    "mount",
    "readlink",
    "env",
    "yes",
    "head",
)
DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "var")
C_PROGRAMS = {
    "floor": ("floor.c", "-static", "-pthread"),
    "stopwatch": ("stopwatch.c", "-static", "-pthread"),
    "memlock_shim.so": ("memlock_shim.c", "-shared", "-fPIC"),
}
# dockerd, podman and kern leave their empty parent groups behind.
LEFT_CGROUPS = ("docker", "libpod_parent/conmon", "libpod_parent", "kern.slice")


PREFIX = "newroot-bench-"


class Unavailable(Exception):
    """This row cannot be measured here; the text says why and stands in the table."""


class Resident:
    """A process that answers each line "N" with N lines of nanoseconds."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log

    def ask(self, count: int) -> list[int]:
        question, answers = self.process.stdin, self.process.stdout
        assert question is not None
        assert answers is not None
        try:
            question.write(f"{count}\n")
            question.flush()
            return [int(answers.readline()) for _ in range(count)]
        except (BrokenPipeError, ValueError):
            raise Unavailable(self.last_words()) from None

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "died silently")

    def stop(self) -> None:
        """Close its stdin, on which our servers end; ask the others to, by their pid."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        for wait_s, next_ask in ((1, self.process.terminate), (20, self.process.kill)):
            try:
                self.process.wait(timeout=wait_s)
                return
            except subprocess.TimeoutExpired:
                next_ask()
        self.process.wait()


class Rig:
    """Everything a peer may ask for while it prepares itself."""

    def __init__(self, state: Path, undo: contextlib.ExitStack) -> None:
        remove_stale(state)
        self.undo = undo
        self.seccomp: Path | None = None
        self.dir = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=state))
        undo.callback(shutil.rmtree, self.dir, ignore_errors=True)
        self.rootfs = self.dir / "rootfs"
        make_rootfs(self.rootfs)
        self._lowers: list[str] = []
        self._made: dict[object, object] = {}
        self._started = 0
        self._remember_cgroups()

    def directory(self, name: str) -> Path:
        path = self.dir / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def need(self, program: str) -> str:
        path = shutil.which(program, path=f"/usr/bin:/usr/sbin:/bin:/sbin:{os.environ['PATH']}")
        if path is None:
            raise Unavailable(f"{program} is not installed")
        return path

    def built(self, name: str) -> str:
        """Return the path of one of our C programs, compiled when its source is newer."""
        source, *flags = C_PROGRAMS[name]
        target = OUT / "bin" / name
        if not target.exists() or target.stat().st_mtime < (HERE / source).stat().st_mtime:
            target.parent.mkdir(parents=True, exist_ok=True)
            command = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", *flags]
            self.call([*command, "-o", str(target), str(HERE / source), "-ldl"])
        return str(target)

    def call(self, argv: Sequence[str], **environment: str) -> str:
        """Run a preparing command to its end; its output is returned, or told on failure."""
        done = subprocess.run(
            argv, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            raise Unavailable(f"{Path(argv[0]).name}: {words[-1]}")
        return done.stdout

    def stopwatch(self, *argv: str, options: Sequence[str] = ()) -> list[str]:
        """Return the command of a resident process that times *argv* as a whole process."""
        return [self.built("stopwatch"), *options, "--", *argv]

    def floor(self, *options: str, layers: int = 1) -> list[str]:
        state = str(self.directory("floor"))
        lowers = ":".join(self.lowers(layers))
        profile = ["--seccomp", str(self.seccomp)] if self.seccomp else []
        return [self.built("floor"), "--lowers", lowers, "--state", state, *profile, *options]

    def lowers(self, count: int) -> list[str]:
        """Return *count* directories, topmost first, of which the root is the lowest."""
        for number in range(len(self._lowers), count - 1):
            layer = self.directory(f"layers/{number}")
            (layer / f"layer-{number}").write_text(f"{number}\n")
            self._lowers.append(str(layer))
        return [*self._lowers[: count - 1], str(self.rootfs)]

    def archive(self, layers: int = 1) -> Path:
        """Return a docker-archive named bench:latest with *layers* layers."""
        path = self.dir / f"bench-{layers}.tar"
        if not path.exists():
            write_archive(path, [Path(lower) for lower in reversed(self.lowers(layers))])
        return path

    def python(self, package: str) -> str:
        """Return the interpreter of the peers' own environment, with *package* in it."""
        interpreter = OUT / "venv" / "bin" / "python"
        if not interpreter.exists():
            self.call([sys.executable, "-m", "venv", str(OUT / "venv")])
        probe = [str(interpreter), "-c", f"import {package.replace('-', '_')}"]
        if subprocess.run(probe, capture_output=True, check=False).returncode:
            install = [str(interpreter), "-m", "pip", "install", "--quiet", package]
            self.call([*install, "--disable-pip-version-check"])
        return str(interpreter)

    def start(self, argv: Sequence[str], **environment: str) -> Resident:
        """Start a process that lives until the run ends."""
        self._started += 1
        log = self.dir / f"log-{self._started}"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                argv,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        resident = Resident(process, log)
        self.undo.callback(resident.stop)
        return resident

    def enter_private(self, *directories: str) -> list[str]:
        """Return a command prefix into a mount namespace where *directories* are empty.

        podman and docker keep state in /run and locks in /dev/shm that have no option.
        """
        options = [word for name in directories for word in ("--private", name)]
        holder = self.start(self.stopwatch("/bin/true", options=options))
        holder.ask(1)
        return [self.need("nsenter"), f"--mount=/proc/{holder.process.pid}/ns/mnt", "--"]

    def once(self, make: Callable[[Rig], Made]) -> Made:
        """Return what *make* returns, made at the first call (a daemon, a loaded image)."""
        if make not in self._made:
            try:
                self._made[make] = make(self)
            except Unavailable as reason:
                self._made[make] = reason
        made = self._made[make]
        if isinstance(made, Unavailable):
            raise made
        return made  # type: ignore[return-value]

    def _remember_cgroups(self) -> None:
        found = [root / name for root in cgroup_roots() for name in LEFT_CGROUPS]
        left = [path for path in found if not path.exists()]
        self.undo.callback(remove_empty, left)


def remove_stale(state: Path) -> None:
    """Remove what a killed run left: plain files, its mounts died with its processes."""
    for path in state.glob(f"{PREFIX}*"):
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", owner).exists():
            shutil.rmtree(path, ignore_errors=True)


def wait_until(done: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise Unavailable(f"{what}: not ready after {timeout_s:.0f} s")
        time.sleep(0.05)


def cgroup_roots() -> list[Path]:
    top = Path("/sys/fs/cgroup")
    return [top, *(path for path in top.glob("*") if (path / "cgroup.procs").exists())]


def remove_empty(paths: Sequence[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.rmdir()


def make_rootfs(root: Path) -> None:
    """Make what an image of busybox would be, with the mount points of a container."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise SystemExit("bench: busybox is not installed (apt install busybox-static)")
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    for name in ("hosts", "hostname", "resolv.conf"):
        (root / "etc" / name).touch()
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")


def write_archive(path: Path, layers: Sequence[Path]) -> None:
    """Write a docker-archive of *layers*, lowest first (`docker save`'s layout)."""
    blobs = []
    for layer in layers:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for file in sorted(layer.iterdir()):
                tar.add(file, arcname=file.name)
        blobs.append(buffer.getvalue())
    digests = [hashlib.sha256(blob).hexdigest() for blob in blobs]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }
    entry = {
        "Config": "config.json",
        "RepoTags": ["bench:latest"],
        "Layers": [f"{digest}.tar" for digest in digests],
    }
    files = {f"{digest}.tar": blob for digest, blob in zip(digests, blobs, strict=True)}
    files["config.json"] = json.dumps(config).encode()
    files["manifest.json"] = json.dumps([entry]).encode()
    with tarfile.open(path, "w") as tar:
        for name, blob in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(blob)
            tar.addfile(info, io.BytesIO(blob))
