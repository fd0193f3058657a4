"""``newroot run -it``: the test is the person at the terminal, by way of a pty of its own."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]

_PATIENCE_S = 20.0


class Screen:
    """A terminal and the command on it: type, read until something is seen."""

    def __init__(self, command: list[str | Path]) -> None:
        self.master, self.slave = os.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self.process = subprocess.Popen(
            command, stdin=self.slave, stdout=self.slave, stderr=self.slave,
            start_new_session=True, preexec_fn=self._take,
        )  # fmt: skip

    def _take(self) -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read_until(self, text: str) -> str:
        """What came up to and with *text*; what came after is for the next time."""
        deadline = monotonic() + _PATIENCE_S
        wanted = text.encode()
        while wanted not in self.seen:
            self._read(deadline)
        head, _, self.seen = self.seen.partition(wanted)
        return (head + wanted).decode()

    def _read(self, deadline: float) -> None:
        left = deadline - monotonic()
        assert select.select([self.master], [], [], max(0.0, left))[0], (
            f"only {self.seen[-2000:]!r}"
        )
        self.seen += os.read(self.master, 65536)

    def read_to_end(self) -> bytes:
        """All that comes until the command has ended; then its code is in ``process``."""
        pidfd = os.pidfd_open(self.process.pid)
        while True:
            ready, _, _ = select.select([self.master, pidfd], [], [], _PATIENCE_S)
            assert ready, f"it does not end: {self.seen[-2000:]!r}"
            if self.master in ready:
                self.seen += os.read(self.master, 65536)
            else:
                break
        os.close(pidfd)
        self.process.wait()
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 65536)
        return self.seen

    @property
    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ISIG)

    @property
    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


Open = Callable[..., Screen]


@pytest.fixture
def screen(root: Path, newroot_command: str) -> Iterator[Open]:
    """``newroot run -it --rm`` on a terminal, with these words."""
    screens: list[Screen] = []

    def open(*words: Any, flags: str = "-it") -> Screen:
        screens.append(Screen([newroot_command, "--root", root, "run", flags, "--rm", *words]))
        return screens[-1]

    yield open
    for each in screens:
        each.close()


def test_ours_is_raw_while_it_runs_and_as_before_afterwards(screen: Open) -> None:
    at = screen("busybox", "sh", "-c", "echo up; read x; exit 7")
    at.read_until("up\r\n")
    assert at.is_raw
    at.type("\n")
    at.read_to_end()

    assert at.process.returncode == 7
    assert at.is_as_before


def test_a_signal_that_ends_it_leaves_the_terminal_as_it_was(screen: Open) -> None:
    at = screen("busybox", "sh", "-c", "trap 'exit 8' TERM; echo up; while :; do sleep 0.01; done")
    at.read_until("up\r\n")
    at.process.send_signal(signal.SIGTERM)
    at.read_to_end()

    assert at.process.returncode == 8
    assert at.is_as_before


def test_the_end_of_the_container_by_another_hand_leaves_the_terminal_as_it_was(
    screen: Open,
) -> None:
    at = screen("busybox", "sh", "-c", "echo up; exec sleep 1000")
    at.read_until("up\r\n")
    children = Path(f"/proc/{at.process.pid}/task/{at.process.pid}/children").read_text()
    os.kill(int(children), signal.SIGKILL)  # newroot-init
    said = at.read_to_end()

    assert at.process.returncode == 125
    assert b"newroot: waiting for newroot-init: it is gone" in said
    assert at.is_as_before


@pytest.mark.parametrize(
    ("words", "code"), [(["busybox", "nosuch"], 127), (["-v", "/nosuch:/x:bad", "busybox"], 125)]
)
def test_a_start_that_fails_leaves_the_terminal_as_it_was(
    screen: Open, words: list[str], code: int
) -> None:
    at = screen(*words)
    said = at.read_to_end()

    assert at.process.returncode == code
    assert b"newroot: " in said
    assert at.is_as_before


def test_the_size_is_ours_at_the_start_and_follows(screen: Open) -> None:
    script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.01; done"
    at = screen("busybox", "sh", "-c", script)
    at.read_until("24 80\r\n")
    at.resize(50, 132)
    at.read_until("50 132\r\n")
    at.resize(10, 20)
    at.read_until("10 20\r\n")


def test_ctrl_c_is_a_signal_inside(screen: Open) -> None:
    at = screen("busybox", "sh", "-c", "trap 'echo caught; exit 9' INT; echo up; "
                "while :; do sleep 0.01; done")  # fmt: skip
    at.read_until("up\r\n")
    at.type("\x03")
    at.read_until("caught\r\n")
    at.read_to_end()

    assert at.process.returncode == 9


def test_ctrl_d_is_the_end_of_the_input(screen: Open) -> None:
    at = screen("busybox", "sh", "-c", "echo up; cat; echo over")
    at.read_until("up\r\n")
    at.type("line\n\x04")
    at.read_until("over\r\n")


def test_the_terminal_is_a_pty_of_the_container_s_and_its_console(screen: Open) -> None:
    script = (
        "tty; stat -c %t:%T /dev/console /dev/pts/0; echo seen > /dev/console;"
        "echo direct > /dev/tty; ls -1 /dev/pts; echo $TERM"
    )
    at = screen("busybox", "sh", "-c", script)
    said = at.read_to_end().decode().split("\r\n")

    assert said[0] == "/dev/pts/0"
    assert said[1] == said[2] == "88:0"
    assert said[3:8] == ["seen", "direct", "0", "ptmx", "xterm"]


def test_a_shell_has_job_control(screen: Open) -> None:
    at = screen("busybox", "sh")
    at.read_until("# ")
    # It must have been executed before it is killed: until then it ignores SIGTERM, as the
    # interactive shell does that it is a copy of.
    at.type("set -m; sh -c 'echo re\"\"ady; exec sleep 100' &\n")
    at.read_until("ready\r\n")
    at.type("jobs\n")
    at.read_until("[1]+  Running")
    at.type("kill %1; wait; jobs; echo du$((1))n\n")
    at.read_until("du1n\r\n")
    at.type("sh -c 'echo ru\"\"nning; exec sleep 100'\n")
    at.read_until("running\r\n")
    at.type("\x1a")  # Ctrl-Z
    at.read_until("Stopped")
    at.type("exit\n")
    at.type("exit 3\n")
    said = at.read_to_end()

    assert b"can't access tty" not in said
    assert at.process.returncode == 3


def test_a_megabyte_of_output_arrives_whole(screen: Open) -> None:
    at = screen("busybox", "sh", "-c", "seq 1 150000")  # 1,038,894 bytes, and a \r each
    said = at.read_to_end()

    assert said == b"".join(b"%d\r\n" % n for n in range(1, 150001))
    assert at.process.returncode == 0


def test_the_last_words_are_never_lost(screen: Open) -> None:
    for n in range(20):
        at = screen("busybox", "echo", f"last words {n}")
        assert at.read_to_end() == f"last words {n}\r\n".encode()


def test_a_large_paste_does_not_hang(screen: Open) -> None:
    # cat echoes while we still type: who waits for one end only would wait for ever.
    at = screen("busybox", "sh", "-c", "stty -echo raw; echo up; head -c 300000 | wc -c")
    at.read_until("up")
    os.set_blocking(at.master, False)
    left = b"x" * 300000
    deadline = monotonic() + _PATIENCE_S
    while left:
        _, ready, _ = select.select([], [at.master], [], deadline - monotonic())
        assert ready
        left = left[os.write(at.master, left) :]
    os.set_blocking(at.master, True)
    at.read_until("300000")


def test_a_program_may_close_all_of_the_terminal_and_open_it_again(screen: Open) -> None:
    script = "exec <&- >&- 2>&-; sleep 0.1; exec </dev/console >/dev/console; echo again; read x"
    at = screen("busybox", "sh", "-c", script)
    at.read_until("again\r\n")
    at.type("\n")
    at.read_to_end()


def test_t_without_i_shows_and_does_not_read(screen: Open) -> None:
    at = screen("busybox", "sh", "-c", "tty; echo up", flags="-t")
    at.read_until("/dev/pts/0\r")
    assert not at.is_raw
    at.read_to_end()

    assert at.is_as_before


def test_i_and_t_without_a_terminal_are_refused(root: Path, newroot_command: str) -> None:
    done = subprocess.run(
        [newroot_command, "--root", root, "run", "-it", "busybox", "true"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 125
    assert "the input device is not a TTY" in done.stderr
