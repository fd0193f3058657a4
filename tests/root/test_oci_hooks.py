"""Hooks where a container's life is several commands: create, start, kill, delete."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from newroot.testing import needs

pytestmark = [needs("root"), pytest.mark.timeout(90)]

Oci = Callable[..., "subprocess.CompletedProcess[str]"]
Words = list[str]


@pytest.fixture
def oci(bundle: Any) -> Iterator[Oci]:
    """``newroot-oci`` with a state of its own; what is left of ``case`` goes at the end."""
    program = os.path.join(sysconfig.get_path("scripts"), "newroot-oci")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        # Files, not pipes: the container would hold the other ends.
        outputs = [bundle.directory / name for name in ("stdout", "stderr")]
        with outputs[0].open("w") as out, outputs[1].open("w") as errors:
            done = subprocess.run(
                [program, "--root", str(bundle.directory / "state"), *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                check=False,
            )
        return subprocess.CompletedProcess(
            words, done.returncode, outputs[0].read_text(), outputs[1].read_text()
        )

    def create() -> subprocess.CompletedProcess[str]:
        (bundle.directory / "config.json").write_text(json.dumps(bundle.config))
        return run("create", "--bundle", str(bundle.directory), "case")

    def oci(*words: str) -> subprocess.CompletedProcess[str]:
        return create() if words == ("create",) else run(*words)

    yield oci
    run("delete", "--force", "case")


def mark(bundle: Any, point: str, *then: str) -> dict[str, Any]:
    """A hook that writes its state to a file of its point's name, and then does more."""
    rootfs = bundle.directory / "rootfs"
    place = "" if point == "startContainer" else str(rootfs)
    shell = "/bin/sh" if point == "startContainer" else str(rootfs / "bin/sh")
    env = [f"PATH={place}/bin"]
    return {
        "path": shell,
        "args": ["sh", "-c", f"cat >{place}/{point}; {' '.join(then)}"],
        "env": env,
    }


def told(bundle: Any) -> dict[str, Any]:
    """What the hooks that ran were told, in no order."""
    rootfs: Path = bundle.directory / "rootfs"
    points = ("prestart createRuntime createContainer startContainer poststart poststop").split()
    return {p: json.loads((rootfs / p).read_text()) for p in points if (rootfs / p).exists()}


@pytest.fixture
def hooked(bundle: Any) -> Any:
    points = ("prestart createRuntime createContainer startContainer poststart poststop").split()
    bundle.config["hooks"] = {point: [mark(bundle, point)] for point in points}
    bundle.config["process"]["args"] = ["sleep", "60"]
    return bundle


def test_each_command_runs_its_own(hooked: Any, oci: Oci) -> None:
    assert oci("create").returncode == 0
    assert set(told(hooked)) == {"prestart", "createRuntime", "createContainer"}
    pid = json.loads(oci("state", "case").stdout)["pid"]
    done = oci("start", "case")
    assert done.returncode == 0, done.stderr
    before = told(hooked)
    assert oci("kill", "case", "KILL").returncode == 0
    assert "poststop" not in told(hooked)
    assert oci("delete", "--force", "case").returncode == 0

    after = told(hooked)
    common = {"ociVersion": "1.3.0", "id": "case", "bundle": str(hooked.directory)}
    assert set(before) == set(after) - {"poststop"}
    for point, status, seen_pid in (
        ("prestart", "creating", pid),
        ("createRuntime", "creating", pid),
        ("createContainer", "creating", 1),
        ("startContainer", "created", 1),
        ("poststart", "running", pid),
    ):
        assert after[point] == {**common, "status": status, "pid": seen_pid}
    assert after["poststop"] == {**common, "status": "stopped"}


@pytest.mark.parametrize("point", ["prestart", "createRuntime", "createContainer"])
def test_a_failure_at_create_leaves_nothing_and_poststop_is_run(
    hooked: Any, oci: Oci, point: str
) -> None:
    hooked.config["hooks"][point] = [mark(hooked, point, "echo said; exit 5")]
    done = oci("create")

    assert done.returncode == 1
    assert f"{point} hook" in done.stderr
    assert "exit status 5, output: said" in done.stderr
    assert "poststop" in told(hooked)
    assert oci("state", "case").returncode == 1


@pytest.mark.parametrize("point", ["startContainer", "poststart"])
def test_a_failure_at_start_stops_the_container(hooked: Any, oci: Oci, point: str) -> None:
    hooked.config["hooks"][point] = [mark(hooked, point, "echo said; exit 5")]
    assert oci("create").returncode == 0
    done = oci("start", "case")

    assert done.returncode == 1
    assert f"{point} hook" in done.stderr
    assert "exit status 5, output: said" in done.stderr
    assert json.loads(oci("state", "case").stdout)["status"] == "stopped"
    assert oci("delete", "case").returncode == 0
    assert "poststop" in told(hooked)


def test_a_hook_has_no_descriptors_but_the_three(hooked: Any, oci: Oci) -> None:
    rootfs = hooked.directory / "rootfs"
    for point in hooked.config["hooks"]:
        place = "" if point == "startContainer" else str(rootfs)
        listing = f"ls /proc/self/fd >{place}/fds-{point}"
        hooked.config["hooks"][point] = [mark(hooked, point, listing)]
    with open("/dev/null", "rb") as leak:
        os.set_inheritable(leak.fileno(), True)
        assert oci("create").returncode == 0
        assert oci("start", "case").returncode == 0
        assert oci("delete", "--force", "case").returncode == 0

    # 3 is the directory that ls itself reads.
    for point in hooked.config["hooks"]:
        assert (rootfs / f"fds-{point}").read_text().split() == ["0", "1", "2", "3"], point


def test_exec_runs_where_it_is_told_and_has_the_containers_keyring(bundle: Any, oci: Oci) -> None:
    bundle.config["process"]["args"] = ["sleep", "60"]
    assert oci("create").returncode == 0
    assert oci("start", "case").returncode == 0
    process = {
        **bundle.config["process"],
        "args": ["grep", "-E", "Cpus_allowed_list|_ses", "/proc/self/status", "/proc/keys"],
        "execCPUAffinity": {"initial": "1", "final": "0"},
    }
    (bundle.directory / "process.json").write_text(json.dumps(process))
    done = oci("exec", "--process", str(bundle.directory / "process.json"), "case")

    assert done.returncode == 0, done.stderr
    assert "Cpus_allowed_list:\t0\n" in done.stdout
    assert "_ses.case" in done.stdout
