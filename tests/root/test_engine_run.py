"""``Engine.run()`` on a real kernel: as ``subprocess.run``, with a container in between."""

from __future__ import annotations

import os
import pickle
import subprocess
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

import newroot
from newroot.container.python_words import settings_of
from newroot.engine import Engine
from newroot.errors import NotFound, StepError, UsageError
from newroot.record import replace
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]


def says(engine: Engine, *command: str, **words: Any) -> str:
    """What a command in a container says, which must end well."""
    done = engine.run("busybox", command, capture_output=True, text=True, check=True, **words)
    assert done.stderr == ""
    return str(done.stdout)


# ---- streams ------------------------------------------------------------------------------------


def test_output_is_captured_apart(engine: Engine) -> None:
    done = engine.run("busybox", ["sh", "-c", "echo out; echo err >&2"], capture_output=True)

    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 0)
    assert done.args == ("sh", "-c", "echo out; echo err >&2")
    assert done.fault is None


def test_text_is_text(engine: Engine) -> None:
    done = engine.run("busybox", ["cat"], input="ä\n", text=True, stdout=newroot.PIPE)

    assert (done.stdout, done.stderr) == ("ä\n", None)


def test_a_megabyte_goes_through_cat_both_ways(engine: Engine) -> None:
    data = os.urandom(1 << 20)
    done = engine.run("busybox", ["cat"], input=data, capture_output=True)

    assert done.stdout == data


def test_input_that_is_not_read_is_no_error(engine: Engine) -> None:
    done = engine.run("busybox", ["true"], input=b"x" * (1 << 20), timeout=30)

    assert (done.returncode, done.fault) == (0, None)


def test_standard_input_is_empty_unless_given(engine: Engine) -> None:
    assert says(engine, "cat") == ""


