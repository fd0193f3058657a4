"""Joining namespaces, being born in them, waiting to be started, being let go: step by step."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from newroot.errors import StepError
from newroot.linux.processes import process_status
from newroot.plan import encode
from newroot.plan import steps as s
from newroot.plan.launcher import REPORT_FAILED, REPORT_WAITING, Launch, Launcher
from newroot.plan.report import step_error
from newroot.testing import needs
from newroot.testing.plans import map_ids
from newroot.testing.roots import find_busybox

pytestmark = needs("root")

KINDS = ("mount", "uts", "ipc", "pid", "net")


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    made = Launcher()
    yield made
    made.close()


def command(*words: str) -> s.Exec:
    return s.Exec(paths=(find_busybox(),), argv=("busybox", *words))


class Started:
    """A plan that was handed over, and what it says."""

    def __init__(self, launcher: Launcher, *steps: s.Step, own: tuple[int, ...] = ()) -> None:
        self.plan = s.Plan(steps=steps)
        self.error: StepError | None = None
        self.waits = False
        self.reader, writer = os.pipe()
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        first = steps[0]
        namespaces = first.namespaces if isinstance(first, s.Unshare) else ()
        try:
            self.launch: Launch = launcher.launch(
                encode.encode(self.plan),
                encode.clone_flags(namespaces),
                (null, writer, 2),
                own=own,
                birth=encode.needs_birth(self.plan),
            )
        finally:
            os.close(null)
            os.close(writer)
        self.launch.read_started(block=True)
        while (report := self.launch.next_report()) is not None:
            if report.kind == REPORT_FAILED:
                self.error = step_error(self.plan, report)
            elif report.kind == REPORT_WAITING:
                if isinstance(self.plan.steps[report.index], s.AwaitStart):
                    self.waits = True
                    break
                map_ids(self.launch.pid)
                self.launch.go_on()

    @property
    def pid(self) -> int:
        return self.launch.pid

    def output(self) -> str:
        return b"".join(iter(lambda: os.read(self.reader, 4096), b"")).decode()

    def close(self) -> None:
        os.close(self.reader)
        self.launch.kill(signal.SIGKILL)
        self.launch.close()


@contextmanager
def started(launcher: Launcher, *steps: s.Step, own: tuple[int, ...] = ()) -> Iterator[Started]:
    made = Started(launcher, *steps, own=own)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def host(launcher: Launcher) -> Iterator[Started]:
    """A process in namespaces of its own, to be joined."""
    with started(launcher, s.Unshare(namespaces=KINDS), command("sleep", "1000")) as made:
        yield made


def namespaces(pid: int | str, kinds: tuple[str, ...]) -> dict[str, str]:
    file = {"mount": "mnt"}
    return {kind: os.readlink(f"/proc/{pid}/ns/{file.get(kind, kind)}") for kind in kinds}


def join(kind: str, pid: int) -> s.SetNamespace:
    return s.SetNamespace(namespace=kind, path=f"/proc/{pid}/ns/{kind}")


def test_a_joined_pid_namespace_holds(launcher: Launcher, host: Started) -> None:
    with started(launcher, join("pid", host.pid), s.Birth(), command("sleep", "1000")) as made:
        assert namespaces(made.pid, ("pid",)) == namespaces(host.pid, ("pid",))
        assert namespaces(made.pid, ("net",)) == namespaces("self", ("net",))


def test_who_is_born_there_is_told_of_by_its_own_process_id_and_end(
    launcher: Launcher, host: Started
) -> None:
    with started(
        launcher, join("pid", host.pid), s.Birth(), command("sh", "-c", "echo $$; exit 7")
    ) as made:
        assert made.launch.wait_ended().exit_code == 7
        assert int(made.output()) > 1


def test_a_joined_namespace_and_a_new_user_namespace_are_no_contradiction(
    launcher: Launcher, host: Started
) -> None:
    with started(
        launcher,
        join("net", host.pid),
        s.Birth(namespaces=("user", "mount", "pid")),
        s.MapIds(uids=((0, 0, 1),), gids=((0, 0, 1),)),
        command("sleep", "1000"),
    ) as made:
        assert made.error is None
        assert namespaces(made.pid, ("net",)) == namespaces(host.pid, ("net",))
        assert namespaces(made.pid, ("user",)) != namespaces("self", ("user",))


def test_a_process_is_joined_by_its_pidfd_with_all_its_namespaces(
    launcher: Launcher, host: Started
) -> None:
    pidfd = os.pidfd_open(host.pid)
    join_all = s.JoinProcess(namespaces=KINDS, pid=host.pid)
    try:
        with started(launcher, join_all, s.Birth(), command("sleep", "1000"), own=(pidfd,)) as made:
            assert namespaces(made.pid, KINDS) == namespaces(host.pid, KINDS)
            assert sorted(os.listdir(f"/proc/{made.pid}/fd")) == ["0", "1", "2"]
    finally:
        os.close(pidfd)


def test_a_process_in_a_user_namespace_is_joined_with_the_rights_of_that(
    launcher: Launcher,
) -> None:
    kinds = ("user", *KINDS)
    mapped = s.MapIds(uids=((0, 100000, 1),), gids=((0, 100000, 1),))
    with started(launcher, s.Unshare(namespaces=kinds), mapped, command("sleep", "1000")) as host:
        pidfd = os.pidfd_open(host.pid)
        join_all = s.JoinProcess(namespaces=kinds, pid=host.pid)
        become = s.SetUser(uid=0, gid=0, keep_groups=True)
        with started(
            launcher, join_all, s.Birth(), become, command("id", "-u"), own=(pidfd,)
        ) as made:
            os.close(pidfd)

            assert made.error is None
            assert made.launch.wait_ended().exit_code == 0
            assert made.output() == "0\n"


def test_what_fails_before_the_birth_is_reported(launcher: Launcher) -> None:
    with started(launcher, s.SetNamespace(namespace="pid", path="/none"), s.Birth()) as made:
        assert made.error is not None
        assert str(made.error).startswith("step 1 of 2, join the pid namespace /none: ")
        assert made.launch.wait_ended().exit_code == 127


def test_what_fails_after_the_birth_is_reported(launcher: Launcher, host: Started) -> None:
    nowhere = s.Exec(paths=("/nowhere/x",), argv=("x",))
    with started(launcher, join("pid", host.pid), s.Birth(), nowhere) as made:
        assert made.error is not None
        assert (made.error.index, made.error.total) == (3, 3)
        assert made.launch.wait_ended().exit_code == 127


def test_the_launcher_takes_along_who_was_born(host: Started) -> None:
    launcher = Launcher()
    with started(launcher, join("pid", host.pid), s.Birth(), command("sleep", "1000")) as made:
        pidfd = os.pidfd_open(made.pid)
        launcher.close()

        assert select.select([pidfd], [], [], 10)[0], "WHO WAS BORN OUTLIVES THE LAUNCHER"
        os.close(pidfd)


def test_a_hundred_births_leave_no_descriptor_in_the_launcher(
    launcher: Launcher, host: Started
) -> None:
    before = len(os.listdir(f"/proc/{launcher.pid}/fd"))
    for _ in range(100):
        with started(launcher, join("pid", host.pid), s.Birth(), command("true")) as made:
            assert made.launch.wait_ended().exit_code == 0

    # The last one's may still be open for a moment after its end was told.
    assert len(os.listdir(f"/proc/{launcher.pid}/fd")) < before + 10


# ---- waiting to be started ----


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as made:
        made.bind(str(tmp_path / "start"))
        made.listen(8)
        yield made


def awaiting(launcher: Launcher, listener: socket.socket, last: s.Exec, *before: s.Step) -> Started:
    wait = s.AwaitStart(paths=last.paths)
    first = s.Unshare(namespaces=("mount", "pid"))
    return Started(launcher, first, *before, wait, last, own=(listener.fileno(),))


def ask(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.settimeout(10)
    try:
        made.connect(str(path))
    except OSError:
        made.close()
        raise
    return made


def test_a_created_process_waits_and_is_started_once(
    launcher: Launcher, listener: socket.socket, tmp_path: Path
) -> None:
    made = awaiting(launcher, listener, command("sleep", "1000"))
    listener.close()
    assert made.waits
    status = process_status(made.pid)
    assert status is not None
    assert status.name == "newroot-init"
    made.launch.go_on()

    with ask(tmp_path / "start") as caller:
        caller.send(b"1")
        assert caller.recv(1000) == b""  # it is executed: nobody has the other end

    status = process_status(made.pid)
    assert status is not None
    assert status.name == "busybox"
    with pytest.raises(ConnectionRefusedError):
        ask(tmp_path / "start")
    made.close()


def test_a_caller_that_dies_before_it_asks_starts_nothing(
    launcher: Launcher, listener: socket.socket, tmp_path: Path
) -> None:
    made = awaiting(launcher, listener, command("sleep", "1000"))
    made.launch.go_on()
    for _ in range(3):
        ask(tmp_path / "start").close()

    with ask(tmp_path / "start") as caller:
        status = process_status(made.pid)
        assert status is not None
        assert status.name == "newroot-init"
        caller.send(b"1")
        assert caller.recv(1000) == b""
    made.close()


def test_a_missing_command_is_the_creators_to_hear(
    launcher: Launcher, listener: socket.socket
) -> None:
    made = awaiting(launcher, listener, s.Exec(paths=("/nowhere/x",), argv=("x",)))

    assert not made.waits
    assert made.error is not None
    assert (made.error.index, made.error.total, made.error.errno) == (3, 3, 2)
    made.close()


@pytest.mark.parametrize("mode", [0o644, None])
def test_a_command_that_cannot_be_executed_is_the_creators_to_hear(
    launcher: Launcher, listener: socket.socket, tmp_path: Path, mode: int | None
) -> None:
    path = tmp_path / "command"
    path.mkdir() if mode is None else path.touch(mode)
    made = awaiting(launcher, listener, s.Exec(paths=("/none", str(path)), argv=("x",)))

    assert not made.waits
    assert made.error is not None
    assert made.error.errno == 13
    made.close()


def test_what_fails_after_the_start_is_told_to_who_started(
    launcher: Launcher, listener: socket.socket, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    made = awaiting(launcher, listener, s.Exec(paths=(str(script),), argv=("script",)))
    assert made.waits
    made.launch.go_on()

    with ask(tmp_path / "start") as caller:
        caller.send(b"1")
        kind, index, error = struct.unpack_from("=IIi", caller.recv(1000))

    assert (kind, index, error) == (REPORT_FAILED, 2, 2)
    made.close()


def test_a_created_process_dies_with_its_creator_until_it_is_let_go(
    listener: socket.socket,
) -> None:
    launcher = Launcher()
    made = awaiting(launcher, listener, command("true"))
    pidfd = os.pidfd_open(made.pid)
    launcher.close()

    assert select.select([pidfd], [], [], 10)[0], "A HALF-MADE CONTAINER OUTLIVES ITS CREATOR"
    os.close(pidfd)
    made.close()


_SUBREAPER = """
import os, sys, ctypes
sys.path.insert(0, sys.argv[1])
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
creator = os.fork()
if creator == 0:
    from newroot.plan import encode, steps as s
    from newroot.plan.launcher import Launcher
    launcher = Launcher()
    last = s.Exec(paths=(sys.argv[2],), argv=("busybox", "sh", "-c", "read x; exit 5"))
    reader, writer = os.pipe()
    plan = s.Plan(steps=(s.Unshare(namespaces=("mount", "pid")), last))
    launch = launcher.launch(encode.encode(plan), encode.clone_flags(("mount", "pid")),
                             (reader, 1, 2))
    launch.read_started(block=True)
    while launch.next_report() is not None:
        pass
    launcher.let_go()
    os.write(1, b"%d\\n" % launch.pid)
    os._exit(0)
