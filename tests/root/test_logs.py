"""``newroot logs``: what a container said, from its files, also while they turn."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from newroot.container.logs import Log
from newroot.engine import Engine
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]

Newroot = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def newroot(root: Path, newroot_command: str) -> Newroot:
    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [newroot_command, "--root", str(root), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50)
        assert done.returncode == 0 or words[0] == "logs", done.stderr
        return done

    return call


def test_both_streams_come_out_where_they_went_in(newroot: Newroot) -> None:
    newroot("run", "-d", "--name", "box", "busybox", "sh", "-c", "echo out; echo err >&2")
    newroot("wait", "box")
    said = newroot("logs", "box")

    assert (said.stdout, said.stderr) == ("out\n", "err\n")
    assert newroot("rm", "box").returncode == 0


def test_following_ends_with_the_container_and_misses_nothing(newroot: Newroot) -> None:
    script = "for i in $(seq 1 300); do echo line $i; done; sleep 0.2; echo last"
    newroot("run", "-d", "--name", "box", "busybox", "sh", "-c", script)
    said = newroot("logs", "-f", "box").stdout

    assert said == "".join(f"line {n}\n" for n in range(1, 301)) + "last\n"


@pytest.mark.parametrize("driver", ["json-file", "plain"])
@pytest.mark.parametrize(("tail", "lines"), [("0", 0), ("3", 3), ("all", 500), ("1000", 500)])
def test_the_last_lines_are_found_across_files(
    newroot: Newroot, driver: str, tail: str, lines: int
) -> None:
    options = ["--log-driver", driver, "--log-opt", "max-size=4k", "--log-opt", "max-file=99"]
    newroot("run", "-d", "--name", "box", *options, "busybox", "seq", "1", "500")
    newroot("wait", "box")
    said = newroot("logs", "--tail", tail, "box").stdout

    assert said == "".join(f"{n}\n" for n in range(501 - lines, 501))


def test_a_time_stands_before_each_line_and_bounds_what_is_shown(newroot: Newroot) -> None:
    newroot("run", "-d", "--name", "box", "busybox", "sh", "-c", "echo a; sleep 0.1; echo b")
    newroot("wait", "box")
    first, second = newroot("logs", "-t", "box").stdout.splitlines()
    moment = second.split()[0]

    assert (first[-2:], second[-2:]) == (" a", " b")
    assert newroot("logs", "--since", moment, "box").stdout == "b\n"
    assert newroot("logs", "--until", first.split()[0], "box").stdout == "a\n"
    assert newroot("logs", "--since", "1h", "--until", "1h", "box").stdout == ""


def test_a_container_without_a_log_has_none_to_show(newroot: Newroot) -> None:
    newroot("run", "-d", "--name", "box", "--log-driver", "none", "busybox", "true")
    said = newroot("logs", "box")

    assert said.returncode == 125
    assert "there is no log" in said.stderr


def test_a_reader_from_whom_a_file_was_dropped_goes_on_with_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("2026-11-22T00:00:00.000000000Z stdout F one\n")
    reader = Log(str(tmp_path)).follow(lambda: False)

    assert next(reader).data == b"one\n"
    path.rename(tmp_path / "away")  # the same inode must not come again
    path.write_text("2026-11-22T00:00:01.000000000Z stdout F two\n")
    assert [entry.data for entry in reader] == [b"two\n"]


def test_ten_thousand_lines_are_followed_through_every_turn(engine: Engine) -> None:
    container_id = engine.create(
        "busybox", ["sh", "-c", "seq 1 10000"], log_opt=["max-size=20k", "max-file=99"]
    )
    engine.start(container_id)
    said = b"".join(entry.data for entry in engine.logs(container_id, follow=True))
    engine.remove_container(container_id, force=True)

    assert said == b"".join(b"%d\n" % n for n in range(1, 10001))
