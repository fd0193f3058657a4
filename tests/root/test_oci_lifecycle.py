"""create, start, exec, kill, delete, list: as an engine calls them, and when it is killed."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oci_bundles import Oci

from newroot.testing.needs import needs

pytestmark = [needs("root", "busybox"), pytest.mark.timeout(120)]


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Oci]:
    made = Oci(tmp_path)
    yield made
    made.close()


def wait_dead(pid: int) -> None:
    """Wait until *pid*, which may be nobody's child of ours, has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([pidfd], [], [], 20)[0], f"{pid} lives on"
    finally:
        os.close(pidfd)


def running(oci: Oci) -> int:
    oci.create()
    oci("start", "c")
    return int(oci.state()["pid"])


# ---- one life ----


def test_a_container_goes_through_all_its_statuses(oci: Oci) -> None:
    oci.create("c", "--pid-file", oci.bundle / "pid")
    pid = oci.state()["pid"]
    assert (oci.status(), (oci.bundle / "pid").read_text()) == ("created", str(pid))
    oci("start", "c")
    assert oci.status() == "running"
    assert oci.state()["pid"] == pid
    oci("pause", "c")
    assert oci.status() == "paused"
    oci("resume", "c")
    oci("kill", "c", "KILL")
    wait_dead(pid)
    assert (oci.status(), oci.state()["pid"]) == ("stopped", 0)
    oci("delete", "c")

    assert oci.left() == []


def test_the_state_says_what_the_bundle_said(oci: Oci) -> None:
    oci.configure(lambda c: c.update(annotations={"a.b": "ü"}))
    oci.create()
    state = oci.state()

    assert state["annotations"] == {"a.b": "ü"}
    assert state["bundle"] == str(oci.bundle)
    assert state["rootfs"] == str(oci.bundle / "rootfs")
    assert (state["id"], state["ociVersion"]) == ("c", "1.0.2")


def test_a_root_may_have_a_long_path(tmp_path: Path) -> None:
    deep = tmp_path / ("long" * 40)
    deep.mkdir()
    oci = Oci(deep)
    oci.root = deep / ("deep" * 30)
    running(oci)

    assert oci("exec", "c", "echo", "hi").stdout == "hi\n"
    oci.close()


# ---- what fails ----


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nowhere"], 'exec: "nowhere": executable file not found in $PATH'),
        (["/no/where"], 'exec: "/no/where": stat /no/where: no such file or directory'),
        (["/etc/passwd"], 'exec: "/etc/passwd": permission denied'),
        (["/etc"], 'exec: "/etc": permission denied'),
    ],
)
def test_a_command_that_cannot_be_executed_fails_the_create(
    oci: Oci, args: list[str], words: str
) -> None:
    oci.configure(lambda c: c["process"].update(args=args))
    done = oci.create(check=False)

    assert done.returncode == 1
    assert words in done.stderr
    assert oci.left() == []


def test_what_fails_only_when_it_is_executed_is_told_by_start(oci: Oci) -> None:
    script = oci.bundle / "rootfs/script"
    script.write_text("#!/no/interpreter\n")
    script.chmod(0o755)
    oci.configure(lambda c: c["process"].update(args=["/script"]))
    oci.create()
    done = oci("start", "c", check=False)

    assert done.returncode == 1
    assert "/no/interpreter" in done.stderr
    assert oci.status() == "stopped"


def test_the_log_is_one_json_document(oci: Oci, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = oci("--log", log, "--log-format", "json", "state", "none", check=False)
    entry = json.loads(log.read_text())

    assert done.returncode == 1
    assert (entry["level"], entry["msg"]) == ("error", "container does not exist")


# ---- exec ----


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("nowhere", 127)]
)
def test_exec_has_the_exit_code_of_its_command(oci: Oci, script: str, code: int) -> None:
    running(oci)

    assert oci("exec", "c", "sh", "-c", script, check=False).returncode == code


