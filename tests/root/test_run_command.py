"""``newroot run`` end to end: the installed command, as a person types it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(root: Path, newroot_command: str) -> Run:
    """``newroot run`` with these words, to its end."""

    def run(*words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
        command = [newroot_command, "--root", root, "run", *words]
        more = {"stdin": subprocess.DEVNULL, "text": True, **more}
        if "input" in more:
            del more["stdin"]
        return subprocess.run(command, capture_output=True, **more)

    return run


@pytest.fixture
def says(run: Run) -> Callable[..., str]:
    """What a container says that ends well and without a word on stderr."""

    def says(*words: str | Path, **more: Any) -> str:
        done = run("--rm", *words, **more)
        assert (done.returncode, done.stderr) == (0, "")
        return str(done.stdout)

    return says


Says = Callable[..., str]


def containers(root: Path) -> list[str]:
    directory = root / "containers"
    return os.listdir(directory) if directory.exists() else []


# ---- how it ends --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["busybox", "true"], 0),
        (["busybox", "sh", "-c", "exit 3"], 3),
        (["--nosuchflag", "busybox", "true"], 125),
        (["--pull", "never", "nosuchimage", "true"], 125),
        (["--rootfs", "/nosuchdirectory", "true"], 125),
        (["--mount", "type=bind,source=/nosuch,target=/x", "busybox", "true"], 125),
        (["--memory", "1", "busybox", "true"], 125),
        (["busybox", "/etc/passwd"], 126),
        (["busybox", "/etc"], 126),
        (["busybox", "nosuchcommand"], 127),
        (["busybox", "/no/such/command"], 127),
        (["--init", "busybox", "sh", "-c", "kill -9 $$"], 137),
        (["--init", "busybox", "sh", "-c", "exit 4"], 4),
        (["--init", "busybox", "nosuchcommand"], 127),
        (["-t", "busybox", "nosuchcommand"], 127),
    ],
    ids=repr,
)
def test_the_exit_code_is_docker_s(run: Run, root: Path, words: list[str], code: int) -> None:
    done = run("--rm", *words)

    assert done.returncode == code, done.stderr
    if code >= 125 and code < 128:
        assert done.stderr.startswith("newroot: ")
        assert len(done.stderr.splitlines()) <= 2
    assert containers(root) == []


def started(newroot_command: str, root: Path, *words: str, **more: Any) -> subprocess.Popen[bytes]:
    """``newroot run`` whose container has said "up"."""
    process = subprocess.Popen(
        [newroot_command, "--root", root, "run", "--rm", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **more,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"up"
    return process


_LISTEN = "trap 'echo {0}; exit 9' {0}; echo up; while :; do sleep 0.01; done"


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"])
@pytest.mark.parametrize("flags", [(), ("--init",)])
def test_a_signal_reaches_the_command(
    root: Path, newroot_command: str, name: str, flags: tuple[str, ...]
) -> None:
    process = started(newroot_command, root, *flags, "busybox", "sh", "-c", _LISTEN.format(name))
    process.send_signal(getattr(signal, f"SIG{name}"))
    said, _ = process.communicate()

    assert (said, process.returncode) == (f"{name}\n".encode(), 9)


def test_ctrl_c_is_the_container_s_to_answer(root: Path, newroot_command: str) -> None:
    # As a terminal does it: to the whole foreground process group.
    process = started(newroot_command, root, "busybox", "sh", "-c", _LISTEN.format("INT"),
                      start_new_session=True)  # fmt: skip
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate()

    assert (said, process.returncode) == (b"INT\n", 9)


def test_a_command_that_a_signal_ends_is_told_by_128(root: Path, newroot_command: str) -> None:
    process = started(newroot_command, root, "--init", "busybox", "sh", "-c",
                      "echo up; exec sleep 100")  # fmt: skip
    process.send_signal(signal.SIGTERM)
    process.communicate()

    assert process.returncode == 128 + signal.SIGTERM


# ---- streams ------------------------------------------------------------------------------------


def test_standard_input_is_closed_unless_asked_for(run: Run) -> None:
    assert run("--rm", "busybox", "cat", input="x").stdout == ""
    assert run("--rm", "-i", "busybox", "cat", input="x").stdout == "x"


def test_ten_megabytes_arrive_whole(run: Run) -> None:
    data = os.urandom(10 << 20)
    done = run("--rm", "-i", "busybox", "cat", input=data, text=False)
    said: Any = done.stdout

    assert hashlib.sha256(said).digest() == hashlib.sha256(data).digest()


def test_a_reader_that_goes_away_is_no_disaster(root: Path, newroot_command: str) -> None:
    process = started(newroot_command, root, "busybox", "sh", "-c", "echo up; yes",
                      stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()

    assert process.returncode in (1, 128 + signal.SIGPIPE)  # busybox's yes says EPIPE
    assert containers(root) == []


def test_closed_streams_are_no_disaster(root: Path, newroot_command: str) -> None:
    words = f'"{newroot_command}" --root "{root}" run --rm busybox true 0<&- 1>&- 2>&-'

    assert subprocess.run(["sh", "-c", words]).returncode in (0, 125)
    assert containers(root) == []


# ---- what stays ---------------------------------------------------------------------------------


def test_without_rm_a_container_stays_with_what_it_wrote(run: Run, root: Path) -> None:
    done = run("--name", "box", "busybox", "sh", "-c", "echo kept > /kept; exit 5")
    (container_id,) = containers(root)
    directory = root / "containers" / container_id

    assert done.returncode == 5
    assert (directory / "upper/kept").read_text() == "kept\n"
    assert json.loads((directory / "record.json").read_text())["name"] == "box"
    assert json.loads((directory / "exit.json").read_text())["exitCode"] == 5
    assert json.loads((directory / "config.json").read_text())["process"]["args"][0] == "sh"
    assert os.readlink(root / "names/box") == container_id
    again = run("--name", "box", "busybox", "true")
    assert again.returncode == 125
    assert f"the name box is in use by container {container_id[:12]}" in again.stderr
    assert containers(root) == [container_id]


def test_with_rm_nothing_stays(run: Run, root: Path) -> None:
    run("--rm", "--name", "box", "-v", "/anonymous", "busybox", "touch", "/x")

    assert containers(root) == []
    assert os.listdir(root / "names") == []
    assert os.listdir(root / "run") == []
    assert not (root / "volumes").exists() or os.listdir(root / "volumes") == []


def test_a_name_is_free_again_when_its_holder_was_killed(
    run: Run, root: Path, newroot_command: str
) -> None:
    process = started(newroot_command, root, "--name", "box", "busybox", "sh", "-c",
                      "echo up; sleep 1000")  # fmt: skip
    assert run("--rm", "--name", "box", "busybox", "true").returncode == 125
    process.kill()
    process.communicate()

    # The container dies a moment later than the command that was killed.
    while run("--rm", "--name", "box", "busybox", "true").returncode == 125:
        assert (root / "names/box").is_symlink()
    assert containers(root) == []


def test_two_containers_at_once_do_not_see_each_other(
    run: Run, root: Path, newroot_command: str
) -> None:
    process = started(newroot_command, root, "busybox", "sh", "-c",
                      "echo x > /shared; echo up; sleep 1000")  # fmt: skip
    other = run("--rm", "busybox", "sh", "-c", "ls /shared; ps | wc -l")
    process.kill()
    process.communicate()

    assert "No such file" in other.stderr
    assert int(other.stdout) <= 4  # a heading, sh, ps, wc


# ---- its first process --------------------------------------------------------------------------


def test_with_init_the_first_process_is_ours_and_reaps(says: Says) -> None:
    # A grandchild whose parent has gone becomes the init's; a zombie would stay in the list.
    script = "(sleep 0 & ) ; sleep 0.2; tr '\\0' ' ' </proc/1/cmdline; echo; ps -o stat,args"
    said = says("--init", "busybox", "sh", "-c", script).splitlines()

    assert said[0].split() == ["newroot-init"]
    assert [line for line in said if line.startswith("Z")] == []


def test_without_init_the_first_process_is_the_command(says: Says) -> None:
    assert says("busybox", "sh", "-c", "echo $$") == "1\n"


# ---- files --------------------------------------------------------------------------------------


def test_a_volume_is_shared_by_name(says: Says) -> None:
    says("-v", "data:/data", "busybox", "sh", "-c", "echo x > /data/x")

    assert says("--mount", "type=volume,source=data,target=/d", "busybox", "cat", "/d/x") == "x\n"


def test_a_missing_bind_source_is_made_by_v_only(says: Says, run: Run, tmp_path: Path) -> None:
    says("-v", f"{tmp_path}/made:/m", "busybox", "touch", "/m/x")

    assert (tmp_path / "made/x").exists()
    done = run("--rm", "--mount", f"type=bind,source={tmp_path}/no,target=/m", "busybox", "true")
    assert done.returncode == 125
    assert "does not exist" in done.stderr
    assert not (tmp_path / "no").exists()


def test_read_only_binds_and_tmpfs(says: Says, tmp_path: Path) -> None:
    script = "touch /b/x 2>/dev/null || echo ro; touch /t/x && stat -f -c %T /t; stat -c %a /t"
    said = says("-v", f"{tmp_path}:/b:ro", "--tmpfs", "/t:size=1m,mode=700", "busybox", "sh", "-c",
                script)  # fmt: skip

    assert said == "ro\ntmpfs\n700\n"


@pytest.mark.parametrize("name", ["a b", "a:b", "a,b", "a\nb", "a\\b", "ä", "a=b", '"a"', "-a"])
def test_any_path_can_be_bound_and_be_a_root(
    run: Run, says: Says, tmp_path: Path, tiny_root: Path, name: str
) -> None:
    strange = tmp_path / name
    strange.mkdir()
    (strange / "f").write_text("here\n")
    csv = '"' + f"source={strange}".replace('"', '""') + '"'
    escaped = str(strange).replace("\\", "\\\\").replace(":", "\\:")

    mount = f"type=bind,{csv},target=/m"
    assert says("--mount", mount, "busybox", "cat", "/m/f") == "here\n"
    assert says("-v", f"{escaped}:/m", "busybox", "cat", "/m/f") == "here\n"
    root = tmp_path / f"root {name}"
    tiny_root.rename(root)
    for words in (f"{root}:O", str(root)):
        done = run("--rm", "--rootfs", words, "echo", "hi")
        assert (done.stdout, done.stderr) == ("hi\n", "")


def archive_of_layers(path: Path, base: Path, count: int) -> None:
    """A docker-archive: *base*, and *count* layers that each replace /top and add a file."""
    layers = [_tar(lambda tar: tar.add(base, arcname="."))]
    layers += [_tar(partial(_add_layer, n)) for n in range(count)]
    digests = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": digests},
    }
    names = [f"{n}/layer.tar" for n in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["tall:latest"], "Layers": names}]
    with tarfile.open(path, "w") as tar:
        _add(tar, "manifest.json", json.dumps(manifest).encode())
        _add(tar, "config.json", json.dumps(config).encode())
        for name, layer in zip(names, layers, strict=True):
            _add(tar, name, layer)


def _tar(fill: Callable[[tarfile.TarFile], object]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        fill(tar)
    return made.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _add_layer(n: int, tar: tarfile.TarFile) -> None:
    _add(tar, f"layers/{n}", b"")
    _add(tar, "top", f"{n}\n".encode())


def test_more_lower_layers_than_mount_2_has_room_for(
    run: Run, tmp_path: Path, tiny_root: Path, newroot_command: str
) -> None:
    archive_of_layers(tmp_path / "tall.tar", tiny_root, 150)
    own = str(tmp_path / "own root")
    load = [newroot_command, "--root", own, "load", "-i", str(tmp_path / "tall.tar")]
    subprocess.run(load, check=True, stdout=subprocess.DEVNULL)
    command = [newroot_command, "--root", own, "run", "tall", "sh", "-c", "ls layers|wc -l;cat top"]
    done = subprocess.run(command, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("150\n149\n", "")


# ---- who and where ------------------------------------------------------------------------------


def test_process_flags(says: Says, run: Run, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# comment\nA=from file\nB=b\n")
    env = {**os.environ, "HANDED": "on"}

    assert says("--hostname", "box", "busybox", "sh", "-c", "hostname; cat /etc/hostname") == (
        "box\nbox\n"
    )
    assert says("-u", "nobody", "busybox", "id", "-un") == "nobody\n"
    assert says("-u", "12:34", "busybox", "sh", "-c", "id -u; id -g") == "12\n34\n"
    assert says("-w", "/not/there/yet", "busybox", "pwd") == "/not/there/yet\n"
    assert says("-e", "A=1", "-e", "HANDED", "-e", "NOT_SET", "busybox", "sh", "-c",
                "echo $A $HANDED ${NOT_SET-none}", env=env) == "1 on none\n"  # fmt: skip
    assert says("--env-file", tmp_path / "env", "-e", "B=2", "busybox", "sh", "-c",
                "echo $A $B") == "from file 2\n"  # fmt: skip
    assert says("--entrypoint", "echo", "busybox", "hi") == "hi\n"
    assert says("--stop-signal", "SIGINT", "busybox", "echo", "hi") == "hi\n"
    assert run("--rm", "-u", "nosuch", "busybox", "true").returncode == 125


def test_a_read_only_root(says: Says) -> None:
    script = "touch /x 2>/dev/null || echo ro; touch /dev/shm/x && echo rw"

    assert says("--read-only", "busybox", "sh", "-c", script) == "ro\nrw\n"


def status(says: Says, *flags: str) -> dict[str, str]:
    lines = says(*flags, "busybox", "cat", "/proc/self/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_privileges(says: Says) -> None:
    plain, privileged = status(says), status(says, "--privileged")

    assert (plain["CapEff"], plain["Seccomp"]) == ("00000000a80425fb", "2")
    assert privileged["Seccomp"] == "0"
    assert int(privileged["CapEff"], 16) == int(privileged["CapBnd"], 16) > int(plain["CapEff"], 16)
    assert status(says, "--security-opt", "seccomp=unconfined")["Seccomp"] == "0"
    assert status(says, "--security-opt", "no-new-privileges")["NoNewPrivs"] == "1"
    assert int(status(says, "--cap-drop", "ALL", "--cap-add", "CHOWN")["CapEff"], 16) == 1
    assert says("--privileged", "busybox", "sh", "-c", "mount -t tmpfs t /mnt 2>&1; mkdir -p /m && "
                "mount -t tmpfs t /m && echo mounted").endswith("mounted\n")  # fmt: skip


def test_masks(says: Says, tmp_path: Path) -> None:
    count = "wc -c < /proc/keys"

    assert int(says("busybox", "sh", "-c", count)) == 0
    masked = says("--security-opt", "mask=/etc/passwd", "busybox", "cat", "/etc/passwd")
    assert masked == ""
    opened = says("--security-opt", "unmask=ALL", "busybox", "grep", "-c", " /proc", "/proc/mounts")
    assert opened == "1\n"


def test_a_seccomp_profile_of_one_s_own(run: Run, tmp_path: Path) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    }
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    done = run("--rm", "--security-opt", f"seccomp={tmp_path}/profile.json", "busybox", "mkdir",
               "/x")  # fmt: skip

    assert "No space left on device" in done.stderr
    missing = run("--rm", "--security-opt", "seccomp=/no/such.json", "busybox", "true")
    assert (missing.returncode, len(missing.stderr.splitlines())) == (125, 1)


def test_namespaces_of_the_host(says: Says) -> None:
    for flag, kind in (("network", "net"), ("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"),
                       ("cgroupns", "cgroup")):  # fmt: skip
        ours = os.readlink(f"/proc/self/ns/{kind}")
        link = f"/proc/self/ns/{kind}"
        assert says(f"--{flag}", "host", "busybox", "readlink", link).strip() == ours
        assert says("busybox", "readlink", link).strip() != ours


def test_only_loopback_is_there_without_a_network(says: Says) -> None:
    assert says("busybox", "ls", "/sys/class/net") == "lo\n"
    assert says("busybox", "ping", "-c1", "-W5", "127.0.0.1").count("1 packets received") == 1


def test_sysctl_device_and_ulimit(says: Says) -> None:
    assert says("--sysctl", "net.ipv4.ip_forward=1", "busybox", "cat",
                "/proc/sys/net/ipv4/ip_forward") == "1\n"  # fmt: skip
    assert says("--device", "/dev/null:/dev/mine:rwm", "busybox", "sh", "-c",
                "echo x > /dev/mine; stat -c '%t %T' /dev/mine") == "1 3\n"  # fmt: skip
    assert says("--ulimit", "nofile=64:128", "busybox", "sh", "-c", "ulimit -n; ulimit -Hn") == (
        "64\n128\n"
    )


def test_limits_are_in_force(run: Run, says: Says) -> None:
    hungry = "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo ${#x}"
    assert run("--rm", "--memory", "32m", "busybox", "sh", "-c", hungry).stdout == ""
    forks = run("--rm", "--pids-limit", "5", "busybox", "sh", "-c",
                "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; echo not reached")  # fmt: skip
    assert "fork" in forks.stderr
    assert says("--cpuset-cpus", "0", "busybox", "nproc") == "1\n"


def test_cpus_are_throttled(root: Path) -> None:
    from newroot.engine import Engine

    with Engine(root) as engine:
        spin = ["sh", "-c", "while :; do :; done"]
        done = engine.run("busybox", spin, cpus=0.1, timeout=1.0)

    assert done.fault == "timeout"
    assert done.user_seconds + done.system_seconds < 0.35


# ---- the switch ---------------------------------------------------------------------------------


@pytest.mark.parametrize("switch", ["pivot", "move", "chroot"])
def test_every_switch_gives_the_same_root(run: Run, switch: str, tmp_path: Path) -> None:
    script = "ls /; cat /etc/hostname; mkdir /x && echo made; cat /b/f; readlink /proc/self/cwd"
    (tmp_path / "f").write_text("bound\n")
    done = run("--rm", "--switch", switch, "--hostname", "box", "-v", f"{tmp_path}:/b", "busybox",
               "sh", "-c", script)  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-4:] == ["box", "made", "bound", "/"]
    if switch == "chroot":
        assert "newroot: warning: --switch chroot is weak" in done.stderr
    else:
        assert done.stderr == ""
