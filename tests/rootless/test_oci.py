"""newroot-oci called by an ordinary user itself: a container that has a user namespace of its own.

Where an engine has made one already, tests/rootless/test_podman.py follows it.
"""

from __future__ import annotations

import json
import os
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from newroot.container.oci_rootless import translated
from newroot.errors import SpecError
from newroot.isolation.own_ids import OwnIds
from newroot.linux.idmap import rootless
from newroot.testing.needs import needs

OCI = os.path.join(sysconfig.get_path("scripts"), "newroot-oci")
BUNDLE = f"""
oci() {{ {OCI} "$@"; }}
rm -rf bundle; mkdir -p bundle/rootfs/bin; cd bundle
cp "$(command -v busybox)" rootfs/bin/busybox
for name in sh sleep id cat; do ln -s busybox rootfs/bin/$name; done
"""
STATE = """
state() { oci state c1 | grep '"status"' | tr -d ' ,"'; }
"""
#: What there is afterwards: entries, processes of init's and of newroot's, mounts.
LEFT = """
ls "$XDG_RUNTIME_DIR/newroot-oci"
ps -eo comm= | grep -E 'newroot|sleep' || true
grep -c newroot-oci /proc/self/mountinfo || true
"""
NOTHING = ["0"]

Change = Callable[[dict[str, Any]], object]
Says = Callable[..., list[str]]


@pytest.fixture
def oci(do: Callable[..., Any], user_home: Path) -> Says:
    """What a script says, with the bundle of ``spec --rootless``, changed, in its directory."""

    def oci(script: str, change: Change = lambda config: None) -> list[str]:
        made = do(f"set -e; {BUNDLE} oci spec --rootless")
        assert (made.returncode, made.stderr) == (0, "")
        file = user_home / "bundle/config.json"
        config = json.loads(file.read_text())
        config["process"] |= {"terminal": False, "args": ["sleep", "1000"]}
        change(config)
        file.write_text(json.dumps(config))
        functions = f'oci() {{ {OCI} "$@"; }}; cd bundle; {STATE}'
        done = do(f"{functions} exec 2>&1; {script}")
        return str(done.stdout).splitlines()

    return oci


def test_life_of_a_container(oci: Says) -> None:
    said = oci(
        """
        oci create --pid-file pid c1 </dev/null >log 2>&1 || { cat log; exit; }; state
        oci start c1; state
        oci exec c1 id
        oci exec c1 sh -c 'exit 7'; echo $?
        oci exec c1 cat /proc/self/uid_map
        readlink /proc/self/ns/user "/proc/$(cat pid)/ns/user" | uniq | wc -l
        oci delete c1; state
        oci kill c1 KILL
        until [ "$(state)" = status:stopped ]; do :; done
        oci delete c1
        """
        + LEFT
    )

    assert [" ".join(line.split()) for line in said] == [
        *("status:created", "status:running", "uid=0 gid=0", "7", "0 0 1", "2"),
        "newroot-oci: cannot delete container c1 that is not stopped: running",
        "status:running",
        *NOTHING,
    ]


def test_delete_force_ends_one_that_runs(oci: Says) -> None:
    said = oci(f"oci run -d c1 </dev/null >log 2>&1; state; oci delete -f c1; {LEFT}")

    assert said == ["status:running", *NOTHING]


@needs("runc")
def test_run_says_and_returns_what_runc_does(oci: Says) -> None:
    command = "id; pwd; cat; exit 5"
    said = oci(
        """
        echo word | oci run c1; echo $?
        echo word | runc --root "$XDG_RUNTIME_DIR/runc" run c1; echo $?
        """,
        lambda config: config["process"].update(args=["sh", "-c", command]),
    )

    assert said == ["uid=0 gid=0", "/", "word", "5"] * 2


def test_what_does_not_start_is_explained_and_gone(oci: Says) -> None:
    said = oci(
        f"oci run c1; echo $?; oci create c1; echo $?; {LEFT}",
        lambda config: config["process"].update(args=["missing"]),
    )

    assert sum('exec: "missing": executable file not found in $PATH' in line for line in said) == 2
    assert said.count("1") == 2
    assert said[-1:] == NOTHING


def test_hook_that_fails_at_start_is_named(oci: Says) -> None:
    hook = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"]}]}
    said = oci(
        f"oci create c1 </dev/null >log 2>&1; oci start c1; echo $?; oci delete c1; {LEFT}",
        lambda config: config.update(hooks=hook),
    )

    assert "startContainer" in said[0]
    assert said[-2:] == ["1", *NOTHING]


def test_limit_that_cannot_be_set_is_refused(oci: Says) -> None:
    said = oci(
        f"oci run c1; echo $?; {LEFT}",
        lambda config: config["linux"].update(resources={"pids": {"limit": 9}}),
    )

    assert "cgroup" in said[0]
    assert said[-2:] == ["1", *NOTHING]


def test_id_of_somebody_else_is_refused(oci: Says) -> None:
    foreign = [{"containerID": 0, "hostID": 0, "size": 1}]
    said = oci(
        f"oci run c1; echo $?; {LEFT}", lambda config: config["linux"].update(uidMappings=foreign)
    )

    assert "/linux/uidMappings/0: the id 0 is not the caller's to map" in said[0]
    assert said[-2:] == ["1", *NOTHING]


def test_range_of_ids_is_the_containers(oci: Says, subids: str) -> None:
    def change(config: dict[str, Any]) -> None:
        for key in ("uidMappings", "gidMappings"):
            config["linux"][key].append({"containerID": 1, "hostID": 200010, "size": 100})
        config["process"]["user"] = {"uid": 33, "gid": 34, "additionalGids": [50]}

    said = oci(
        """
        oci create --pid-file pid c1 </dev/null >log 2>&1 || { cat log; exit; }
        oci start c1
        grep -E '^([UG]id|Groups)' "/proc/$(cat pid)/status"
        oci exec --user 5:6 c1 id
        oci kill c1 KILL
        until [ "$(state)" = status:stopped ]; do :; done
        oci delete c1
        """
        + LEFT,
        change,
    )

    if not subids:
        assert "/linux/uidMappings/1: the id 200010 is not the caller's to map" in said[0]
        return
    ids = [f"{name}:{4 * f' {number}'}" for name, number in (("Uid", 200042), ("Gid", 200043))]
    assert [" ".join(line.split()) for line in said] == [
        *ids,
        "Groups: 200059",
        "uid=5 gid=6 groups=50",
        *NOTHING,
    ]


def test_line_that_spans_two_of_the_callers_becomes_two() -> None:
    ids = OwnIds(uids=rootless(1000, [(1001, 5), (1006, 9)]), gids=rootless(1000, []))
    linux = {
        "uidMappings": [{"containerID": 100, "hostID": 1003, "size": 5}],
        "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
    }

    assert translated(linux, ids) == {
        "uidMappings": [
            {"containerID": 100, "hostID": 3, "size": 3},
            {"containerID": 103, "hostID": 6, "size": 2},
        ],
        "gidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
    }


def test_line_that_goes_beyond_the_callers_ids_is_refused() -> None:
    ids = OwnIds(uids=rootless(1000, [(2000, 5)]), gids=rootless(1000, []))
    linux = {"uidMappings": [{"containerID": 0, "hostID": 2000, "size": 6}]}

    with pytest.raises(SpecError, match="the id 2005 is not the caller's to map"):
        translated(linux, ids)
