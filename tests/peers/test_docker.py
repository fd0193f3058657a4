"""dockerd with newroot-oci as its default runtime, in a box of its own, with Swarm.

What this kind of host limits is avoided by flags: no raised limits (``--default-ulimit``).
"""

from __future__ import annotations

import json
import os
import pty
from collections.abc import Iterator

import pytest
from differential.views import Runtime
from engines import Box, Done, busybox_archive, wait_until

from newroot import observe
from newroot.observe.overlay import Layer
from newroot.observe.stores import foreign_layers
from newroot.testing.needs import needs

# Alone: an engine with its daemons and shims is a crowd of its own.
pytestmark = [
    needs("root", "overlay", "busybox", "docker"),
    pytest.mark.timeout(180),
    pytest.mark.serial,
]

IMAGE = "busybox:latest"


class Docker:
    """A daemon, and the command that speaks to it."""

    def __init__(self, box: Box, runtime: str) -> None:
        self.box = box
        here = box.directory
        self.socket = f"unix://{here}/socket"
        box.environment |= {"DOCKER_HOST": self.socket, "DOCKER_CONFIG": str(here)}
        box.environment["PATH"] += ":/usr/sbin:/sbin"
        (here / "daemon.json").write_text("{}")
        self.daemon = box.start(
            "dockerd",
            "--config-file",
            f"{here}/daemon.json",
            "--pidfile",
            f"{here}/pid",
            "--data-root",
            f"{here}/data",
            "--exec-root",
            f"{here}/exec",
            "--host",
            self.socket,
            "--add-runtime",
            f"newroot={runtime}",
            "--default-runtime",
            "newroot",
            "--default-ulimit",
            "nofile=1024:4096",
            "--storage-driver",
            "overlay2",
        )
        wait_until(lambda: self("version", check=False).returncode == 0, "dockerd answers", 60)
        self("load", "--input", str(busybox_archive(here / "image.tar", IMAGE)))

    def __call__(self, *words: str, check: bool = True, **options: object) -> Done:
        return self.box.run("/usr/bin/docker", *words, check=check, **options)

    def inspect(self, name: str, template: str) -> str:
        return self("inspect", "--format", template, name).stdout.strip()

    def close(self) -> None:
        """Ask the daemon to end; what does not is ended by the box."""
        pid = (self.box.directory / "pid").read_text()
        self.box.run("kill", pid)
        self.daemon.wait(timeout=60)


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory, newroot_oci: Runtime) -> Iterator[Docker]:
    box = Box(tmp_path_factory.mktemp("docker"), "docker")
    try:
        docker = Docker(box, newroot_oci.command[0])
        yield docker
        docker.close()
    finally:
        box.close()


def test_the_runtime_is_newroot(docker: Docker) -> None:
    assert docker("info", "--format", "{{.DefaultRuntime}}").stdout == "newroot\n"


def test_run_says_what_the_process_says(docker: Docker) -> None:
    done = docker("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7", check=False)

    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


@pytest.mark.parametrize(("word", "code"), [("true", 0), ("nope", 127), ("/etc", 126)])
def test_exit_codes(docker: Docker, word: str, code: int) -> None:
    assert docker("run", "--rm", IMAGE, word, check=False).returncode == code


def test_home_is_set_for_the_user(docker: Docker) -> None:
    """Docker leaves that to the runtime."""
    assert docker("run", "--rm", IMAGE, "sh", "-c", "echo $HOME").stdout == "/root\n"
    assert docker("run", "--rm", "-u", "nobody", IMAGE, "sh", "-c", "echo $HOME").stdout == "/\n"


def test_a_terminal(docker: Docker) -> None:
    ours, theirs = pty.openpty()
    process = docker.box.start(
        "/usr/bin/docker",
        "run",
        "--rm",
        "-it",
        IMAGE,
        "sh",
        "-c",
        "tty; read x; echo =$x=",
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, b"typed\n")
    said = b""
    try:
        while piece := os.read(ours, 1000):
            said += piece
    except OSError:  # EIO: the other side is closed
        pass
    os.close(ours)

    assert process.wait(timeout=30) == 0, said
    assert b"/dev/pts/0\r\n" in said
    assert b"=typed=\r\n" in said


def test_a_life(docker: Docker) -> None:
    docker(
        "run",
        "-d",
        "--name=life",
        "--network=none",
        IMAGE,
        "sh",
        "-c",
        "echo begun; trap 'echo asked; exit 5' TERM; while :; do sleep 0.1; done",
    )
    wait_until(lambda: docker("logs", "life").stdout == "begun\n", "its first words")
    assert docker("exec", "life", "sh", "-c", "echo inside; exit 3", check=False).returncode == 3
    assert (
        docker(
            "exec",
            "-e",
            "A=b",
            "-w",
            "/tmp",
            "-u",
            "12:34",
            "life",
            "sh",
            "-c",
            "echo $A $PWD $(id -u):$(id -g)",
        ).stdout
        == "b /tmp 12:34\n"
    )
    assert "sleep" in docker("top", "life").stdout
    docker("pause", "life")
    assert docker.inspect("life", "{{.State.Status}}") == "paused"
    docker("unpause", "life")
    docker("update", "--memory=64m", "--memory-swap=64m", "life")
    stats = json.loads(docker("stats", "--no-stream", "--format={{json .}}", "life").stdout)
    assert stats["MemUsage"].endswith("/ 64MiB")
    docker("stop", "life")
    assert docker("logs", "life").stdout == "begun\nasked\n"
    assert docker.inspect("life", "{{.State.ExitCode}}") == "5"
    docker("start", "life")
    docker("kill", "life")
    docker("wait", "life")
    assert docker.inspect("life", "{{.State.ExitCode}}") == "137"
    docker("rm", "life")


