"""``newroot exec``: another command in a container, in all that makes it one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from newroot.engine import Engine
from newroot.errors import UsageError, WrongStatus
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]

_KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


@pytest.fixture
def box(engine: Engine) -> Iterator[str]:
    """A container that runs until the test ends it."""
    container_id = engine.create(
        "busybox",
        ["sleep", "1000"],
        name="box",
        env={"OF": "box"},
        cwd="/tmp",
        memory="64m",
        limits="best-effort",
    )
    engine.start(container_id)
    yield container_id
    engine.remove_container(container_id, force=True)


def said(engine: Engine, *command: str, **how: object) -> str:
    done = engine.exec("box", command, check=True, **how)  # type: ignore[arg-type]
    assert isinstance(done.stdout, bytes)
    return done.stdout.decode()


def test_it_is_in_every_namespace_and_cgroup_of_the_container(engine: Engine, box: str) -> None:
    ours = said(
        engine, "sh", "-c", f"for k in {' '.join(_KINDS)}; do readlink /proc/self/ns/$k; done"
    )
    theirs = [os.readlink(f"/proc/{engine.container(box).pid}/ns/{kind}") for kind in _KINDS]
    cgroups = "/proc/self/cgroup", "/proc/1/cgroup"

    assert ours.split() == theirs
    assert said(engine, "cat", cgroups[0]) == said(engine, "cat", cgroups[1])


def test_it_is_confined_as_the_container_is(engine: Engine, box: str) -> None:
    lines = "^(Cap|Seccomp:|NoNewPrivs|Groups|Uid|Gid|Umask)"
    own = said(engine, "grep", "-E", lines, "/proc/self/status")

    assert own == said(engine, "grep", "-E", lines, "/proc/1/status")


def test_environment_directory_and_user_are_the_container_s_unless_told(
    engine: Engine, box: str
) -> None:
    script = "echo $OF $MORE; pwd; id -u; id -g"

    assert said(engine, "sh", "-c", script) == "box\n/tmp\n0\n0\n"
    other = said(
        engine, "sh", "-c", script, env={"OF": "exec", "MORE": "x"}, cwd="/etc", user="nobody"
    )
    assert other == "exec x\n/etc\n65534\n65534\n"


def test_exit_codes_are_the_command_s(engine: Engine, box: str) -> None:
    assert engine.exec("box", ["sh", "-c", "exit 9"]).returncode == 9
    assert engine.exec("box", ["sh", "-c", "kill -9 $$"]).returncode == -9
    assert engine.exec("box", ["/nowhere"]).returncode == 127
    assert engine.exec("box", ["/etc"]).returncode == 126


def test_output_is_never_cut(engine: Engine, box: str) -> None:
    for _ in range(20):
        done = engine.exec("box", ["head", "-c", "1000000", "/dev/zero"])
        assert isinstance(done.stdout, bytes)
        assert len(done.stdout) == 1_000_000


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_output_is_never_cut_in_ten_thousand_times(engine: Engine, box: str) -> None:
    for _ in range(10_000):
        done = engine.exec("box", ["head", "-c", "1000000", "/dev/zero"])
        assert isinstance(done.stdout, bytes)
        assert len(done.stdout) == 1_000_000


def test_input_is_read_and_time_is_kept(engine: Engine, box: str) -> None:
    assert engine.exec("box", ["cat"], input=b"typed").stdout == b"typed"
    done = engine.exec("box", ["sleep", "100"], timeout=0.3)

    assert done.fault == "timeout"
    assert "sleep 100\n" not in said(engine, "ps", "-o", "args")


def test_names_are_looked_up_in_the_container_as_it_is_now(engine: Engine, box: str) -> None:
    said(engine, "sh", "-c", "echo me:x:4321:4321::/:/bin/sh >> /etc/passwd")
    assert said(engine, "id", "-u", user="me") == "4321\n"

    # A link that leads out of the container on the host leads nowhere but into it here.
    said(engine, "sh", "-c", "rm /etc/passwd; ln -s /proc/1/root/../../../etc/passwd /etc/passwd")
    with pytest.raises(UsageError, match="daemon"):
        engine.exec("box", ["id"], user="daemon")


def test_privileged_has_all_and_no_filter(engine: Engine, box: str) -> None:
    status = said(engine, "cat", "/proc/self/status", privileged=True)
    own = Path("/proc/self/status").read_text()

    def line(text: str, name: str) -> str:
        return next(each for each in text.splitlines() if each.startswith(name))

    assert line(status, "CapEff") == line(own, "CapEff")
    assert line(status, "Seccomp:").split()[1] == "0"


def test_one_that_does_not_run_is_said_not_to(engine: Engine, box: str) -> None:
    engine.stop(box, timeout=0)
    with pytest.raises(WrongStatus, match="not running"):
        engine.exec("box", ["true"])


def test_it_ends_with_the_container(engine: Engine, box: str) -> None:
    from newroot.container.exec import Asked

    engine.exec_detached("box", Asked(command=("sleep", "1000")))
    pid = engine.container(box).pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    assert "sleep 1000\n" in said(engine, "ps", "-o", "args")
    assert children.read_text() == ""  # it is nobody's in there
    engine.stop(box, timeout=0)

    assert engine.container(box).status == "exited"


def test_a_terminal_in_front_and_a_container_with_rm(root: Path, newroot_command: str) -> None:
    newroot = [newroot_command, "--root", str(root)]
    running = subprocess.Popen(
        [*newroot, "run", "--rm", "--name", "front", "busybox", "sh", "-c", "echo up; sleep 1000"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        command = [*newroot, "exec", "-t", "front", "tty"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert (done.stdout, done.returncode) == ("/dev/pts/0\n", 0)
    finally:
        running.kill()
        running.communicate()
