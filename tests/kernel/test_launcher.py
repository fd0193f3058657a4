"""newroot-init as a launcher: what is handed to it, what it says, and how it ends.

Plans here have hardly a step, and no namespaces: this is about the process that carries them out.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from newroot.errors import SyscallError
from newroot.plan import encode
from newroot.plan import steps as s
from newroot.plan.launcher import REPORT_FAILED, REPORT_TIMES, Launch, Launcher, binary_path

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


@pytest.fixture
def null() -> Iterator[int]:
    fd = os.open("/dev/null", os.O_RDWR)
    yield fd
    os.close(fd)


def plan(*argv: str, env: tuple[str, ...] = (), before: tuple[s.Step, ...] = ()) -> bytes:
    command = s.Exec(paths=(argv[0],), argv=argv, env=env)
    steps = (*before, command)
    return encode.join(len(steps), encode.encode_steps(steps))


def output_of(launcher: Launcher, data: bytes, null: int, **more: object) -> bytes:
    reader, writer = os.pipe()
    launch = launcher.launch(data, 0, (null, writer, null), **more)  # type: ignore[arg-type]
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    launch.wait_ended()
    launch.close()
    return said


def sleeper(launcher: Launcher, null: int, **more: object) -> Launch:
    data = plan("/bin/sleep", "1000")
    launch = launcher.launch(data, 0, (null, null, null), **more)  # type: ignore[arg-type]
    launch.read_started(block=True)
    assert launch.next_report() is None  # exec has closed the report's socket
    return launch


def has_ended(fd: int, timeout_s: float = 10) -> bool:
    return bool(select.select([fd], [], [], timeout_s)[0])


def test_a_command_s_end_is_told(launcher: Launcher, null: int) -> None:
    ends = []
    for script in ("exit 0", "exit 42", "kill -9 $$"):
        launch = launcher.launch(plan("/bin/sh", "-c", script), 0, (null, null, null))
        ended = launch.wait_ended()
        ends.append((ended.exit_code, ended.signal))
        launch.close()

    assert ends == [(0, None), (42, None), (None, 9)]


def test_its_environment_and_descriptors_are_what_it_was_given(
    launcher: Launcher, null: int
) -> None:
    reader, writer = os.pipe()
    script = "ls /proc/$$/fd; echo hi >&4; env"
    data = plan("/bin/sh", "-c", script, env=("A=b", "PATH=/bin:/usr/bin"))
    said = output_of(launcher, data, null, passed=(null, writer))

    assert said.split()[:5] == [b"0", b"1", b"2", b"3", b"4"]
    assert {line for line in said.splitlines() if b"=" in line and b"PWD" not in line} == {
        b"A=b",
        b"PATH=/bin:/usr/bin",
    }
    assert os.read(reader, 10) == b"hi\n"
    os.close(reader)
    os.close(writer)


def test_signals_are_as_a_fresh_process_has_them(launcher: Launcher, null: int) -> None:
    # Python ignores SIGPIPE; a command that inherited that would never notice a closed pipe.
    status = output_of(launcher, plan("/bin/cat", "/proc/self/status"), null).decode()
    values = {line.split(":")[0]: line.split()[-1] for line in status.splitlines()}

    assert {name: int(values[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")} == {
        "SigBlk": 0,
        "SigIgn": 0,
        "SigCgt": 0,
    }


def test_a_failing_step_is_told_by_its_place(launcher: Launcher, null: int) -> None:
    before = (s.SetHostname(hostname="x" * 65),)
    launch = launcher.launch(plan("/bin/true", before=before), 0, (null, null, null))
    report = launch.next_report()
    ended = launch.wait_ended()
    launch.close()

    assert report is not None
    assert (report.kind, report.index, report.error) == (REPORT_FAILED, 0, 22)
    assert ended.exit_code == 127


def test_times_come_one_a_step(launcher: Launcher, null: int) -> None:
    launch = launcher.launch(plan("/bin/true"), 0, (null, null, null), times=True)
    report = launch.next_report()
    launch.wait_ended()
    launch.close()

    assert report is not None
    assert (report.kind, len(report.times_ns)) == (REPORT_TIMES, 1)


@pytest.mark.parametrize(
    "data", [b"", b"x" * 100, plan("/bin/true")[:-8], plan("/bin/true") + b"\0" * 8], ids=len
)
def test_a_broken_plan_is_refused_and_the_launcher_goes_on(
    launcher: Launcher, null: int, data: bytes
) -> None:
    launch = launcher.launch(data, 0, (null, null, null))
    assert launch.wait_ended().exit_code == 127
    launch.close()

    assert output_of(launcher, plan("/bin/echo", "hi"), null) == b"hi\n"


def test_flags_that_are_no_namespaces_are_refused(launcher: Launcher, null: int) -> None:
    clone_vm = 0x100
    launch = launcher.launch(plan("/bin/true"), clone_vm, (null, null, null))
    with pytest.raises(SyscallError) as caught:
        launch.wait_ended()
    launch.close()

    assert caught.value.errno == 22
    assert output_of(launcher, plan("/bin/echo", "hi"), null) == b"hi\n"


def test_packets_that_mean_nothing_are_dropped(launcher: Launcher, null: int) -> None:
    for packet in (b"", b"x", b"x" * 24, b"x" * 5000):
        if packet:  # an empty one would be the end
            launcher._control.send(packet)

    assert output_of(launcher, plan("/bin/echo", "hi"), null) == b"hi\n"


def test_what_is_held_is_free_when_the_container_has_ended(
    launcher: Launcher, null: int, tmp_path: Path
) -> None:
    for _ in range(50):
        held = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
        launch = launcher.launch(plan("/bin/true"), 0, (null, null, null), held=(held,))
        os.close(held)
        launch.wait_ended()
        again = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(again)
        launch.close()


def test_what_is_held_is_not_free_before(launcher: Launcher, null: int, tmp_path: Path) -> None:
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    launch = sleeper(launcher, null, held=(held,))
    os.close(held)
    again = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    launch.kill(signal.SIGKILL)
    launch.wait_ended()
    fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(again)
    launch.close()


def test_closing_ends_all_that_runs(null: int) -> None:
    launcher = Launcher()
    launches = [sleeper(launcher, null) for _ in range(20)]
    launcher.close()

    assert [launch.wait_ended().signal for launch in launches] == [9] * 20
    for launch in launches:
        launch.close()


def test_two_hundred_at_once(launcher: Launcher, null: int) -> None:
    launches = [sleeper(launcher, null) for _ in range(200)]
    for launch in launches:
        launch.kill(signal.SIGTERM)

    assert {launch.wait_ended().signal for launch in launches} == {15}
    for launch in launches:
        launch.close()


def test_the_binary_that_a_container_sees_cannot_be_written(launcher: Launcher) -> None:
    # CVE-2019-5736: a container reached the host's runtime through /proc/PID/exe.
    path = f"/proc/{launcher.pid}/exe"

    assert "memfd:newroot-init" in os.readlink(path)
    with pytest.raises(OSError):
        os.open(path, os.O_WRONLY)


def test_by_hand_it_says_that_it_is_not_for_hands() -> None:
    done = subprocess.run([binary_path()], capture_output=True, text=True, close_fds=True)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "newroot-init: started by newroot, not by hand\n"
