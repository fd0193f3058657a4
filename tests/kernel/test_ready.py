"""The process that is ready before it is asked for: decisions/0013."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest

from newroot.engine import Engine
from newroot.testing import needs

pytestmark = needs("root")

_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
_SHOW = "for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done"


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def _namespaces(engine: Engine, root: Path) -> list[str]:
    result = engine.run(
        rootfs=f"{root}:O", command=["/bin/sh", "-c", _SHOW], capture_output=True, text=True
    )
    return str(result.stdout).split()


def test_each_container_has_namespaces_of_its_own(tiny_root: Path, tmp_path: Path) -> None:
    """While all of them live, for the kernel gives the number of one that is gone to another."""
    source = f"{tiny_root}:O"
    with Engine(tmp_path / "engine") as engine:
        running = [engine.popen(rootfs=source, command=["/bin/sleep", "100"]) for _ in range(4)]
        pids = ["self", *(process.pid for process in running)]
        seen = {n: {os.readlink(f"/proc/{pid}/ns/{n}") for pid in pids} for n in _NAMESPACES}

    assert {n: len(different) for n, different in seen.items()} == dict.fromkeys(_NAMESPACES, 5)


def test_the_one_that_is_ready_has_nothing_open_but_its_door(
    tiny_root: Path, tmp_path: Path
) -> None:
    with Engine(tmp_path / "engine") as engine:
        with engine.popen(rootfs=f"{tiny_root}:O", command=["/bin/sleep", "100"]) as running:
            launcher = engine._launcher
            assert launcher is not None
            ready = [pid for pid in _children(launcher.pid) if pid != running.pid]
            assert len(ready) == 1
            # It has closed all else when it sleeps in recvmsg.
            while "recvmsg" not in _waits_in(ready[0]):
                os.sched_yield()
            links = {fd: os.readlink(f"/proc/{ready[0]}/fd/{fd}") for fd in _fds(ready[0])}
            running.kill()

    kinds = sorted(link.partition(":")[0] for link in links.values())
    assert kinds == ["/dev/null"] * 3 + ["anon_inode", "socket"], links


def _kill(pid: int) -> None:
    """And wait until it is dead: until then it would take a request with it."""
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([pidfd], [], [])
    os.close(pidfd)


def _fds(pid: int) -> list[str]:
    return os.listdir(f"/proc/{pid}/fd")


def _waits_in(pid: int) -> str:
    """``recvmsg`` while the process is in that call."""
    from newroot.linux.syscalls import name_of

    number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    return name_of(int(number)) or "" if number.isdigit() else ""


def test_a_mount_that_came_after_it_was_born_is_seen(tiny_root: Path, tmp_path: Path) -> None:
    """In a mount namespace of its own, for the mount must not be seen by others."""
    place = tmp_path / "place"
    place.mkdir()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            import ctypes

            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.unshare(0x20000) == 0
            assert libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) == 0
            with Engine(tmp_path / "engine") as engine:
                source = f"{tiny_root}:O"
                words = {"volumes": {str(place): "/place"}, "capture_output": True}
                engine.run(rootfs=source, command=["/bin/true"], **words)
                assert libc.mount(b"tmpfs", str(place).encode(), b"tmpfs", 0, None) == 0
                (place / "new").touch()
                seen = engine.run(rootfs=source, command=["/bin/ls", "/place"], **words)
            code = 0 if seen.stdout == b"new\n" else 2
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "AN OLD MOUNT TABLE WAS USED"


@pytest.mark.parametrize("victim", ["ready", "launcher"])
def test_whoever_of_them_is_killed_the_next_start_works(
    tiny_root: Path, tmp_path: Path, victim: str
) -> None:
    with Engine(tmp_path / "engine") as engine:
        first = _namespaces(engine, tiny_root)
        launcher = engine._launcher
        assert launcher is not None
        ready = _children(launcher.pid)
        _kill(ready[0] if victim == "ready" else launcher.pid)

        assert len(_namespaces(engine, tiny_root)) == len(first)
