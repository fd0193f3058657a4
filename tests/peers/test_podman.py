"""podman with newroot-oci in runc's place, in a box of its own.

What this kind of host limits is avoided by configuration: no raised limits (no CAP_SYS_RESOURCE:
``default_ulimits``), no systemd (``cgroup_manager``, ``events_logger``).
"""

from __future__ import annotations

import json
import os
import pty
from collections.abc import Iterator

import pytest
from differential.views import Runtime
from engines import Box, Done, busybox_archive, wait_until

from newroot.testing.needs import needs

# Alone: an engine with its daemons and shims is a crowd of its own.
pytestmark = [
    needs("root", "overlay", "busybox", "podman"),
    pytest.mark.timeout(120),
    pytest.mark.serial,
]

IMAGE = "localhost/busybox:latest"

CONF = """\
[containers]
default_ulimits=["nofile=4096:4096","nproc=1000:1000"]
[network]
network_config_dir="{directory}/networks"
[engine]
runtime="newroot"
cgroup_manager="cgroupfs"
events_logger="file"
init_path="/usr/bin/docker-init"
[engine.runtimes]
newroot=["{command}"]
"""

STORAGE = """\
[storage]
driver="overlay"
graphroot="{directory}/storage"
runroot="{directory}/run"
"""


class Podman:
    """The command, with a configuration of its own."""

    def __init__(self, box: Box, command: str) -> None:
        self.box = box
        for name, text in (("containers", CONF), ("storage", STORAGE)):
            path = box.directory / f"{name}.conf"
            path.write_text(text.format(directory=box.directory, command=command))
            variable = "CONTAINERS_CONF" if name == "containers" else "CONTAINERS_STORAGE_CONF"
            box.environment[variable] = str(path)
        (box.directory / "networks").mkdir()
        self("load", "--input", str(busybox_archive(box.directory / "image.tar", IMAGE)))

    def __call__(self, *words: str, check: bool = True, **options: object) -> Done:
        return self.box.run("podman", *words, check=check, **options)

    def run(self, *words: str, check: bool = True) -> Done:
        """``podman run --rm`` without a network, of words before and after the image."""
        at = words.index(IMAGE)
        flags = ["--rm", "--network=none", *words[:at]]
        return self("run", *flags, *words[at:], check=check)

    def inspect(self, name: str, template: str) -> str:
        return self("inspect", "--format", template, name).stdout.strip()


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory, newroot_oci: Runtime) -> Iterator[Podman]:
    box = Box(tmp_path_factory.mktemp("podman"), "podman")
    try:
        yield Podman(box, newroot_oci.command[0])
    finally:
        box.close()


def test_the_runtime_is_newroot(podman: Podman) -> None:
    name = podman("info", "--format", "{{.Host.OCIRuntime.Path}}").stdout

    assert name.strip().endswith(os.environ.get("NEWROOT_TEST_OCI", "newroot-oci"))


