"""containerd's ctr with newroot-oci as its runc binary, in a box: what Kubernetes starts with."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from differential.views import Runtime
from engines import Box, Done, busybox_archive, wait_until

from newroot.testing.needs import needs

# Alone: an engine with its daemons and shims is a crowd of its own.
pytestmark = [
    needs("root", "overlay", "busybox", "containerd"),
    pytest.mark.timeout(120),
    pytest.mark.serial,
]

IMAGE = "docker.io/library/busybox:latest"

CONF = """\
version = 2
root = "{here}/root"
state = "{here}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{here}/socket"
"""


class Containerd:
    """A daemon, and the command that speaks to it."""

    def __init__(self, box: Box, runtime: str) -> None:
        self.box, self.runtime = box, runtime
        here = box.directory
        (here / "config.toml").write_text(CONF.format(here=here))
        box.environment["CONTAINERD_ADDRESS"] = f"{here}/socket"
        self.daemon = box.start("containerd", "--config", f"{here}/config.toml")
        wait_until(lambda: self("version", check=False).returncode == 0, "containerd answers")
        self("images", "import", str(busybox_archive(here / "image.tar", IMAGE)))

    def __call__(self, *words: str, check: bool = True, **options: object) -> Done:
        return self.box.run("ctr", *words, check=check, **options)

    def run(self, *words: str, check: bool = True, **options: object) -> Done:
        """``ctr run`` by our binary."""
        binary = ("--runtime", "io.containerd.runc.v2", "--runc-binary", self.runtime)
        return self("run", *binary, *words, check=check, **options)

    def status(self, name: str) -> str:
        for line in self("tasks", "ls").stdout.splitlines():
            if line.split()[0] == name:
                return line.split()[2]
        return "none"


@pytest.fixture(scope="module")
def containerd(
    tmp_path_factory: pytest.TempPathFactory, newroot_oci: Runtime
) -> Iterator[Containerd]:
    box = Box(tmp_path_factory.mktemp("containerd"), "containerd")
    try:
        yield Containerd(box, newroot_oci.command[0])
    finally:
        box.close()


def test_run_says_what_the_process_says(containerd: Containerd) -> None:
    words = ("sh", "-c", "echo out; echo err >&2; exit 7")
    done = containerd.run("--rm", IMAGE, "said", *words, check=False)

    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


def test_an_error_is_told_in_the_runtime_s_words(containerd: Containerd) -> None:
    done = containerd.run("--rm", IMAGE, "wrong", "/no/such/command", check=False)

    assert done.returncode != 0
    assert "/no/such/command" in done.stderr


def test_a_life(containerd: Containerd) -> None:
    script = "trap 'exit 5' TERM; while :; do sleep 0.1; done"
    containerd.run(
        "-d", "--env", "A=b", "--memory-limit", "67108864", IMAGE, "life", "sh", "-c", script
    )
    assert containerd.status("life") == "RUNNING"
    told = containerd(
        "tasks", "exec", "--exec-id", "one", "life", "sh", "-c", "echo $A; exit 3", check=False
    )
    assert (told.stdout, told.returncode) == ("b\n", 3)
    metrics = json.loads(containerd("tasks", "metrics", "--format=json", "life").stdout)
    assert "67108864" in json.dumps(metrics)
    assert len(containerd("tasks", "ps", "life").stdout.splitlines()) >= 2
    containerd("tasks", "pause", "life")
    assert containerd.status("life") == "PAUSED"
    containerd("tasks", "resume", "life")
    containerd("tasks", "kill", "--signal", "SIGTERM", "life")
    wait_until(lambda: containerd.status("life") == "STOPPED", "it has ended")
    containerd("tasks", "rm", "life", check=False)
    containerd("containers", "rm", "life")
    assert containerd("containers", "ls", "-q").stdout == ""


def test_kill_9_of_the_process_ends_the_task(containerd: Containerd) -> None:
    containerd.run("-d", IMAGE, "victim", "sleep", "1000")
    pid = next(line.split()[1] for line in containerd("tasks", "ls").stdout.splitlines()[1:])
    containerd.box.run("kill", "-9", pid)
    wait_until(lambda: containerd.status("victim") == "STOPPED", "the task has ended")
    done = containerd("tasks", "rm", "victim", check=False)
    assert "137" in done.stderr + done.stdout or done.returncode in (0, 137)
    containerd("containers", "rm", "victim")


def test_flags_of_the_process(containerd: Containerd) -> None:
    flags = ("--rm", "--read-only", "--cwd", "/tmp", "--cap-drop", "CAP_CHOWN")
    script = "pwd; grep CapEff /proc/self/status; touch /x"
    done = containerd.run(*flags, IMAGE, "flags", "sh", "-c", script, check=False)

    assert done.stdout == "/tmp\nCapEff:\t00000000a80425fa\n"
    assert "Read-only file system" in done.stderr