def test_exec_fails_with_a_code_of_its_own(oci: Oci) -> None:
    running(oci)
    missing = oci("exec", "c", "nowhere", check=False)
    oci("delete", "--force", "c")
    gone = oci("exec", "c", "true", check=False)

    assert (missing.returncode, gone.returncode) == (255, 255)
    assert "executable file not found in $PATH" in missing.stderr
    assert "container does not exist" in gone.stderr


def test_who_is_executed_is_confined_as_the_first_process_is(oci: Oci) -> None:
    pid = running(oci)
    keys = ("CapEff", "CapBnd", "CapPrm", "CapInh", "NoNewPrivs", "Seccomp", "Groups", "Umask")

    def picked(text: str) -> dict[str, str]:
        lines = (line.partition(":") for line in text.splitlines())
        return {key: value.strip() for key, _, value in lines if key in keys}

    inside = oci("exec", "c", "cat", "/proc/self/status").stdout
    first = Path(f"/proc/{pid}/status").read_text()
    script = "for p in 1 self; do for n in /proc/$p/ns/*; do readlink $n; done >/$p; done"
    assert oci("exec", "c", "sh", "-c", script).stderr == ""
    root = oci.bundle / "rootfs"
    cgroups = oci("exec", "c", "cat", "/proc/self/cgroup").stdout

    assert picked(inside) == picked(first)
    assert (root / "1").read_text() == (root / "self").read_text() != ""
    assert cgroups == Path(f"/proc/{pid}/cgroup").read_text()


def test_who_is_executed_has_no_descriptor_of_ours(oci: Oci) -> None:
    running(oci)
    listed = oci("exec", "c", "sh", "-c", "ls -l /proc/self/fd /proc/1/fd").stdout
    numbers = [line.split(" -> ")[0].split()[-1] for line in listed.splitlines() if "->" in line]

    assert set(numbers) in ({"0", "1", "2"}, {"0", "1", "2", "3"}), listed  # 3 is ls's own


def test_exec_is_who_and_where_it_was_asked_to_be(oci: Oci) -> None:
    running(oci)
    script = "id -u; id -g; id -G; pwd; echo $A"
    done = oci(
        *("exec", "-u", "5:6", "-g", "7", "--cwd", "/tmp", "-e", "A=b c", "c", "sh", "-c", script)
    )

    assert done.stdout.splitlines() == ["5", "6", "6 7", "/tmp", "b c"]


def test_a_user_can_open_its_streams_by_name(oci: Oci) -> None:
    running(oci)
    done = oci(
        "exec", "-u", "1000", "c", "sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr"
    )

    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_exec_goes_home_to_whom_it_is_asked_for(oci: Oci) -> None:
    def without_home(config: dict[str, Any]) -> None:
        config["process"]["env"] = ["PATH=/bin"]

    with (oci.bundle / "rootfs/etc/passwd").open("a") as file:
        file.write("other:x:77:77::/home/other:/bin/sh\n")
    oci.configure(without_home)
    oci.create()
    oci("start", "c")

    assert oci("exec", "c", "sh", "-c", "echo $HOME").stdout == "/root\n"
    assert oci("exec", "-u", "77", "c", "sh", "-c", "echo $HOME").stdout == "/home/other\n"
    assert oci("exec", "-u", "77", "-e", "HOME=/x", "c", "sh", "-c", "echo $HOME").stdout == "/x\n"


def test_exec_takes_a_process_from_a_file(oci: Oci, tmp_path: Path) -> None:
    running(oci)
    process = {"args": ["pwd"], "cwd": "/etc", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}
    (tmp_path / "process").write_text(json.dumps(process))

    assert oci("exec", "--process", tmp_path / "process", "c").stdout == "/etc\n"


def test_exec_refuses_a_paused_container(oci: Oci) -> None:
    running(oci)
    oci("pause", "c")
    done = oci("exec", "c", "true", check=False)
    oci("resume", "c")

    assert done.returncode == 255
    assert "cannot exec in a paused container" in done.stderr


