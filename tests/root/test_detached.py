"""Containers that nobody waits for: a monitor keeps their streams, their log and their end."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import newroot
from newroot.container import attach
from newroot.container.lifecycle import wait_until_it_ends
from newroot.container.records import Container, container
from newroot.engine import Engine
from newroot.errors import StepError, WrongStatus
from newroot.linux.processes import process_status
from newroot.plan import keep
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]

_PAGE_KIB = 4
#: Where the newroot under test is, for a Python of its own.
PACKAGE = str(Path(newroot.__file__).parent.parent)


@pytest.fixture
def made(engine: Engine) -> Iterator[list[str]]:
    """Ids of containers, which are gone with the test."""
    ids: list[str] = []
    yield ids
    for container_id in ids:
        engine.remove_container(container_id, force=True)


def began(engine: Engine, made: list[str], *command: str, **words: object) -> str:
    container_id = engine.create("busybox", list(command), **words)
    made.append(container_id)
    engine.start(container_id)
    return container_id


def look(engine: Engine, container_id: str) -> Container:
    found = container(engine.storage, container_id)
    assert found is not None
    return found


def log(engine: Engine, container_id: str, stream: str = "stdout") -> str:
    path = Path(engine.storage.directory(container_id)) / "log"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return "".join(entry["log"] for entry in entries if entry["stream"] == stream)


def monitor_of(engine: Engine, container_id: str) -> int:
    pid = look(engine, container_id).pid
    assert pid is not None
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("PPid:")[1].split()[0])


def receive(visit: socket.socket | object) -> Iterator[bytes]:
    """What a monitor says, packet by packet, to its end."""
    while packet := visit.recv(1 + keep.MOST_DATA):  # type: ignore[attr-defined]
        yield packet


def said_to(visit: object, kind: bytes = keep.OUTPUT) -> bytes:
    return b"".join(packet[1:] for packet in receive(visit) if packet[:1] == kind)  # type: ignore[arg-type]


def test_its_output_is_in_the_log_and_its_exit_code_is_noted(
    engine: Engine, made: list[str]
) -> None:
    made_id = began(engine, made, "sh", "-c", "echo out; echo err >&2; exit 3")

    assert engine.wait(made_id) == 3
    assert (log(engine, made_id), log(engine, made_id, "stderr")) == ("out\n", "err\n")
    assert look(engine, made_id).status == "exited"


def test_it_outlives_the_process_that_started_it(engine: Engine, made: list[str]) -> None:
    made.append(engine.create("busybox", ["sh", "-c", "read x; echo $x"], interactive=True))
    program = (
        "import sys; from newroot.engine import Engine; Engine(sys.argv[1]).start(sys.argv[2])"
    )
    environment = {**os.environ, "PYTHONPATH": PACKAGE}
    subprocess.run(
        [sys.executable, "-c", program, engine.root, made[0]], check=True, env=environment
    )

    assert look(engine, made[0]).status == "running"
    with closing(attach.connect(engine.storage, made[0])) as visit:
        visit.send(keep.INPUT + b"hello\n")
        assert said_to(visit) == b"hello\n"
    assert engine.wait(made[0]) == 0


def test_it_is_nobodys_child_and_small(engine: Engine, made: list[str]) -> None:
    made_id = began(engine, made, "sleep", "100")
    monitor = monitor_of(engine, made_id)

    resident = int(Path(f"/proc/{monitor}/statm").read_text().split()[1]) * _PAGE_KIB
    assert resident <= 1024
    assert os.getsid(monitor) == monitor
    with pytest.raises(ChildProcessError):
        os.waitpid(monitor, os.WNOHANG)


def test_all_that_it_said_is_there_when_it_has_ended(engine: Engine, made: list[str]) -> None:
    made_id = began(engine, made, "sh", "-c", "seq 1 200000; printf end")

    assert engine.wait(made_id) == 0
    assert log(engine, made_id) == "".join(f"{n}\n" for n in range(1, 200001)) + "end"


def test_it_is_started_again_on_what_it_wrote(engine: Engine, made: list[str]) -> None:
    made_id = began(engine, made, "sh", "-c", "echo x >> /kept; wc -l < /kept")
    engine.wait(made_id)
    engine.start(made_id)
    engine.wait(made_id)

    assert log(engine, made_id) == "1\n2\n"


def test_an_anonymous_volume_is_the_same_at_the_next_start(engine: Engine, made: list[str]) -> None:
    made_id = began(engine, made, "sh", "-c", "echo x >> /v/kept; wc -l < /v/kept", volumes=["/v"])
    engine.wait(made_id)
    engine.start(made_id)
    engine.wait(made_id)

    assert log(engine, made_id) == "1\n2\n"
    assert len(engine.volumes.list()) == 1


def test_a_command_that_is_not_there_is_said_by_start(engine: Engine, made: list[str]) -> None:
    made.append(engine.create("busybox", ["/nowhere"]))
    with pytest.raises(StepError, match="/nowhere"):
        engine.start(made[0])

    assert look(engine, made[0]).exit_code == 127


@pytest.mark.parametrize(
    ("policy", "code", "runs"), [("no", 1, 1), ("on-failure:2", 1, 3), ("on-failure", 0, 1)]
)
def test_a_policy_says_how_often_it_begins_anew(
    engine: Engine, made: list[str], policy: str, code: int, runs: int
) -> None:
    made_id = began(engine, made, "sh", "-c", f"echo run; exit {code}", restart=policy)

    assert engine.wait(made_id) == code
    assert log(engine, made_id) == "run\n" * runs
    assert look(engine, made_id).restarts == runs - 1


def test_one_that_is_to_run_always_does_until_it_is_stopped(
    engine: Engine, made: list[str]
) -> None:
    made_id = began(engine, made, "sh", "-c", "echo run; exec sleep 100", restart="always")
    while log(engine, made_id) != "run\n":
        select.select([], [], [], 0.01)
    with closing(attach.connect(engine.storage, made_id)) as visit:
        first = look(engine, made_id).pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert next(receive(visit)) == keep.OUTPUT + b"run\n"
    again = look(engine, made_id)
    assert (again.status, again.restarts) == ("running", 1)
    assert again.pid != first

    engine.stop(made_id, timeout=0)
    assert look(engine, made_id).exit_code == 137


def test_one_that_waits_to_begin_anew_is_stopped_at_once(engine: Engine, made: list[str]) -> None:
    made_id = began(engine, made, "false", restart="always")
    while look(engine, made_id).restarts < 3:  # the next is 800 ms away
        select.select([], [], [], 0.01)
    before = time.monotonic()
    engine.stop(made_id)

    assert look(engine, made_id).status == "exited"
    assert time.monotonic() - before < 5


def test_stop_asks_first_and_kills_who_does_not_listen(engine: Engine, made: list[str]) -> None:
    script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done"
    made_id = began(engine, made, "sh", "-c", script)
    deaf = began(engine, made, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    for each in (made_id, deaf):
        while log(engine, each) != "ready\n":
            select.select([], [], [], 0.01)
    engine.stop(made_id)
    engine.stop(deaf, timeout=0.2)

    assert look(engine, made_id).exit_code == 7
    assert look(engine, deaf).exit_code == 137


def test_every_visitor_hears_all_from_when_he_came(engine: Engine, made: list[str]) -> None:
    made_id = began(engine, made, "sh", "-c", "read go; seq 1 100000", interactive=True)
    visits = [attach.connect(engine.storage, made_id) for _ in range(3)]
    visits[0].send(keep.INPUT + b"go\n")
    said = []
    # One after the other: who is not heard yet holds the container up, and nothing is lost.
    poll = select.poll()
    parts: dict[int, list[bytes]] = {visit.fileno(): [] for visit in visits}
    by_fd = {visit.fileno(): visit for visit in visits}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    while by_fd:
        for fd, _ in poll.poll():
            packet = by_fd[fd].recv(1 + keep.MOST_DATA)
            parts[fd].append(packet)
            if not packet:
                poll.unregister(fd)
                by_fd.pop(fd).close()
    said = [b"".join(p[1:] for p in each if p[:1] == keep.OUTPUT) for each in parts.values()]

    assert set(said) == {b"".join(b"%d\n" % n for n in range(1, 100001))}
    assert all(each[-2] == keep.END + b"\0\0" for each in parts.values())


def test_a_visitor_who_leaves_in_the_middle_holds_nobody_up(
    engine: Engine, made: list[str]
) -> None:
    made_id = began(engine, made, "sh", "-c", "read go; seq 1 200000", interactive=True)
    visit = attach.connect(engine.storage, made_id)
    visit.send(keep.INPUT + b"go\n")
    visit.recv(10)
    visit.close()

    assert engine.wait(made_id) == 0
    assert log(engine, made_id).endswith("\n200000\n")


def test_input_that_nobody_reads_does_not_end_the_monitor(engine: Engine, made: list[str]) -> None:
    made_id = began(
        engine, made, "sh", "-c", "exec <&-; echo closed; sleep 0.2; echo end", interactive=True
    )
    with closing(attach.connect(engine.storage, made_id)) as visit:
        while log(engine, made_id) != "closed\n":
            select.select([], [], [], 0.01)
        visit.send(keep.INPUT + b"x" * 1000)
        assert said_to(visit).endswith(b"end\n")
    assert engine.wait(made_id) == 0


def test_a_terminal_is_kept_and_has_a_size(engine: Engine, made: list[str]) -> None:
    made_id = began(engine, made, "sh", "-c", "tty; read x; stty size", tty=True, interactive=True)
    with closing(attach.connect(engine.storage, made_id)) as visit:
        visit.send(keep.SIZE + (33).to_bytes(2, "little") + (77).to_bytes(2, "little"))
        visit.send(keep.INPUT + b"\n")
        assert said_to(visit).endswith(b"33 77\r\n")
    assert engine.wait(made_id) == 0
    assert "/dev/pts/0\r\n" in log(engine, made_id)


def test_a_terminal_comes_back_when_it_begins_anew(engine: Engine, made: list[str]) -> None:
    made_id = began(engine, made, "sh", "-c", "tty; exit 1", tty=True, restart="on-failure:2")

    assert engine.wait(made_id) == 1
    assert log(engine, made_id) == "/dev/pts/0\r\n" * 3


def test_there_is_nothing_to_visit_in_one_that_does_not_run(
    engine: Engine, made: list[str]
) -> None:
    made_id = began(engine, made, "true")
    engine.wait(made_id)
    with pytest.raises(WrongStatus, match="not running"):
        attach.connect(engine.storage, made_id)


def test_the_death_of_the_monitor_is_the_containers(engine: Engine, made: list[str]) -> None:
    made_id = began(engine, made, "sleep", "1000", restart="always")
    pid, monitor = look(engine, made_id).pid, monitor_of(engine, made_id)
    assert pid is not None
    first = os.pidfd_open(pid)
    os.kill(monitor, signal.SIGKILL)

    assert select.select([first], [], [], 10)[0]
    os.close(first)
    assert engine.wait(made_id) is None
    assert look(engine, made_id).status == "exited"
    engine.start(made_id)
    assert look(engine, made_id).status == "running"


def test_what_used_too_much_memory_is_said_to_have(engine: Engine, made: list[str]) -> None:
    # A shell whose child is killed: the first process tells of it by its exit code.
    script = "head -c 100m /dev/zero | tail >/dev/null; exit 9"
    made_id = began(engine, made, "sh", "-c", script, memory="20m")

    assert engine.wait(made_id) == 9
    assert look(engine, made_id).oom_killed


def test_no_cgroup_and_no_run_directory_stay(engine: Engine, made: list[str]) -> None:
    made_id = began(engine, made, "true", memory="64m")
    engine.wait(made_id)

    assert os.listdir(engine.run_root) == []
    assert [d for d, _, _ in os.walk("/sys/fs/cgroup") if d.endswith(made_id)] == []


def test_a_start_that_is_killed_leaves_either_a_container_that_runs_or_one_that_does_not(
    engine: Engine, made: list[str]
) -> None:
    made.append(engine.create("busybox", ["sleep", "1000"]))
    program = (
        "import sys; from newroot.engine import Engine; engine = Engine(sys.argv[1]);"
        "print(flush=True); engine.start(sys.argv[2]); print(flush=True)"
    )
    environment = {**os.environ, "PYTHONPATH": PACKAGE}
    command = [sys.executable, "-c", program, engine.root, made[0]]
    whole_start = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    assert whole_start.stdout is not None
    whole_start.stdout.readline()
    before = time.monotonic()
    whole_start.communicate()
    takes = time.monotonic() - before
    engine.stop(made[0], timeout=0)

    chance = random.Random(7)
    seen = set()
    for number in range(40):
        if number > 12 and len(seen) > 1:
            break
        starter = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        assert starter.stdout is not None
        starter.stdout.readline()
        select.select([], [], [], takes * number / 8 * chance.uniform(0.8, 1.2))
        starter.kill()
        starter.communicate()
        engine._sweep()
        found = look(engine, made[0])
        seen.add(found.status)
        if found.status == "running":
            if found.pid is None or process_status(found.pid) is not None:
                engine.stop(made[0], timeout=0)
        # Its launcher may be dying still; one whose process is gone must come to be seen as ended.
        wait_until_it_ends(engine.storage, made[0])
        engine._sweep()
        assert [d for d, _, _ in os.walk("/sys/fs/cgroup") if d.endswith(made[0])] == []
        assert os.listdir(engine.run_root) == []
    assert len(seen) > 1, "every start was killed at the same point: widen the range"
