"""``--userns private``: root in the container is nobody on the host, and owns what it writes."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import textwrap
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from newroot.engine import Engine
from newroot.errors import StepError, UnsupportedError, UsageError
from newroot.isolation.id_ranges import first_range
from newroot.linux.mountinfo import read_mounts
from newroot.testing import needs

pytestmark = needs("root", "overlay", "busybox")


def _say(engine: Engine, script: str, **words: Any) -> str:
    where = () if "rootfs" in words else ("busybox",)
    command = ["sh", "-c", script]
    result = engine.run(*where, command=command, userns="private", stdout=PIPE, text=True, **words)
    assert result.returncode == 0
    return str(result.stdout)


@pytest.fixture(params=["memory", "disk", "directory", "throwaway"])
def kind(request: pytest.FixtureRequest, tiny_root: Path) -> dict[str, Any]:
    """Each kind of root that a container may have."""
    if request.param in ("memory", "disk"):
        return {"upper": request.param}
    return {"rootfs": f"{tiny_root}{':O' if request.param == 'throwaway' else ''}"}


def test_the_ids_inside_are_high_ones_outside(engine: Engine) -> None:
    ours = first_range()
    expected = ["0", str(ours.uid), str(ours.size)]
    script = "cat /proc/self/uid_map; id -u; id -g"

    said = _say(engine, script).split()

    assert said == [*expected, "0", "0"]
    with engine.popen("busybox", ["sleep", "100"], userns="private") as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.kill()
    assert f"Uid:\t{ours.uid}\t" in status
    assert f"Gid:\t{ours.gid}\t" in status


def test_files_of_the_image_belong_to_root_inside(engine: Engine, kind: dict[str, Any]) -> None:
    said = _say(engine, "stat -c %u:%g / /bin /bin/busybox /etc/hosts /dev /dev/shm /tmp", **kind)

    assert set(said.split()) == {"0:0"}


def test_what_is_written_belongs_to_the_writer(engine: Engine, kind: dict[str, Any]) -> None:
    script = (
        "touch /a && chown 7:8 /a && echo x >>/etc/passwd && mkdir /d && mv /d /e && rm -r /var &&"
        " chmod 4755 /a && stat -c %u:%g:%a /a /etc/passwd /e; test ! -e /var"
    )

    said = _say(engine, script, **kind)

    assert said.split() == ["7:8:4755", "0:0:644", "0:0:755"]


def test_a_directory_s_files_are_on_the_disk_as_they_are_inside(
    engine: Engine, tiny_root: Path
) -> None:
    _say(engine, "touch /a && chown 7:8 /a", rootfs=str(tiny_root))
    status = os.stat(tiny_root / "a")

    assert (status.st_uid, status.st_gid) == (7, 8)


def test_an_upper_s_files_are_on_the_disk_as_they_are_inside(engine: Engine) -> None:
    engine.run(
        "busybox",
        ["sh", "-c", "touch /a && chown 7:8 /a"],
        userns="private",
        upper="disk",
        rm=False,
    )
    (found,) = engine.containers()
    status = os.stat(f"{engine.storage.directory(found.id)}/upper/a")

    assert (status.st_uid, status.st_gid) == (7, 8)


def test_a_volume_is_usable_and_keeps_the_ids_of_containers(engine: Engine) -> None:
    _say(engine, "echo one >/v/a && chown 5:6 /v/a && mkdir /v/d", volumes={"data": "/v"})
    again = _say(
        engine, "cat /v/a; stat -c %u:%g /v/a /v/d; echo two >>/v/a", volumes={"data": "/v"}
    )
    result = engine.run(
        "busybox", ["stat", "-c", "%u:%g", "/v/a"], volumes={"data": "/v"}, stdout=PIPE
    )

    assert again.split() == ["one", "5:6", "0:0"]
    assert result.stdout == b"5:6\n"


def test_a_bind_shows_the_host_s_files_as_nobody_s(engine: Engine, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("of root\n")
    (tmp_path / "file").chmod(0o600)
    script = (
        "stat -c %u:%g /b/file; cat /b/file 2>/dev/null; touch /b/x 2>/dev/null && echo made; true"
    )

    said = _say(engine, script, volumes=[f"{tmp_path}:/b"])

    assert said.split() == ["65534:65534"], "ROOT INSIDE IS ROOT ON THE HOST"


def test_a_set_user_id_program_gives_no_root_of_the_host(engine: Engine, tmp_path: Path) -> None:
    """The image has a set-user-ID root copy of id; on the host only root could write the file."""
    (tmp_path / "secret").write_text("of the host\n")
    (tmp_path / "secret").chmod(0o600)
    script = (
        "cp /bin/busybox /bin/su-box && chmod 4755 /bin/su-box && chmod 711 /tmp &&"
        " exec /bin/su-box cat /b/secret /proc/1/environ"
    )
    result = engine.run(
        "busybox",
        ["sh", "-c", script],
        userns="private",
        volumes=[f"{tmp_path}:/b"],
        capture_output=True,
    )

    assert b"of the host" not in (result.stdout or b""), "A SET-USER-ID PROGRAM IS ROOT ON THE HOST"


@pytest.mark.parametrize("caps", [{}, {"cap_add": ["ALL"], "security_opt": ["seccomp=unconfined"]}])
def test_settings_of_the_kernel_are_not_the_container_s_to_change(
    engine: Engine, caps: dict[str, Any]
) -> None:
    before = Path("/proc/sys/kernel/panic").read_text()
    script = (
        "mount -o remount,rw /proc/sys 2>/dev/null; umount /proc/sys 2>/dev/null;"
        "for f in kernel/panic kernel/core_pattern vm/drop_caches;"
        ' do (echo 1 >"/proc/sys/$f") 2>/dev/null && echo "$f"; done; true'
    )

    assert _say(engine, script, **caps) == ""
    assert Path("/proc/sys/kernel/panic").read_text() == before


@pytest.mark.parametrize(
    "change",
    [
        "mount -o remount,bind,rw /b && touch /b/x",
        "umount /b && touch /b/x",
        "mount -o remount,bind,dev /b",
        "mount -o remount,bind,dev /",
    ],
)
def test_all_capabilities_do_not_unlock_what_was_mounted_outside(
    engine: Engine, tmp_path: Path, change: str
) -> None:
    tmp_path.chmod(0o777)
    source = tmp_path / "source"
    source.mkdir(mode=0o777)
    source.chmod(0o777)
    result = engine.run(
        "busybox",
        ["sh", "-c", f"{change} && grep -E ' /b? ' /proc/self/mountinfo"],
        userns="private",
        volumes=[f"{source}:/b:ro"],
        cap_add=["ALL"],
        security_opt=["seccomp=unconfined"],
        capture_output=True,
        text=True,
    )

    assert result.returncode != 0 or "nodev" in str(result.stdout), "A LOCKED MOUNT WAS CHANGED"
    assert os.listdir(source) == []


def test_no_node_can_be_made_and_the_standard_ones_work(engine: Engine) -> None:
    script = (
        "mknod /dev/z c 1 5 2>/dev/null && echo made; head -c3 /dev/zero | wc -c;"
        " echo x >/dev/null; head -c1 /dev/urandom | wc -c"
    )

    assert _say(engine, script, cap_add=["ALL"]).split() == ["3", "1"]


def test_a_capability_inside_is_one_over_its_own_namespaces_only(engine: Engine) -> None:
    script = "ip link set lo down && hostname changed && hostname; chroot / true && echo in"

    assert _say(engine, script, cap_add=["ALL"]) == "changed\nin\n"
    assert os.uname().nodename != "changed"


def test_limits_and_sysctls_are_set_by_who_may(engine: Engine) -> None:
    script = "ulimit -n; cat /proc/sys/net/ipv4/ip_forward; cat /proc/self/cgroup"

    said = _say(
        engine, script, ulimit=["nofile=77:88"], sysctl=["net.ipv4.ip_forward=1"], pids_limit=50
    )

    assert said.split()[:2] == ["77", "1"]
    assert "pids:/\n" in said or "0::/\n" in said


def test_a_terminal_is_had(engine: Engine) -> None:
    with engine.popen(
        "busybox", ["sh", "-c", "tty; id -u; stat -c %u /dev/console"], userns="private", tty=True
    ) as process:
        assert process.terminal_fd is not None
        said = b""
        try:
            while True:
                said += os.read(process.terminal_fd, 100)
        except OSError:  # EIO: nobody has its other end any more
            process.wait()

    assert said.split() == [b"/dev/pts/0", b"0", b"0"]


def test_two_at_once_have_different_ids(engine: Engine) -> None:
    seen = []
    processes = [engine.popen("busybox", ["sleep", "100"], userns="private") for _ in range(3)]
    for process in processes:
        seen.append(Path(f"/proc/{process.pid}/uid_map").read_text())
        process.kill()
        process.wait()

    assert len(set(seen)) == 3
    with engine.popen("busybox", ["sleep", "100"], userns="private") as process:
        again = Path(f"/proc/{process.pid}/uid_map").read_text()
        process.kill()
    assert again == seen[0]


def test_many_layers_are_mapped(engine: Engine, tmp_path: Path) -> None:
    from newroot.container.source import Source

    engine.run("busybox", ["true"])
    layers = engine._sources["busybox"][1].lower
    more = []
    for n in range(150):
        (tmp_path / f"l{n}").mkdir()
        (tmp_path / f"l{n}" / f"f{n}").touch()
        more.append(str(tmp_path / f"l{n}"))
    engine._sources["many"] = (
        (engine._sources["busybox"][0]),
        Source(lower=(*more, *layers), name="many", key="many"),
    )

    result = engine.run("many", ["stat", "-c", "%u", "/f0", "/f149"], userns="private", stdout=PIPE)

    assert result.stdout == b"0\n0\n"


def test_a_source_that_cannot_be_mapped_says_so(engine: Engine, tmp_path: Path) -> None:
    """sysfs, like 9p and most of FUSE, does not map ids."""
    with pytest.raises(StepError, match="does not map ids") as caught:
        _say(engine, "true", rootfs="/sys/kernel")

    assert caught.value.hint is not None
    assert "--userns host" in caught.value.hint


@pytest.mark.parametrize("switch", ["chroot", "pivot"])
def test_the_root_is_entered_by(engine: Engine, switch: str) -> None:
    assert _say(engine, "id -u", switch=switch) == "0\n"


def test_nothing_is_left(engine: Engine) -> None:
    _say(engine, "true")
    launcher = engine._get_launcher().pid
    before = len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{launcher}/fd"))
    for _ in range(3):
        _say(engine, "true", volumes={"data": "/v"}, upper="disk")
    with pytest.raises(StepError):  # outside
        _say(engine, "true", rootfs="/sys/kernel")
    with pytest.raises(StepError):  # inside
        _say(engine, "true", tmpfs="/bin/busybox/x")
    with pytest.raises(UsageError):
        _say(engine, "true", pid="host")
    after = len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{launcher}/fd"))

    assert after == before
    assert Path(f"/proc/{launcher}/task/{launcher}/children").read_text() == ""
    assert os.listdir(engine.run_root) == os.listdir(f"{engine.root}/containers") == []


def test_kill_9_of_the_owner_leaves_nothing(root: Path, tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys
        from newroot.engine import Engine
        engine = Engine(sys.argv[1])
        process = engine.popen("busybox", ["sleep", "1000"], userns="private")
        print(process.pid, engine._get_launcher().pid, flush=True)
        sys.stdin.read()
    """)
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(root)], stdin=PIPE, stdout=PIPE, text=True
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner:
        pids = map(int, owner.stdout.readline().split())
        fds = [os.pidfd_open(pid) for pid in pids]
        owner.kill()
        ended = [select.select([fd], [], [], 10)[0] for fd in fds]
        for fd in fds:
            os.close(fd)
    with Engine(root) as engine:
        said = _say(engine, "cat /proc/self/uid_map")

    assert all(ended), "THE CONTAINER OUTLIVED ITS OWNER"
    assert said.split()[1] == str(first_range().uid), "THE RANGE OF A DEAD CONTAINER IS STILL TAKEN"
    assert not [m for m in read_mounts() if str(root) in m.mount_point]