def test_a_hundred_execs_leave_nothing(oci: Oci) -> None:
    running(oci)
    before = oci.processes()
    for _ in range(100):
        assert oci("exec", "c", "true").stderr == ""

    assert oci.processes() == before


def test_exec_works_in_a_user_namespace(oci: Oci) -> None:
    def change(config: dict[str, Any]) -> None:
        config["linux"]["namespaces"].append({"type": "user"})
        for key in ("uidMappings", "gidMappings"):
            config["linux"][key] = [{"containerID": 0, "hostID": 200000, "size": 1000}]
        config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 100}]
        os.chown(oci.bundle / "rootfs/root", 200000, 200000)
        oci.bundle.chmod(0o755)

    oci.configure(change)
    for directory in (oci.bundle, *oci.bundle.parents[:2]):
        directory.chmod(0o755)
    running(oci)
    done = oci("exec", "c", "sh", "-c", "id -u; ulimit -n; cat /proc/self/uid_map")

    assert done.stdout.split() == ["0", "99", "0", "200000", "1000"]


# ---- namespaces of others ----


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts"])
def test_a_container_joins_the_namespace_of_another(oci: Oci, kind: str) -> None:
    pid = running(oci)
    file = {"network": "net"}.get(kind, kind)

    def change(config: dict[str, Any]) -> None:
        for space in config["linux"]["namespaces"]:
            if space["type"] == kind:
                space["path"] = f"/proc/{pid}/ns/{file}"
        config["linux"]["cgroupsPath"] += "2"
        config.pop("hostname")

    oci.configure(change)
    oci.create("d")
    oci("start", "d")
    other = oci.state("d")["pid"]

    assert os.readlink(f"/proc/{other}/ns/{file}") == os.readlink(f"/proc/{pid}/ns/{file}")
    assert oci("exec", "d", "readlink", f"/proc/self/ns/{file}").stdout.strip() == os.readlink(
        f"/proc/{pid}/ns/{file}"
    )


def test_all_that_is_left_in_a_shared_pid_namespace_ends_with_the_delete(oci: Oci) -> None:
    running(oci)
    pid = oci.state()["pid"]

    def change(config: dict[str, Any]) -> None:
        for space in config["linux"]["namespaces"]:
            if space["type"] == "pid":
                space["path"] = f"/proc/{pid}/ns/pid"
        config["linux"]["cgroupsPath"] += "2"
        config["process"]["args"] = ["sh", "-c", "sleep 1000 & sleep 1000 & sleep 1000"]

    oci.configure(change)
    oci.create("d")
    oci("start", "d")
    oci("delete", "--force", "d")

    assert oci.processes() == [str(pid)]


# ---- signals and deleting ----


def test_kill_all_reaches_every_process(oci: Oci) -> None:
    oci.configure(
        lambda c: c["process"].update(args=["sh", "-c", "trap '' TERM; sleep 1000 & wait; wait"])
    )
    pid = running(oci)
    silent = {"capture_output": False, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    oci("exec", "-d", "c", "sleep", "1000", **silent)
    oci("kill", "--all", "c", "KILL")
    wait_dead(pid)

    assert oci.processes() == []


def test_delete_takes_a_regular_expression(oci: Oci) -> None:
    for name in ("a1", "a2", "b1"):
        oci.configure(lambda c, name=name: c["linux"].update(cgroupsPath=f"/{oci.mark}/{name}"))  # type: ignore[misc]
        oci.create(name)
    oci("delete", "--force", "--regex", "^a")

    assert oci("list", "-q").stdout.split() == ["b1"]


# ---- descriptors and terminals ----


def test_descriptors_are_preserved_where_they_were_asked_for(oci: Oci, tmp_path: Path) -> None:
    oci.configure(
        lambda c: c["process"].update(args=["sh", "-c", "cat <&3; echo; ls /proc/self/fd | wc -l"])
    )
    (tmp_path / "three").write_text("three")
    (tmp_path / "four").write_text("four")
    program = (
        "import os, sys\n"
        "for n, name in ((3, sys.argv[1]), (4, sys.argv[2])):\n"
        "    fd = os.open(name, os.O_RDONLY)\n"
        "    os.dup2(fd, n)\n"
        "    os.set_inheritable(n, True)\n"
        "os.execv(sys.argv[3], sys.argv[3:])\n"
    )
    words = oci.words("run", "--preserve-fds", "1", "--bundle", oci.bundle, "c")
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "three", tmp_path / "four", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )

    assert done.stdout.split() == ["three", "5"], done.stderr  # 0 to 3, and ls's own


