"""A process id together with its start, and a signal that reaches no other process."""

from __future__ import annotations

import os
import signal
import subprocess

from newroot.linux.processes import send_signal, start_ticks


def test_a_process_began_once() -> None:
    assert start_ticks(os.getpid()) == start_ticks(os.getpid())
    assert (start_ticks(os.getpid()) or 0) >= (start_ticks(os.getppid()) or 0)


def test_a_command_with_parentheses_and_spaces_does_not_confuse(tmp_path: object) -> None:
    name = f"{tmp_path}/) S 1 (x"
    os.symlink("/bin/cat", name)
    with subprocess.Popen([name], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stdout.read(1) == b"x"  # it has become what it is called
        began = start_ticks(process.pid)
        process.stdin.close()

    assert began is not None
    assert began >= (start_ticks(os.getpid()) or 0)


def test_a_process_that_ended_has_no_start_and_gets_no_signal() -> None:
    with subprocess.Popen(["true"]) as process:
        began = start_ticks(process.pid)
    process.wait()

    assert start_ticks(process.pid) is None
    assert send_signal(process.pid, began, signal.SIGKILL) is False


def test_the_process_that_is_meant_gets_the_signal() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        assert send_signal(process.pid, start_ticks(process.pid), signal.SIGTERM) is True
        assert process.wait() == -signal.SIGTERM


def test_another_process_with_the_same_id_does_not() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        began = start_ticks(process.pid)
        assert began is not None
        assert send_signal(process.pid, began - 1, signal.SIGTERM) is False
        assert process.poll() is None
