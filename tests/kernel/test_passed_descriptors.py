"""However many descriptors a command is given, newroot-init's own two are not among them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from newroot.plan import encode
from newroot.plan import steps as s
from newroot.plan.launcher import Launcher

_WORDS = ("/bin/ls", "-l", "/proc/self/fd")


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


def _plan(program: str) -> bytes:
    last = s.Exec(paths=(program,), argv=("ls", "-l", "/proc/self/fd"), env=())
    return encode.encode(s.Plan(steps=(s.DieWithParent(why=""), last)))


def _start(launcher: Launcher, program: str, count: int) -> tuple[bytes, bytes]:
    """What the command says, and what newroot-init reports."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    full, end = os.pipe2(os.O_CLOEXEC)
    os.write(end, b"readable")  # what is taken for the launcher's pidfd would say: it is dead
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        launch = launcher.launch(
            _plan(program), 0, (null, writer, null), passed=[full] * count, more=True
        )
    finally:
        for fd in (writer, full, end, null):
            os.close(fd)
    with open(reader, "rb") as file:
        said = file.read()
    report = launch._report.recv(4096)
    launch._report.close()
    launch._status.close()
    return said, report


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 12, 40])
def test_a_command_has_them_all_and_a_failure_is_reported(launcher: Launcher, count: int) -> None:
    for _ in range(2):  # the second is born from the process that was ready
        said, report = _start(launcher, _WORDS[0], count)

        assert said.count(b"->") == 3 + count + 1  # and the directory that ls reads
        assert report == b"", "A COMMAND THAT RUNS WAS SAID NOT TO"

        said, report = _start(launcher, "/nonexistent", count)

        assert said == b""
        assert report != b"", "A COMMAND THAT DOES NOT RUN WAS SAID TO"