def test_run_says_what_the_process_says(podman: Podman) -> None:
    done = podman.run(IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7", check=False)

    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


@pytest.mark.parametrize(("word", "code"), [("true", 0), ("nope", 127), ("/etc", 126)])
def test_exit_codes(podman: Podman, word: str, code: int) -> None:
    assert podman.run(IMAGE, word, check=False).returncode == code


def test_death_by_a_signal(podman: Podman) -> None:
    done = podman.run("--init", IMAGE, "sh", "-c", "kill -9 $$", check=False)

    assert done.returncode == 137


def test_stdin_goes_in(podman: Podman) -> None:
    done = podman(
        "run", "--rm", "-i", "--network=none", IMAGE, "cat", stdin=None, input="through\n"
    )

    assert done.stdout == "through\n"


def test_a_life(podman: Podman) -> None:
    podman(
        "run",
        "-d",
        "--name=life",
        "--network=none",
        IMAGE,
        "sh",
        "-c",
        "echo begun; trap 'echo asked; exit 5' TERM; while :; do sleep 0.1; done",
    )
    wait_until(lambda: podman("logs", "life").stdout == "begun\n", "its first words")
    assert podman.inspect("life", "{{.State.Status}}") == "running"
    assert podman("exec", "life", "sh", "-c", "echo inside; exit 3", check=False).returncode == 3
    assert (
        podman(
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
    assert "sleep" in podman("top", "life").stdout
    podman("stop", "life")
    assert podman("logs", "life").stdout == "begun\nasked\n"
    assert podman.inspect("life", "{{.State.ExitCode}}") == "5"
    podman("start", "life")
    podman("kill", "life")
    podman("wait", "life")
    assert podman.inspect("life", "{{.State.ExitCode}}") == "137"
    podman("rm", "life")
    assert podman("ps", "-aq").stdout == ""


def test_pause_and_unpause(podman: Podman) -> None:
    podman(
        "run",
        "-d",
        "--name=paused",
        "--network=none",
        IMAGE,
        "sh",
        "-c",
        "while :; do echo x; sleep 0.01; done",
    )
    podman("pause", "paused")
    assert podman.inspect("paused", "{{.State.Status}}") == "paused"
    said = podman("logs", "paused").stdout
    assert podman("logs", "paused").stdout == said
    podman("unpause", "paused")
    wait_until(lambda: podman("logs", "paused").stdout != said, "more words")
    podman("rm", "-f", "-t0", "paused")


def test_a_pod_shares_its_network_and_names(podman: Podman) -> None:
    podman(
        "pod",
        "create",
        "--name=pod",
        "--network=none",
        "--infra-image",
        IMAGE,
        "--infra-command",
        "sleep 1000",
        "--share=net,uts,ipc",
    )
    podman("run", "-d", "--pod=pod", "--name=one", IMAGE, "sleep", "100")
    shown = "for kind in net uts ipc mnt pid; do readlink /proc/1/ns/$kind; done"
    one = podman("exec", "one", "sh", "-c", shown).stdout.split()
    two = podman("run", "--rm", "--pod=pod", IMAGE, "sh", "-c", shown).stdout.split()
    podman("exec", "one", "sh", "-c", "echo shared > /dev/shm/file")
    told = podman("run", "--rm", "--pod=pod", IMAGE, "cat", "/dev/shm/file").stdout

    assert [a == b for a, b in zip(one, two, strict=True)] == [True, True, True, False, False]
    assert told == "shared\n"
    podman("pod", "rm", "-f", "-t0", "pod")


def test_a_volume_keeps_what_is_written(podman: Podman) -> None:
    podman.run("-v", "data:/data", IMAGE, "sh", "-c", "echo kept > /data/file")

    assert podman.run("-v", "data:/data:ro", IMAGE, "cat", "/data/file").stdout == "kept\n"
    done = podman.run("-v", "data:/data:ro", IMAGE, "touch", "/data/file", check=False)
    assert "Read-only file system" in done.stderr


def test_a_terminal(podman: Podman) -> None:
    ours, theirs = pty.openpty()
    process = podman.box.start(
        "podman",
        "run",
        "--rm",
        "-it",
        "--network=none",
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


def test_a_healthcheck(podman: Podman) -> None:
    podman(
        "run",
        "-d",
        "--name=well",
        "--network=none",
        "--health-interval=disable",
        "--health-cmd",
        "test -e /tmp/well",
        IMAGE,
        "sleep",
        "100",
    )
    assert podman("healthcheck", "run", "well", check=False).returncode == 1
    podman("exec", "well", "touch", "/tmp/well")
    assert podman("healthcheck", "run", "well", check=False).returncode == 0
    podman("rm", "-f", "-t0", "well")


def test_flags_of_the_process(podman: Podman) -> None:
    status = podman.run(
        "--cap-drop=all", "--cap-add=chown", IMAGE, "grep", "CapEff", "/proc/self/status"
    )
    assert status.stdout.split() == ["CapEff:", "0000000000000001"]
    assert podman.run("--init", IMAGE, "cat", "/proc/1/comm").stdout == "podman-init\n"
    assert podman.run("--hostname=its-own", IMAGE, "hostname").stdout == "its-own\n"
    assert podman.run("--user=5:6", IMAGE, "id").stdout.startswith("uid=5(5) gid=6(6)")
    limit = podman.run(
        "--ulimit=nofile=77:88",
        "--ulimit=nproc=1000:1000",
        IMAGE,
        "sh",
        "-c",
        "ulimit -n; ulimit -Hn",
    )
    assert limit.stdout == "77\n88\n"
    assert (
        podman.run(
            "--sysctl=net.ipv4.ip_forward=1", IMAGE, "cat", "/proc/sys/net/ipv4/ip_forward"
        ).stdout
        == "1\n"
    )


def test_a_read_only_root_and_a_tmpfs(podman: Podman) -> None:
    done = podman.run("--read-only", IMAGE, "touch", "/file", check=False)

    assert "Read-only file system" in done.stderr
    assert (
        podman.run("--tmpfs=/scratch:size=64k", IMAGE, "df", "/scratch").stdout.split()[-5] == "64"
    )


def test_a_limit_of_memory_kills(podman: Podman) -> None:
    podman(
        "run",
        "--name=big",
        "--network=none",
        "--memory=32m",
        IMAGE,
        "sh",
        "-c",
        "x=$(head -c 100m /dev/zero | tr '\\0' x)",
        check=False,
    )

    assert podman.inspect("big", "{{.State.ExitCode}}") == "137"
    podman("rm", "big")


def test_stats_and_update(podman: Podman) -> None:
    podman("run", "-d", "--name=watched", "--network=none", "--memory=64m", IMAGE, "sleep", "100")
    stats = json.loads(podman("stats", "--no-stream", "--format=json", "watched").stdout)
    assert stats[0]["mem_usage"].endswith("/ 67.11MB")
    podman("update", "--memory=96m", "watched")
    assert (
        "100663296"
        in podman(
            "exec",
            "watched",
            "sh",
            "-c",
            "cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes 2>/dev/null; :",
        ).stdout
    )
    podman("rm", "-f", "-t0", "watched")


def test_a_network_of_its_own(podman: Podman) -> None:
    podman("network", "create", "--disable-dns", "net")
    podman(
        "run",
        "-d",
        "--name=server",
        "--network=net",
        IMAGE,
        "sh",
        "-c",
        "while :; do echo hello | nc -l -p 80; done",
    )
    address = podman.inspect("server", "{{.NetworkSettings.Networks.net.IPAddress}}")
    wait_until(
        lambda: (
            podman("run", "--rm", "--network=net", IMAGE, "nc", address, "80", check=False).stdout
            == "hello\n"
        ),
        "an answer over the network",
    )
    podman("rm", "-f", "-t0", "server")
    podman("network", "rm", "net")


@needs("criu")
def test_checkpoint_and_restore(podman: Podman) -> None:
    script = "n=0; while :; do n=$((n + 1)); echo $n; sleep 0.1; done"
    podman("run", "-d", "--name=frozen", "--network=none", IMAGE, "sh", "-c", script)
    wait_until(lambda: len(podman("logs", "frozen").stdout.split()) > 3, "it counts")
    podman("container", "checkpoint", "frozen")
    counted = len(podman("logs", "frozen").stdout.split())
    podman("container", "restore", "frozen")
    wait_until(lambda: len(podman("logs", "frozen").stdout.split()) > counted, "it counts on")
    numbers = [int(word) for word in podman("logs", "frozen").stdout.split()]
    assert numbers == list(range(1, len(numbers) + 1))
    podman("rm", "-f", "-t0", "frozen")


def test_nothing_is_left(podman: Podman) -> None:
    assert podman("ps", "-aq").stdout == ""
    assert podman.box.run("ps", "-e", "-o", "comm=").stdout.split() == ["docker-init", "cat", "ps"]