print("creator", os.waitpid(creator, 0)[1], flush=True)
pid, status = os.wait()
print("orphan", pid, os.waitstatus_to_exitcode(status), flush=True)
"""


def test_what_is_let_go_is_its_subreapers() -> None:
    source = str(Path(encode.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", _SUBREAPER, source, find_busybox()],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )

    pid, *rest = done.stdout.splitlines()
    assert rest == ["creator 0", f"orphan {pid} 5"], done.stderr


# ---- the working directory ----


def test_a_working_directory_outside_of_the_root_is_refused(
    launcher: Launcher, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    bind = s.BindMount(source=str(root), target=str(root), on_host=True)
    outside = os.open("/", os.O_PATH)
    # A descriptor that leads out, as a leaked one would: /proc stays mounted at its place.
    (root / "proc").mkdir()
    steps: tuple[s.Step, ...] = (
        s.Unshare(namespaces=("mount",)),
        s.SetPropagation(target="/", propagation="rprivate", on_host=True),
        bind,
        s.BindMount(source="/proc", target=f"{root}/proc", on_host=True),
        s.UseRoot(path=str(root)),
        s.PivotRoot(root=str(root)),
        s.DetachOldRoot(),
        s.SetCwd(path="/proc/self/fd/6"),
        command("true"),
    )
    with started(launcher, *steps, own=(outside,)) as made:
        os.close(outside)

        assert made.error is not None, "A CONTAINER STARTED OUTSIDE OF ITS ROOT"
        assert (made.error.index, made.error.errno) == (8, 18)