def test_a_descriptor_that_is_not_there_cannot_be_preserved(oci: Oci) -> None:
    done = oci("run", "--preserve-fds", "90", "--bundle", oci.bundle, "c", check=False)

    assert done.returncode == 1
    assert "unable to stat preserved fd" in done.stderr


class Console:
    """Listens as conmon does."""

    def __init__(self, path: Path) -> None:
        import socket

        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen(1)
        self._socket.settimeout(20)

    def take(self) -> int:
        import socket

        connection, _ = self._socket.accept()
        with connection:
            data, fds, _, _ = socket.recv_fds(connection, 4096, 1)
        assert data == b"/dev/ptmx"
        return fds[0]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path / "console")
    yield made
    made.close()


def read_all(fd: int) -> str:
    found = b""
    try:
        while data := os.read(fd, 4096):
            found += data
    except OSError:  # EIO: the other end is closed
        pass
    os.close(fd)
    return found.decode()


def test_a_terminal_is_handed_over_the_console_socket(oci: Oci, console: Console) -> None:
    def change(config: dict[str, Any]) -> None:
        config["process"].update(
            terminal=True,
            consoleSize={"height": 11, "width": 22},
            args=["sh", "-c", "tty; stty size"],
        )

    oci.configure(change)
    oci.create("c", "--console-socket", console.path)
    terminal = console.take()
    oci("start", "c")

    assert read_all(terminal).split() == ["/dev/pts/0", "11", "22"]


def test_exec_hands_its_terminal_over_too(oci: Oci, console: Console) -> None:
    running(oci)
    oci("exec", "-t", "-d", "--console-socket", console.path, "c", "sh", "-c", "tty; ls /dev/pts")

    assert read_all(console.take()).split() == ["/dev/pts/0", "0", "ptmx"]


@pytest.mark.parametrize("verb", ["create", "run -d"])
def test_a_terminal_that_would_be_nobodys_is_refused(oci: Oci, verb: str) -> None:
    oci.configure(lambda c: c["process"].update(terminal=True))
    done = oci(*verb.split(), "--bundle", oci.bundle, "c", check=False)

    assert done.returncode == 1
    assert "without setting console socket" in done.stderr
    assert oci.left() == []


# ---- spec ----


@pytest.mark.parametrize("flags", [[], ["--rootless"]])
def test_a_spec_is_one_that_runs(oci: Oci, flags: list[str]) -> None:
    (oci.bundle / "config.json").unlink()
    oci("spec", *flags, "--bundle", oci.bundle)
    assert "is there already" in oci("spec", "--bundle", oci.bundle, check=False).stderr
    config = json.loads((oci.bundle / "config.json").read_text())
    config["process"].update(terminal=False, args=["echo", "ran"])
    config["linux"]["cgroupsPath"] = f"/{oci.mark}/c"
    (oci.bundle / "config.json").write_text(json.dumps(config))

    assert oci("run", "--bundle", oci.bundle, "c").stdout == "ran\n"


# ---- whose child it is ----

