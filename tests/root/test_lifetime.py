"""kill -9 of any of our processes, at any moment, leaves no container, no mount, and after the next
command no file and no cgroup.

Each test is the subreaper of what it starts (prctl(2), PR_SET_CHILD_SUBREAPER), so that whatever is
orphaned becomes a child of this process, where it is seen.
"""

from __future__ import annotations

import ctypes
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from newroot.container.pipes import PIPE
from newroot.engine import Engine
from newroot.errors import NewrootError
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(100)]

_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE_S = 10.0  # for a loaded machine; what it takes is asserted where it matters


@pytest.fixture(autouse=True)
def subreaper(tmp_path: Path) -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    assert [line for line in mounts_of("self") if str(tmp_path) in line] == []


def mounts_of(pid: int | str) -> list[str]:
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return file.read().splitlines()


def children_of(pid: int) -> list[int]:
    try:
        return [
            int(word)
            for task in os.listdir(f"/proc/{pid}/task")
            for word in Path(f"/proc/{pid}/task/{task}/children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants() -> set[int]:
    """Everything below this process, zombies too."""
    found: set[int] = set()
    todo = [os.getpid()]
    while todo:
        for child in children_of(todo.pop()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def wait_until_all_are_gone(before: set[int]) -> float:
    """Wait until nothing below this process is new since *before*; return how long it took."""
    began = monotonic()
    while left := descendants() - before:
        assert monotonic() - began < _PATIENCE_S, [_describe(pid) for pid in left]
        for pid in left:
            _wait_for_end(pid)
    return monotonic() - began


def _wait_for_end(pid: int) -> None:
    with suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll(_PATIENCE_S * 1000)
        os.close(fd)
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _describe(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return f"{pid} is gone"


def is_mounted_anywhere(root: Path) -> list[str]:
    """Does any process of this host see a mount of something below *root*?"""
    seen: list[str] = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            seen += [f"{pid}: {line}" for line in mounts_of(pid) if str(root) in line]
    return seen


def assert_is_clean_after_the_next_command(root: Path) -> None:
    """Let another engine run something; then nothing but the image may be left."""
    run = root / "run"
    ids = os.listdir(run) if run.exists() else []
    with Engine(root) as engine:
        assert engine.run("busybox", ["true"]).returncode == 0
    cgroups = [
        directory
        for directory, _, _ in os.walk("/sys/fs/cgroup")
        if any(container_id in directory for container_id in ids)
    ]

    assert cgroups == []
    assert os.listdir(run) == []
    assert os.listdir(root / "containers") == []
    assert os.listdir(root / "names") == []
    assert is_mounted_anywhere(root) == []


# ---- one death each -----------------------------------------------------------------------------

_PROGRAM = """
import sys
from newroot.container.pipes import PIPE
from newroot.engine import Engine
engine = Engine(sys.argv[1])
words = dict(word.split("=", 1) for word in sys.argv[2].split())
script = "trap '' TERM HUP INT; echo up; while :; do sleep 0.1; done"
process = engine.popen("busybox", ["sh", "-c", script], stdout=PIPE, **words)
process.stdout.read(3)
print(process.pid, engine._launcher.pid, flush=True)
process.wait()
"""


#: Where newroot is: of what else is on this process's path, a child needs nothing.
_PACKAGE = Path(str(sys.modules[Engine.__module__].__file__)).parents[1]


def start_program(root: Path, words: str) -> tuple[subprocess.Popen[bytes], int, int]:
    """A Python program with a running container: itself, the container's pid, the launcher's."""
    program = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(root), words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(_PACKAGE)},
    )
    assert program.stdout is not None
    container, launcher = map(int, program.stdout.readline().split())
    return program, container, launcher


@pytest.mark.parametrize("words", ["", "upper=disk name=box", "upper=disk memory=64m", "init=yes"])
@pytest.mark.parametrize("victims", ["python", "launcher", "python and launcher", "container"])
def test_kill_9_leaves_nothing(root: Path, victims: str, words: str) -> None:
    before = descendants()
    program, container, launcher = start_program(root, words)
    pids = {"python": program.pid, "launcher": launcher, "container": container}
    for victim in victims.split(" and "):
        os.kill(pids[victim], signal.SIGKILL)

    program.wait()
    assert wait_until_all_are_gone(before) < 1
    assert program.stdout is not None
    program.stdout.close()
    assert is_mounted_anywhere(root) == []
    assert_is_clean_after_the_next_command(root)


_UNDO_DEATH_WISH = r"""
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
print("undone", flush=True)
import time
while True: time.sleep(1)
"""


@pytest.mark.parametrize("victim", ["python", "launcher"])
def test_a_container_that_no_longer_wants_to_die_with_its_parent_dies(
    root: Path, victim: str
) -> None:
    before = descendants()
    pid = os.fork()
    reader, writer = os.pipe() if pid else (0, 0)
    if pid == 0:
        # In the child: an engine, and a container of the host's own Python.
        engine = Engine(root)
        process = engine.popen(
            rootfs="/:O", command=[sys.executable, "-c", _UNDO_DEATH_WISH], stdout=PIPE
        )
        assert process.stdout is not None
        process.stdout.read(7)
        if victim == "python":
            os.kill(os.getpid(), signal.SIGKILL)
        assert engine._launcher is not None
        os.kill(engine._launcher.pid, signal.SIGKILL)
        with suppress(NewrootError):
            process.wait()
        os._exit(0)
    os.close(reader)
    os.close(writer)
    os.waitpid(pid, 0)

    assert wait_until_all_are_gone(before) < 2
    assert is_mounted_anywhere(root) == []


@pytest.mark.parametrize("victim", ["newroot", "newroot-init"])
@pytest.mark.parametrize("flags", [["--rm"], ["--rm", "-t"], ["--rm", "--memory", "64m"], []])
def test_kill_9_of_the_command_leaves_nothing(
    root: Path, newroot_command: str, flags: list[str], victim: str
) -> None:
    before = descendants()
    program = subprocess.Popen(
        [newroot_command, "--root", root, "run", *flags, "busybox", "sh", "-c",
         "echo up; sleep 1000"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert program.stdout is not None
    assert program.stdout.readline().strip() == b"up"
    (launcher,) = children_of(program.pid)
    os.kill(program.pid if victim == "newroot" else launcher, signal.SIGKILL)

    code = program.wait()
    assert wait_until_all_are_gone(before) < 1
    program.stdout.close()
    assert code == (-9 if victim == "newroot" else 125)
    assert is_mounted_anywhere(root) == []
    kept = [] if flags else os.listdir(root / "containers")
    for container_id in kept:  # it was to stay: as stopped
        assert sorted(os.listdir(root / "containers" / container_id)) == [
            "config.json", "record.json", "upper", "work",
        ]  # fmt: skip
        subprocess.run(["rm", "-r", root / "containers" / container_id], check=True)
    assert_is_clean_after_the_next_command(root)


def test_with_the_host_s_process_ids_nothing_is_left_either(engine: Engine) -> None:
    # There is no pid namespace, with whose first process all others would end.
    words: dict[str, Any] = {"capture_output": True, "pid": "host"}
    done = engine.run("busybox", ["sh", "-c", "sleep 1000 >&- 2>&- & echo $!"], **words)
    assert (done.returncode, done.fault) == (0, None)
    orphan = int(done.stdout or b"0")
    _wait_for_end(orphan)

    assert orphan not in descendants()


def test_with_the_host_s_process_ids_the_next_command_ends_them(root: Path) -> None:
    before = descendants()
    program, _, _ = start_program(root, "pid=host")
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    assert program.stdout is not None
    program.stdout.close()
    assert_is_clean_after_the_next_command(root)

    assert wait_until_all_are_gone(before) < 2


# ---- any moment ---------------------------------------------------------------------------------

_MODES: dict[str, dict[str, Any]] = {
    "in memory": {},
    "on disk": {"upper": "disk"},
    "on disk, named": {"upper": "disk", "name": "box"},
    "limited": {"memory": "64m", "pids_limit": 100},
    "volume": {"volumes": {"data": "/etc"}},
}
_VICTIMS = ("python", "launcher", "container", "python and launcher", "launcher and container")


def run_without_end(root: Path, words: dict[str, Any], progress: int) -> None:
    """In a child of ours: containers one after the other, and a byte for each that went well."""
    engine = Engine(root)
    while True:
        try:
            if engine.run("busybox", ["true"], **words).returncode == 0:
                os.write(progress, b".")
        except NewrootError as error:  # its launcher was killed, and this one with it
            os.write(progress, b"!" if "is gone" in str(error) else str(error).encode())


def pick(victim: str, python: int) -> list[int]:
    """The processes to kill, as they are at this moment; those that are not there are left out."""
    launchers = [p for p in children_of(python) if _is_launcher(p)]
    containers = [child for launcher in launchers for child in children_of(launcher)]
    found = {"python": [python], "launcher": launchers, "container": containers}
    return [pid for word in victim.split(" and ") for pid in found[word]]


def _is_launcher(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b"newroot-init\0"
    return False


def said(progress: int) -> str:
    """What the child has said since it was last asked; at least one word."""
    assert select.select([progress], [], [], _PATIENCE_S)[0], "the child hangs"
    return os.read(progress, 4096).decode()


def kill_at_random(root: Path, chance: random.Random) -> str:
    """Start, kill after a moment, look; return what was done and seen."""
    before = descendants()
    mode, victim = chance.choice(list(_MODES)), chance.choice(_VICTIMS)
    moment_ms = chance.choice((chance.uniform(0, 4), chance.uniform(0, 40)))
    reader, writer = os.pipe()
    python = os.fork()
    if python == 0:
        os.close(reader)
        run_without_end(root, _MODES[mode], writer)
        os._exit(1)
    os.close(writer)
    if chance.random() < 0.8:  # else: also while the engine itself is being made
        said(reader)
    select.select([], [], [], moment_ms / 1000)
    killed = pick(victim, python)
    for pid in killed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if python not in killed:
        # It has to go on, with another launcher if need be: what is in the pipe is from before.
        said(reader)
        heard = said(reader) + said(reader)
        os.kill(python, signal.SIGKILL)
        assert set(heard) in ({"."}, {".", "!"}), (mode, victim, heard)
    os.waitpid(python, 0)
    os.close(reader)
    took = wait_until_all_are_gone(before)
    left = len(os.listdir(root / "run")) if (root / "run").exists() else 0
    assert took < 2, (mode, victim, took)
    return f"{mode}, {victim}, {moment_ms:.1f} ms: {len(killed)} killed, {left} left for the sweep"


def kill_often(root: Path, times: int, say: Callable[[str], object] = print) -> None:
    seed = random.randrange(1 << 32)
    say(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(times):
        say(kill_at_random(root, chance))
    assert_is_clean_after_the_next_command(root)


def test_kill_9_at_sixty_random_moments_leaves_nothing(root: Path) -> None:
    kill_often(root, 60)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_9_at_two_hundred_random_moments_leaves_nothing(root: Path) -> None:
    for _ in range(10):  # the next command each time, as leftovers could hide each other
        kill_often(root, 20)