# ---- bundles ----


def _bundle(directory: Path, rootfs: Path, script: str, **linux: Any) -> dict[str, Any]:
    spaces = [
        {"type": kind} for kind in ("user", "mount", "pid", "ipc", "uts", "network", "cgroup")
    ]
    ids = [{"containerID": 0, "hostID": 300000, "size": 65536}]
    return {
        "ociVersion": "1.2.0",
        "root": {"path": str(rootfs)},
        "process": {"args": ["/bin/sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
            {
                "destination": "/d",
                "type": "bind",
                "source": str(directory / "d"),
                "options": ["bind"],
            },
        ],
        "linux": {"namespaces": spaces, "uidMappings": ids, "gidMappings": ids} | linux,
    }


def _run_bundle(directory: Path, config: dict[str, Any]) -> str:
    (directory / "d").mkdir(exist_ok=True)
    (Path(config["root"]["path"]) / "d").mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    program = os.path.join(os.path.dirname(sys.executable), "newroot-oci")
    done = subprocess.run(
        [
            program,
            "--root",
            directory / "state",
            "run",
            "--bundle",
            directory,
            f"newroot-test-{os.getpid()}",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_bundle_s_root_is_as_it_is(tmp_path: Path, tiny_root: Path) -> None:
    """Whoever makes a bundle has shifted it: runc maps no root either."""
    os.chown(tiny_root / "tmp", 300005, 300006)
    config = _bundle(tmp_path, tiny_root, "cat /proc/self/uid_map; stat -c %u:%g /tmp /bin")

    assert _run_bundle(tmp_path, config).split() == ["0", "300000", "65536", "5:6", "65534:65534"]


@pytest.mark.parametrize("own", [False, True], ids=["container-s", "mount-s-own"])
def test_a_bundle_s_mount_may_be_mapped(tmp_path: Path, tiny_root: Path, own: bool) -> None:
    config = _bundle(tmp_path, tiny_root, "stat -c %u:%g /d; touch /d/new")
    config["mounts"][-1]["options"] = ["bind", "idmap"]
    if own:
        maps = [{"containerID": 0, "hostID": 300000, "size": 10}]
        config["mounts"][-1] |= {"uidMappings": maps, "gidMappings": maps}

    assert _run_bundle(tmp_path, config).split() == ["0:0"]
    assert os.stat(tmp_path / "d/new").st_uid == 0


def test_a_mount_may_be_mapped_without_a_user_namespace(tmp_path: Path, tiny_root: Path) -> None:
    config = _bundle(tmp_path, tiny_root, "stat -c %u:%g /d")
    config["linux"] = {"namespaces": config["linux"]["namespaces"][1:]}
    maps = [{"containerID": 0, "hostID": 40, "size": 10}]
    config["mounts"][-1] |= {"uidMappings": maps, "gidMappings": maps}

    assert _run_bundle(tmp_path, config) == "40:40\n"


def test_a_bundle_may_join_a_user_namespace(tmp_path: Path, tiny_root: Path) -> None:
    holder = subprocess.Popen(
        ["unshare", "-U", "sh", "-c", "echo; exec cat"], stdin=PIPE, stdout=PIPE
    )
    assert holder.stdout is not None
    with holder:
        holder.stdout.readline()
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{holder.pid}/{name}").write_text("0 400000 65536\n")
        expected = os.readlink(f"/proc/{holder.pid}/ns/user")
        config = _bundle(tmp_path, tiny_root, "readlink /proc/self/ns/user; id -u; ls /d")
        config["linux"]["namespaces"][0]["path"] = f"/proc/{holder.pid}/ns/user"
        del config["linux"]["uidMappings"], config["linux"]["gidMappings"]
        said = _run_bundle(tmp_path, config)
        holder.communicate()

    assert said.split() == [expected, "0"]


def test_fifty_starts_at_once_never_share_an_id(engine: Engine) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def start(number: int) -> Any:
        return engine.popen("busybox", ["sleep", "100"], userns="auto")

    with ThreadPoolExecutor(8) as crew:
        processes = list(crew.map(start, range(50)))
    try:
        maps = [Path(f"/proc/{p.pid}/uid_map").read_text().split() for p in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.close()

    assert len({outside for _, outside, _ in maps}) == 50


def test_ids_are_shared_with_a_container_that_runs(engine: Engine) -> None:
    show = "head -1 /proc/self/uid_map; touch /made; stat -c %u:%g /made /bin"
    box = engine.create("busybox", ["sleep", "100"], name="box", userns="auto")
    engine.start(box)
    try:
        theirs = engine.exec("box", ["head", "-1", "/proc/self/uid_map"]).stdout
        joined = engine.run(
            "busybox", ["sh", "-c", show], userns="container:box", capture_output=True
        )
        other = _say(engine, "head -1 /proc/self/uid_map")
    finally:
        engine.remove_container(box, force=True)

    assert joined.stderr == b""
    assert joined.stdout == (theirs or b"") + b"0:0\n0:0\n"
    assert other.encode() != theirs


@pytest.mark.parametrize("mode", ["keep-id", "nomap"])
def test_root_has_no_id_to_keep(engine: Engine, mode: str) -> None:
    with pytest.raises(UnsupportedError, match="for root"):
        engine.run("busybox", ["true"], userns=mode)