_SUBREAPER = """
import ctypes, json, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
words = json.loads(sys.argv[1])
for command in words:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
while True:
    try:
        pid, status = os.wait()
    except ChildProcessError:
        break
    print(pid, os.waitstatus_to_exitcode(status))
"""


def test_the_container_is_its_subreapers_child(oci: Oci, tmp_path: Path) -> None:
    oci.configure(lambda c: c["process"].update(args=["sh", "-c", "exit 9"]))
    pid_file = tmp_path / "pid"
    words = [
        oci.words("create", "--bundle", oci.bundle, "--pid-file", pid_file, "c"),
        oci.words("start", "c"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", _SUBREAPER, json.dumps(words)],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout.split() == [pid_file.read_text(), "9"], done.stderr


def test_how_a_detached_exec_ended_is_its_subreapers_to_hear(oci: Oci, tmp_path: Path) -> None:
    running(oci)
    one = oci.words("exec", "-d", "c", "sh", "-c", "exit 7")
    done = subprocess.run(
        [sys.executable, "-c", _SUBREAPER, json.dumps([one] * 20)],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout.split()[1::2] == ["7"] * 20, done.stderr


# ---- killed at any moment ----


def _kill_soon(words: list[str], after_s: float) -> None:
    """Start a command, and kill it unless it has ended by itself *after_s*."""
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.kill()


def test_a_create_that_is_killed_leaves_nothing_that_runs(oci: Oci) -> None:
    dice = random.Random(1)
    for _ in range(25):
        _kill_soon(oci.words("create", "--bundle", oci.bundle, "c"), dice.uniform(0.01, 0.15))
        oci("delete", "--force", "c")

        assert oci.left() == []
    oci.create()
    assert oci.status() == "created"


def test_what_a_killed_create_left_is_no_hindrance_to_the_next(oci: Oci) -> None:
    dice = random.Random(2)
    for _ in range(15):
        _kill_soon(oci.words("create", "--bundle", oci.bundle, "c"), dice.uniform(0.01, 0.1))
        if oci("state", "c", check=False).returncode and oci.create(check=False).returncode == 0:
            break
        oci("delete", "--force", "c")
    oci("delete", "--force", "c")

    assert oci.left() == []


def test_a_start_that_is_killed_has_started_it_or_can_be_made_again(oci: Oci) -> None:
    dice = random.Random(3)
    for _ in range(15):
        oci.create()
        _kill_soon(oci.words("start", "c"), dice.uniform(0.005, 0.04))
        oci("start", "c", check=False)

        assert oci.status() == "running"
        oci("delete", "--force", "c")
    assert oci.left() == []


def test_an_exec_that_is_killed_takes_its_process_along(oci: Oci) -> None:
    pid = running(oci)
    dice = random.Random(4)
    for _ in range(15):
        _kill_soon(oci.words("exec", "c", "sleep", "1000"), dice.uniform(0.01, 0.1))
        for process in oci.processes():
            if process != str(pid):
                wait_dead(int(process))

    assert oci.processes() == [str(pid)]


def test_a_delete_that_is_killed_can_be_made_again(oci: Oci) -> None:
    dice = random.Random(5)
    for _ in range(15):
        running(oci)
        _kill_soon(oci.words("delete", "--force", "c"), dice.uniform(0.005, 0.06))
        oci("delete", "--force", "c")

        assert oci.left() == []


def test_a_run_in_the_foreground_ends_with_who_ran_it(oci: Oci) -> None:
    with subprocess.Popen(
        oci.words("run", "--bundle", oci.bundle, "--pid-file", oci.bundle / "pid", "c"),
        stdin=subprocess.DEVNULL,
    ) as process:
        while not (oci.bundle / "pid").exists():
            select.select([], [], [], 0.01)
        pid = int((oci.bundle / "pid").read_text())
        process.send_signal(signal.SIGKILL)
    wait_dead(pid)
    assert oci.status() == "stopped"
    oci("delete", "c")

    assert oci.left() == []
