"""``Engine.popen()`` on a real kernel: as ``subprocess.Popen``, with a container in between."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from newroot.container.pipes import PIPE
from newroot.container.process import Process
from newroot.engine import Engine
from newroot.errors import StepError, SyscallError, UsageError
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]


def line(process: Process) -> bytes:
    """The next line that the container says."""
    assert process.stdout is not None
    said = b""
    while not said.endswith(b"\n"):
        piece = process.stdout.read(1)
        assert piece, f"it ended after {said!r}"
        said += piece
    return said


def test_a_conversation_with_cat(engine: Engine) -> None:
    with engine.popen("busybox", ["cat"], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"one\n")
        assert line(process) == b"one\n"
        assert process.poll() is None
        process.stdin.write(b"two\n")
        assert line(process) == b"two\n"

    assert (process.returncode, process.fault) == (0, None)


def test_communicate_sends_reads_and_waits(engine: Engine) -> None:
    process = engine.popen("busybox", ["sh", "-c", "cat; echo e >&2; exit 3"],
                           stdin=PIPE, stdout=PIPE, stderr=PIPE)  # fmt: skip
    data = os.urandom(1 << 20)

    assert process.communicate(data) == (data, b"e\n")
    assert process.returncode == 3
    process.close_pipes()


def test_communicate_goes_on_after_a_timeout(engine: Engine) -> None:
    script = "echo first; read x; echo second"
    process = engine.popen("busybox", ["sh", "-c", script], stdout=PIPE, stdin=PIPE)
    # Nothing to send yet: with input, communicate() closes the stream behind it.
    stdin, process.stdin = process.stdin, None
    assert stdin is not None
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.2)
    stdin.write(b"go\n")

    assert process.communicate(timeout=30) == (b"first\nsecond\n", None)
    stdin.close()
    process.close_pipes()


def test_waiting_has_a_limit_and_does_not_end_it(engine: Engine) -> None:
    with engine.popen("busybox", ["sleep", "100"]) as process:
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            process.wait(timeout=0.05)
        assert (caught.value.cmd, caught.value.timeout) == (["sleep", "100"], 0.05)
        assert (process.poll(), process.returncode, process.fault) == (None, None, None)
        process.kill()
        assert process.wait(timeout=30) == -signal.SIGKILL
    assert process.poll() == -9


def test_terminate_asks_and_the_command_decides(engine: Engine) -> None:
    script = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.01; done"
    with engine.popen("busybox", ["sh", "-c", script], stdout=PIPE) as process:
        assert line(process) == b"ready\n"
        process.terminate()
        assert line(process) == b"asked\n"

    assert (process.returncode, process.fault) == (7, None)


def test_any_signal_can_be_sent(engine: Engine) -> None:
    script = "trap 'echo usr1' USR1; trap 'exit 0' INT; echo ready; while :; do sleep 0.01; done"
    with engine.popen("busybox", ["sh", "-c", script], stdout=PIPE) as process:
        line(process)
        process.send_signal(signal.SIGUSR1)
        assert line(process) == b"usr1\n"
        process.send_signal(signal.SIGINT)

    assert process.returncode == 0
    process.send_signal(signal.SIGTERM)  # it has ended: nothing happens


def test_an_exception_in_the_with_block_ends_it(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), engine.popen("busybox", ["sleep", "100"]) as process:
        raise ZeroDivisionError

    assert process.returncode == -9


def test_a_command_that_is_not_there_raises(engine: Engine) -> None:
    with pytest.raises(StepError, match="nope"):
        engine.popen("busybox", ["nope"], stdout=PIPE, stdin=PIPE)

    assert engine._processes == set()


def test_its_namespaces_are_its_own(engine: Engine) -> None:
    kinds = ("mnt", "pid", "uts", "ipc", "net", "cgroup")
    with engine.popen("busybox", ["cat"], stdin=PIPE) as process:
        ours = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}
        theirs = {kind: os.readlink(f"/proc/{process.pid}/ns/{kind}") for kind in kinds}

    assert [kind for kind in kinds if ours[kind] == theirs[kind]] == []


def test_namespaces_of_the_host_s_are_kept_when_asked_for(engine: Engine) -> None:
    words: dict[str, Any] = {
        "pid": "host",
        "ipc": "host",
        "uts": "host",
        "cgroupns": "host",
        "network": "host",
    }
    with engine.popen("busybox", ["cat"], stdin=PIPE, **words) as process:
        for kind in ("pid", "ipc", "uts", "cgroup", "net"):
            assert os.readlink(f"/proc/self/ns/{kind}") == os.readlink(
                f"/proc/{process.pid}/ns/{kind}"
            )


def test_one_thread_waits_while_another_ends_it(engine: Engine) -> None:
    process = engine.popen("busybox", ["sleep", "100"])
    codes: list[int] = []
    waiters = [threading.Thread(target=lambda: codes.append(process.wait())) for _ in range(4)]
    for waiter in waiters:
        waiter.start()
    process.kill()
    for waiter in waiters:
        waiter.join()

    assert codes == [-9] * 4


def test_a_signal_handler_may_send_a_signal_while_its_process_is_waited_for(
    engine: Engine,
) -> None:
    process = engine.popen("busybox", ["sleep", "100"])
    before = signal.signal(signal.SIGALRM, lambda *_: process.kill())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)

        assert process.wait() == -9
    finally:
        signal.signal(signal.SIGALRM, before)


def test_fileno_is_readable_when_it_has_ended(engine: Engine) -> None:
    import select

    with engine.popen("busybox", ["cat"], stdin=PIPE) as process:
        assert select.select([process], [], [], 0)[0] == []
        assert process.stdin is not None
        process.stdin.close()
        select.select([process], [], [], 30)
        assert process.poll() == 0


def test_a_terminal_is_at_its_descriptor(engine: Engine) -> None:
    process = engine.popen("busybox", ["sh", "-c", 'tty; read x; echo "<$x>"'], tty=True)
    assert process.terminal_fd is not None
    os.write(process.terminal_fd, b"hi\n")
    said = b""
    while b"<hi>" not in said:
        said += os.read(process.terminal_fd, 1000)

    assert b"/dev/pts/0" in said
    process.close()
    assert process.terminal_fd is None


def test_what_has_ended_is_not_kept_by_its_engine(engine: Engine) -> None:
    for _ in range(5):
        engine.popen("busybox", ["true"]).wait()

    assert engine._processes == set()


def test_a_killed_launcher_is_an_error_and_the_next_start_has_another(engine: Engine) -> None:
    process = engine.popen("busybox", ["sleep", "100"])
    launcher = engine._launcher
    assert launcher is not None
    os.kill(launcher.pid, signal.SIGKILL)

    with pytest.raises(SyscallError, match="gone") as caught:
        process.wait()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert not Path(f"/proc/{process.pid}").exists() or is_dead(process.pid)
    assert engine.run("busybox", ["true"]).returncode == 0
    process.close()


def is_dead(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_closed_engine_ends_what_it_started(engine: Engine) -> None:
    process = engine.popen("busybox", ["sleep", "100"])
    engine.close()

    assert (process.returncode, process.fault) == (-9, "killed")
    with pytest.raises(UsageError, match="this engine is closed"):
        engine.popen("busybox", ["true"])
    engine.close()  # once more: nothing happens
