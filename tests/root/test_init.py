"""``init=True``: our reaper is process 1, and the command its child."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from newroot.container.storage import ContainerStorage
from newroot.container.sweep import sweep
from newroot.engine import Engine
from newroot.testing import needs
from newroot.testing.roots import tiny_root

pytestmark = needs("root")

_OWNER = """
import signal, sys
from newroot.engine import Engine
engine = Engine(sys.argv[1])
process = engine.popen(
    rootfs=sys.argv[2], command=["/bin/sleep", "1000"], init=True, pid="host"
)
with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
    print(file.read().split()[0], engine._get_launcher().pid, flush=True)
signal.pause()
"""


@pytest.fixture
def rootfs(tmp_path: Path) -> str:
    return tiny_root(tmp_path / "image")


@pytest.mark.parametrize("killed", ["owner", "launcher"])
def test_with_the_hosts_process_ids_the_command_ends_with_its_owner_too(
    tmp_path: Path, rootfs: str, killed: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, tmp_path / "engine", rootfs],
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        command, launcher = map(int, owner.stdout.readline().split())
        pidfd = os.pidfd_open(command)
        try:
            os.kill(owner.pid if killed == "owner" else launcher, signal.SIGKILL)

            assert select.select([pidfd], [], [], 30)[0], "THE COMMAND OUTLIVED ITS OWNER"
        finally:
            os.close(pidfd)
            owner.kill()
    sweep(ContainerStorage(str(tmp_path / "engine"), str(tmp_path / "engine/run")))

    assert os.listdir(tmp_path / "engine/run") == []


def test_the_command_leads_a_group_of_its_own(tmp_path: Path, rootfs: str) -> None:
    """Else Ctrl-C would come twice: from the terminal, and passed on by the reaper."""
    with Engine(tmp_path / "engine") as engine:
        result = engine.run(
            rootfs=rootfs,
            command=["/bin/sh", "-c", "cut -d' ' -f5 /proc/self/stat; echo $$"],
            init=True,
            stdout=subprocess.PIPE,
        )
    group, pid = result.stdout.split()

    assert group == pid
