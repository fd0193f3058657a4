"""CVE-2023-25809: /sys/fs/cgroup of a container was writable, and its cgroups were the host's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest

from newroot.container import defaults
from newroot.engine import Engine
from newroot.testing import needs

pytestmark = needs("root")

_TRY = (
    "for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do"
    ' (mkdir "$d/escape" && rmdir "$d/escape" && echo "$d") 2>/dev/null; done; true'
)
_WORDS = [{}, {"pids_limit": 50}, {"userns": "private"}, {"userns": "private", "pids_limit": 50}]


def _say(engine: Engine, image: Path, words: dict[str, object]) -> str:
    command = ["/bin/sh", "-c", _TRY]
    result = engine.run(rootfs=f"{image}:O", command=command, stdout=PIPE, text=True, **words)
    assert result.fault is None, result.error
    return str(result.stdout)


@pytest.mark.parametrize("words", _WORDS, ids=lambda words: "-".join(words) or "plain")
def test_no_cgroup_can_be_made(engine: Engine, image: Path, words: dict[str, object]) -> None:
    assert _say(engine, image, words) == "", "A CGROUP OF THE HOST CAN BE CHANGED"


def test_without_the_guard_one_can(
    engine: Engine, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = defaults.mounts

    def writable(**words: bool) -> list[dict[str, object]]:
        found = mounts(**words)
        for mount in found:
            if mount["type"] == "cgroup":
                mount["options"] = [o for o in mount["options"] if o != "ro"]  # type: ignore[attr-defined]
        return found

    monkeypatch.setattr(defaults, "mounts", writable)

    assert _say(engine, image, {"pids_limit": 50}) != ""


def test_a_user_namespace_without_cgroups_of_its_own_sees_none_to_write_to(
    run_bundle: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """The first of runc's two conditions: the cgroup namespace is the host's.

    Root in there is root out here, so that nothing but the mount stands in its way.
    """
    cgroup = {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]}
    script = f"mount -o remount,bind,rw /sys/fs/cgroup/cpu 2>/dev/null; {_TRY}; echo ran"
    done = run_bundle(script, [cgroup], namespaces=["user", "network"])

    assert done.stdout == "ran\n", "A CGROUP OF THE HOST CAN BE CHANGED"


@pytest.mark.parametrize("words", [{}, {"cap_add": ["ALL"]}], ids=["plain", "all-capabilities"])
def test_in_the_host_s_cgroup_namespace_it_sees_its_own_cgroup_alone(
    engine: Engine, image: Path, words: dict[str, object]
) -> None:
    script = "for d in /sys/fs/cgroup/*/; do ls $d | grep -x newroot; done; ls -d /sys/fs/cgroup/*/"
    result = engine.run(
        rootfs=f"{image}:O",
        command=["/bin/sh", "-c", script],
        cgroupns="host",
        pids_limit=50,
        stdout=PIPE,
        text=True,
        **words,
    )

    assert "newroot" not in str(result.stdout).split(), "IT SEES THE CGROUPS OF ALL CONTAINERS"
    assert result.stdout != ""