def test_flags_of_the_process(docker: Docker) -> None:
    run = ("run", "--rm", "--network=none")
    status = docker(
        *run, "--cap-drop=all", "--cap-add=chown", IMAGE, "grep", "CapEff", "/proc/self/status"
    )
    assert status.stdout.split() == ["CapEff:", "0000000000000001"]
    done = docker(*run, "--read-only", IMAGE, "touch", "/file", check=False)
    assert "Read-only file system" in done.stderr
    assert docker(*run, "--init", IMAGE, "cat", "/proc/1/comm").stdout == "docker-init\n"
    assert docker(*run, "--hostname=its-own", IMAGE, "hostname").stdout == "its-own\n"
    limit = docker(*run, "--ulimit=nofile=77:88", IMAGE, "sh", "-c", "ulimit -n; ulimit -Hn")
    assert limit.stdout == "77\n88\n"
    done = docker(*run, IMAGE, "mount", "-t", "tmpfs", "x", "/tmp", check=False)
    assert "denied" in done.stderr or "not permitted" in done.stderr
    # --privileged would want CAP_SYS_RESOURCE of the host.
    docker(*run, "--cap-add=sys_admin", IMAGE, "mount", "-t", "tmpfs", "x", "/tmp")
    seccomp = docker(*run, IMAGE, "grep", "Seccomp:", "/proc/self/status").stdout
    assert seccomp.split() == ["Seccomp:", "2"]


def test_a_volume_keeps_what_is_written(docker: Docker) -> None:
    run = ("run", "--rm", "--network=none")
    docker(*run, "-v", "data:/data", IMAGE, "sh", "-c", "echo kept > /data/file")

    assert docker(*run, "-v", "data:/data:ro", IMAGE, "cat", "/data/file").stdout == "kept\n"
    done = docker(*run, "-v", "data:/data:ro", IMAGE, "touch", "/data/file", check=False)
    assert "Read-only file system" in done.stderr


def test_our_own_look_knows_its_containers_and_their_layers(docker: Docker) -> None:
    """From outside of the box: process ids of this host, the daemon's store found by its layers."""
    run = ("run", "-d", "--network=none", "--name=looked-at", IMAGE, "sleep", "1000")
    container = docker(*run).stdout.strip()
    wanted = observe.EngineContainer(engine="docker", id=container)
    image = docker.inspect(IMAGE, "{{index .RootFS.Layers 0}}")

    own = [space for space in observe.namespaces() if space.container == wanted]
    assert {space.type for space in own} >= {"mnt", "pid", "ipc", "uts", "net"}
    (mounts,) = (observe.mounts(space.pid) for space in own if space.type == "mnt")
    assert mounts[0].overlay is not None
    layers = foreign_layers(mounts[0].overlay.lower)
    # Docker puts a layer of its own, with the mount points, over those of the image.
    assert Layer(diff_id=image, images=(IMAGE,)) in layers.values()
    docker("rm", "-f", "looked-at")


def test_a_restart_policy_starts_it_again(docker: Docker) -> None:
    docker(
        "run",
        "-d",
        "--name=again",
        "--network=none",
        "--restart=on-failure:2",
        IMAGE,
        "sh",
        "-c",
        "echo once more; exit 1",
    )
    wait_until(
        lambda: docker.inspect("again", "{{.State.Status}} {{.RestartCount}}") == "exited 2",
        "it has failed for the third time",
    )
    assert docker("logs", "again").stdout == "once more\n" * 3
    docker("rm", "again")


def test_two_containers_on_a_network_know_each_other_by_name(docker: Docker) -> None:
    """What compose makes of two services."""
    docker("network", "create", "net")
    docker(
        "run",
        "-d",
        "--name=server",
        "--network=net",
        "--restart=always",
        IMAGE,
        "sh",
        "-c",
        "while :; do echo hello | nc -l -p 80; done",
    )
    wait_until(
        lambda: (
            docker("run", "--rm", "--network=net", IMAGE, "nc", "server", "80", check=False).stdout
            == "hello\n"
        ),
        "an answer by name",
    )
    docker("rm", "-f", "server")
    docker("network", "rm", "net")


def test_a_service_of_swarm_has_five_replicas_again_after_one_is_killed(docker: Docker) -> None:
    docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377")
    try:
        docker(
            "service",
            "create",
            "--detach",
            "--name=five",
            "--replicas=5",
            "--restart-delay=100ms",
            IMAGE,
            "sleep",
            "1000",
        )

        def running() -> set[str]:
            return set(docker("ps", "-q", "--filter", "name=five").stdout.split())

        wait_until(lambda: len(running()) == 5, "five replicas", 60)
        before = running()
        victim = docker.inspect(min(before), "{{.State.Pid}}")
        docker.box.run("kill", "-9", victim)
        wait_until(lambda: len(running()) == 5 and running() != before, "five again", 60)
        assert docker.inspect(min(before), "{{.State.ExitCode}}") == "137"
    finally:
        docker("service", "rm", "five", check=False)
        docker("swarm", "leave", "--force")