def test_files_are_streams(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from a file\n")
    with open(tmp_path / "in") as source, open(tmp_path / "out", "wb") as sink:
        engine.run("busybox", ["sh", "-c", "cat; echo e >&2"], stdin=source, stdout=sink,
                   stderr=newroot.STDOUT)  # fmt: skip

    assert (tmp_path / "out").read_text() == "from a file\ne\n"


def test_devnull_swallows(engine: Engine) -> None:
    done = engine.run("busybox", ["echo", "x"], stdout=newroot.DEVNULL, stderr=newroot.PIPE)

    assert (done.stdout, done.stderr) == (None, b"")


def test_stderr_goes_where_stdout_goes(engine: Engine) -> None:
    done = engine.run("busybox", ["sh", "-c", "echo a; echo b >&2"], stdout=newroot.PIPE,
                      stderr=newroot.STDOUT)  # fmt: skip

    assert done.stdout == b"a\nb\n"


def test_the_streams_of_subprocess_are_ours() -> None:
    expected = (subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL)

    assert (newroot.PIPE, newroot.STDOUT, newroot.DEVNULL) == expected


# ---- how it ends --------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "expected"), [("exit 0", 0), ("exit 3", 3), ("exit 255", 255)])
def test_an_exit_code_is_a_return_code(engine: Engine, command: str, expected: int) -> None:
    done = engine.run("busybox", ["sh", "-c", command])

    assert (done.returncode, done.fault) == (expected, None)


def test_check_raises_what_subprocess_raises(engine: Engine) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        engine.run("busybox", ["sh", "-c", "echo x; exit 4"], capture_output=True, check=True)

    assert (caught.value.returncode, caught.value.stdout) == (4, b"x\n")


def test_time_that_is_over_ends_it_promptly(engine: Engine) -> None:
    began = monotonic()
    done = engine.run("busybox", ["sh", "-c", "echo x; sleep 100"], capture_output=True,
                      timeout=0.1)  # fmt: skip

    assert (done.fault, done.returncode, done.stdout) == ("timeout", -9, b"x\n")
    assert monotonic() - began < 5


def test_a_timeout_ends_a_container_that_writes_without_end(engine: Engine) -> None:
    done = engine.run("busybox", ["yes"], stdout=newroot.PIPE, timeout=0.1)

    assert done.fault == "timeout"
    assert done.stdout


def test_memory_that_is_used_up_is_told_from_the_kernel_s_count(engine: Engine) -> None:
    hungry = "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo ${#x}"
    done = engine.run("busybox", ["sh", "-c", hungry], capture_output=True, memory="32m")

    assert done.fault == "oom"
    assert done.returncode != 0


def test_a_signal_of_somebody_else_is_told(engine: Engine) -> None:
    process = engine.popen("busybox", ["sleep", "100"])
    os.kill(process.pid, 9)

    assert (process.wait(), process.fault) == (-9, "killed")


def test_a_signal_of_one_s_own_is_no_fault(engine: Engine) -> None:
    process = engine.popen("busybox", ["sleep", "100"])
    process.kill()

    assert (process.wait(), process.fault) == (-9, None)


def test_a_program_s_own_crash_is_no_fault_of_the_container(engine: Engine) -> None:
    done = engine.run("busybox", ["sh", "-c", "ulimit -c 0; kill -SEGV $$; exit 5"])

    # pid 1 does not hear a signal that it sends itself without a handler: pid_namespaces(7).
    assert (done.returncode, done.fault) == (5, None)


def test_a_command_that_is_not_there_is_a_result(engine: Engine) -> None:
    done = engine.run("busybox", ["nope"], capture_output=True)

    assert (done.returncode, done.fault, done.stdout) == (127, "start", b"")
    assert isinstance(done.error, StepError)
    assert "nope" in str(done.error)
    assert done.error.index == done.error.total


def test_a_command_that_cannot_be_executed_is_a_result(engine: Engine) -> None:
    done = engine.run("busybox", ["/etc/passwd"])

    assert (done.returncode, done.fault) == (126, "start")


def test_check_raises_why_it_did_not_start(engine: Engine) -> None:
    with pytest.raises(StepError):
        engine.run("busybox", ["nope"], check=True)


def test_the_result_says_what_it_used(engine: Engine) -> None:
    done = engine.run("busybox", ["sh", "-c", "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done"])

    assert 0 < done.user_seconds + done.system_seconds <= 2 * done.seconds
    assert 100_000 < done.max_rss_bytes < 50_000_000


def test_a_result_survives_pickling(engine: Engine) -> None:
    done = engine.run("busybox", ["nope"])
    again = pickle.loads(pickle.dumps(done))

    assert (again.returncode, str(again.error), again.error.errno) == (127, str(done.error), 2)


def test_the_error_of_a_step_survives_pickling(engine: Engine) -> None:
    with pytest.raises(StepError) as caught:
        engine.popen("busybox", ["nope"])
    again = pickle.loads(pickle.dumps(caught.value))

    assert str(again) == str(caught.value)
    assert (again.step, again.index, again.hint) == (
        caught.value.step, caught.value.index, caught.value.hint,
    )  # fmt: skip


# ---- where it runs ------------------------------------------------------------------------------


def test_the_environment_is_what_was_given_and_the_defaults(engine: Engine) -> None:
    os.environ["NEWROOT_TEST_SECRET"] = "1"
    try:
        said = says(engine, "env", env={"A": "b c", "EMPTY": ""}, hostname="box")
    finally:
        del os.environ["NEWROOT_TEST_SECRET"]
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    assert sorted(said.splitlines()) == [
        "A=b c", "EMPTY=", "HOME=/root", "HOSTNAME=box", f"PATH={path}",
    ]  # fmt: skip


def test_words_have_their_effect(engine: Engine) -> None:
    assert says(engine, "pwd", cwd="/made/for/this") == "/made/for/this\n"
    assert says(engine, "id", "-u", user="nobody") == "65534\n"
    assert says(engine, "id", user=1234).startswith("uid=1234 gid=0")
    assert says(engine, "hostname", hostname="box.test") == "box.test\n"
    assert says(engine, "sh", "-c", "ulimit -n", ulimits={"nofile": "100:200"}) == "100\n"


def test_settings_hold_command_and_words(engine: Engine) -> None:
    settings = replace(settings_of({"hostname": "box"}), command=("hostname",))

    assert says(engine, settings=settings) == "box\n"
    assert says(engine, "uname", "-n", settings=settings) == "box\n"
    with pytest.raises(UsageError, match="settings go without"):
        engine.run("busybox", ["true"], settings=settings, hostname="other")


def test_a_volume_keeps_what_is_written_and_begins_with_the_image_s(engine: Engine) -> None:
    words: dict[str, Any] = {"volumes": {"data": "/etc"}}
    before = says(engine, "cat", "/etc/passwd")

    assert says(engine, "cat", "/etc/passwd", **words) == before
    says(engine, "sh", "-c", "echo kept > /etc/kept", **words)
    assert says(engine, "cat", "/etc/kept", **words) == "kept\n"
    assert says(engine, "sh", "-c", "ls /etc/kept 2>&1 || true").startswith("ls:")


def test_a_bind_is_the_host_s_directory(engine: Engine, tmp_path: Path) -> None:
    says(engine, "sh", "-c", "echo x > /b/x", volumes={str(tmp_path): "/b"})

    assert (tmp_path / "x").read_text() == "x\n"
    done = engine.run("busybox", ["touch", "/b/y"], volumes=[f"{tmp_path}:/b:ro"],
                      capture_output=True)  # fmt: skip
    assert done.returncode == 1
    assert b"Read-only file system" in (done.stderr or b"")


def test_what_is_written_over_a_directory_is_thrown_away(engine: Engine, tiny_root: Path) -> None:
    engine.run(rootfs=f"{tiny_root}:O", command=["sh", "-c", "echo x > /new; rm /etc/group"])

    assert not (tiny_root / "new").exists()
    assert (tiny_root / "etc/group").exists()


def test_a_directory_as_it_is_is_written_to(engine: Engine, tiny_root: Path) -> None:
    engine.run(rootfs=str(tiny_root), command=["sh", "-c", "echo x > /new"], check=True)

    assert (tiny_root / "new").read_text() == "x\n"


def test_an_upper_on_disk_is_forgotten_too(engine: Engine) -> None:
    done = engine.run("busybox", ["sh", "-c", "echo x > /new; cat /new"], upper="disk",
                      capture_output=True)  # fmt: skip

    assert done.stdout == b"x\n"
    assert os.listdir(f"{engine.root}/containers") == []
    assert os.listdir(engine.run_root) == []


def test_a_read_only_root_has_writable_tmpfs(engine: Engine) -> None:
    script = "touch /x 2>/dev/null || echo ro; touch /tmp/x && echo rw; df /tmp | tail -1"
    said = says(engine, "sh", "-c", script, read_only=True, tmpfs="/tmp:size=1m")

    assert said.split()[:5] == ["ro", "rw", "tmpfs", "1024", "0"]


def test_a_dropped_capability_is_gone(engine: Engine) -> None:
    done = engine.run("busybox", ["chown", "1:1", "/etc/passwd"], cap_drop=["CHOWN"],
                      capture_output=True)  # fmt: skip

    assert b"Operation not permitted" in (done.stderr or b"")
    assert "CapEff:\t0000000000000000" in says(engine, "cat", "/proc/self/status", cap_drop="ALL")


def test_nothing_of_ours_is_open_in_the_container(engine: Engine) -> None:
    held = os.open("/", os.O_RDONLY)  # even one that is not close-on-exec
    os.set_inheritable(held, True)
    try:
        said = says(engine, "sh", "-c", "ls /proc/self/fd")
    finally:
        os.close(held)

    assert said.split() == ["0", "1", "2", "3"]  # 3 is ls's own


# ---- what cannot be -----------------------------------------------------------------------------


def test_an_image_that_is_not_there_is_told_with_a_hint(engine: Engine) -> None:
    with pytest.raises(NotFound, match="nosuch") as caught:
        engine.run("nosuch", ["true"])

    assert caught.value.hint


@pytest.mark.parametrize(
    "words",
    [
        {"command": ["echo", "a\0b"]},
        {"command": ["true"], "env": {"A": "a\0b"}},
        {"command": ["true"], "env": {"A\0": "b"}},
        {"command": ["true"], "cwd": "/a\0b"},
        {"command": ["true"], "hostname": "a\0b"},
        {"command": ["true"], "user": "a\0b"},
        {"command": ["true"], "volumes": {"/tmp/a\0b": "/b"}},
        {"command": ["true"], "volumes": {"/tmp": "/a\0b"}},
        {"command": ["true"], "tmpfs": "/a\0b"},
        {"command": ["true"], "entrypoint": "a\0b"},
        {"command": ["true"], "sysctls": {"net.ipv4.ip_forward": "1\0"}},
        {"command": ["true"], "device": "/dev/a\0b"},
        {"command": ["true"], "name": "a\0b"},
        {"command": ["true"], "security_opt": "mask=/a\0b"},
        {"command": ["true"], "env_file": "/a\0b"},
        {"command": ["true"], "security_opt": "seccomp=/a\0b"},
        {"command": "echo hi"},
        {"command": ["echo", 1]},
        {"command": ["echo", b"x"]},
        {"command": ["echo", None]},
        {"command": [""]},
        {"command": ["true"], "tty": True},
        {"command": ["true"], "nosuch": 1},
        {"command": ["true"], "memory": "1k"},
        {"command": ["true"], "stdout": newroot.PIPE, "capture_output": True},
        {"command": ["true"], "stdin": newroot.PIPE, "input": b""},
        {"command": ["true"], "stdout": newroot.STDOUT},
    ],
    ids=repr,
)
def test_what_cannot_be_meant_is_refused_before_anything_is_touched(
    engine: Engine, words: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        engine.run("busybox", **words)

    assert engine._launcher is None


def test_words_that_are_no_utf_8_arrive_as_they_are(engine: Engine) -> None:
    word = os.fsdecode(b"a\xff\xfeb")
    done = engine.run("busybox", ["echo", word], capture_output=True, env={"A": word})

    assert done.stdout == b"a\xff\xfeb\n"


def test_a_command_line_longer_than_the_kernel_takes_is_told(engine: Engine) -> None:
    done = engine.run("busybox", ["true", "x" * (1 << 18)])  # MAX_ARG_STRLEN is 128 KiB

    assert (done.returncode, done.fault) == (126, "start")
    assert "E2BIG" in str(done.error)


def test_a_step_that_fails_leaves_nothing(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StepError, match="a file and a directory") as caught:
        engine.run("busybox", ["true"], upper="disk", memory="64m",
                   volumes={str(tmp_path): "/etc/passwd"})  # fmt: skip

    assert caught.value.step
    assert os.listdir(f"{engine.root}/containers") == []
    assert os.listdir(engine.run_root) == []


# ---- the functions of the first minute ----------------------------------------------------------


def test_the_package_s_own_run_uses_one_engine(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEWROOT_ROOT", str(root))
    monkeypatch.setattr(newroot, "_engine", None)
    try:
        first = newroot.run("busybox", ["echo", "hi"], capture_output=True, text=True)
        with newroot.popen("busybox", ["cat"], stdin=newroot.PIPE, stdout=newroot.PIPE) as process:
            second = process.communicate(b"hello")[0]
    finally:
        newroot._default_engine().close()

    assert (first.stdout, second) == ("hi\n", b"hello")


def test_many_threads_make_one_default_engine(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEWROOT_ROOT", str(root))
    monkeypatch.setattr(newroot, "_engine", None)
    seen: set[int] = set()
    barrier = threading.Barrier(8)

    def first_use() -> None:
        barrier.wait()
        seen.add(id(newroot._default_engine()))

    threads = [threading.Thread(target=first_use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == 1
