"""A reboot, as containers see it: processes and the run directory are gone, the files are not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from newroot.container.lifecycle import wait_until_it_ends
from newroot.engine import Engine
from newroot.isolation.cgroups.cgroup import Cgroup
from newroot.isolation.cgroups.detect import detect
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]
SHARE = Path(__file__).parent.parent.parent / "share/newroot"


@pytest.fixture
def engine(root: Path, tmp_path: Path) -> Iterator[Engine]:
    with Engine(root, run_root=str(tmp_path / "run")) as engine:
        yield engine
        for container in engine.containers():
            engine.remove_container(container.id, force=True)


def begin(engine: Engine, name: str, **words: object) -> str:
    container_id = engine.create("busybox", ["sleep", "1000"], name=name, **words)
    engine.start(container_id)
    return container_id


def reboot(engine: Engine) -> None:
    """Kill every container with its monitor, and take their run directory away."""
    for container in engine.containers():
        if container.pid is None:
            continue
        stat = Path(f"/proc/{container.pid}/stat").read_text()
        monitor = int(stat.rpartition(")")[2].split()[1])
        os.kill(monitor, signal.SIGKILL)  # and with it what it keeps
        wait_until_it_ends(engine.storage, container.id)
        Cgroup.find(engine.storage.state(container.id)["cgroup"], host=detect()).remove()
    shutil.rmtree(engine.run_root)


@pytest.mark.parametrize("keeps_files", [False, True], ids=["emptied", "kept"])
def test_after_a_boot_runs_what_is_to_run(engine: Engine, keeps_files: bool, tmp_path: Path):
    begin(engine, "always", restart="always")
    begin(engine, "unless", restart="unless-stopped")
    begin(engine, "on-failure", restart="on-failure")
    begin(engine, "no")
    begin(engine, "stopped-always", restart="always")
    begin(engine, "stopped-unless", restart="unless-stopped")
    begin(engine, "killed-unless", restart="unless-stopped")
    begin(engine, "begun-again", restart="unless-stopped")
    engine.create("busybox", ["sleep", "1000"], name="created", restart="always")
    engine.stop("stopped-always", timeout=0)
    engine.stop("stopped-unless", timeout=0)
    engine.stop("begun-again", timeout=0)
    engine.start("begun-again")
    engine.kill("killed-unless")
    engine.wait("killed-unless")
    if keeps_files:  # a run directory that is no tmpfs
        shutil.copytree(engine.run_root, tmp_path / "kept", ignore=shutil.ignore_patterns("attach"))
    reboot(engine)
    if keeps_files:
        shutil.copytree(tmp_path / "kept", engine.run_root)

    states = {c.name: c.status for c in engine.containers()}
    assert {"created"} == {states.pop("created")}
    assert {"exited"} == set(states.values())
    started = {engine.container(each).name for each in engine.start_all_restart()}
    assert {"always", "unless", "stopped-always", "begun-again"} == started
    running = {c.name for c in engine.containers() if c.status == "running"}
    assert started == running
    assert () == engine.start_all_restart()


def test_one_that_does_not_start_keeps_no_other_from_it(
    engine: Engine, tmp_path: Path, newroot_command: str
):
    gone = tmp_path / "gone"
    gone.mkdir()
    first = engine.create(
        "busybox", ["sleep", "1000"], restart="always", mount=[f"type=bind,src={gone},dst=/gone"]
    )
    engine.start(first)
    second = begin(engine, "second", restart="always")
    reboot(engine)
    gone.rmdir()
    done = subprocess.run(
        [newroot_command, "--root", engine.root, "--run-root", engine.run_root]
        + ["start", "--all-restart"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert 125 == done.returncode
    assert f"{second}\n" == done.stdout
    assert "does not exist" in done.stderr


def test_what_it_wrote_is_there_after_a_boot(engine: Engine):
    engine.create(
        "busybox", ["sh", "-c", "echo x >> /x; echo ready; exec sleep 1000"], name="aa",
        restart="always",
    )  # fmt: skip
    engine.start("aa")
    next(engine.logs("aa", follow=True))
    reboot(engine)
    assert [("A", "/x")] == engine.diff("aa")
    engine.start_all_restart()
    entries = engine.logs("aa", follow=True)
    assert [b"ready\n", b"ready\n"] == [next(entries).data, next(entries).data]

    assert b"x\nx\n" == engine.exec("aa", ["cat", "/x"]).stdout


# ── what is shipped ──────────────────────────────────────────────────────────────────────────


def test_the_script_for_other_inits_starts_them(engine: Engine, newroot_command: str):
    begin(engine, "aa", restart="always")
    reboot(engine)
    environment = {
        **os.environ,
        "NEWROOT": newroot_command,
        "NEWROOT_ROOT": engine.root,
        "NEWROOT_RUN_ROOT": engine.run_root,
    }

    def call(word: str) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", SHARE / "newroot.init", word], capture_output=True, text=True, env=environment
        )
        return done.returncode, done.stdout

    assert (0, engine.storage.resolve("aa") + "\n") == call("start")
    assert (0, "") == call("start")
    assert "aa" in call("status")[1]
    assert (0, "") == call("stop")
    assert 2 == call("what")[0]


@needs("systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path):
    unit = tmp_path / "newroot.service"
    unit.write_bytes((SHARE / "newroot.service").read_bytes())
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60
    )
    said = [line for line in done.stderr.splitlines() if "newroot.service" in line]

    assert [] == said
