"""``newroot ns`` and ``newroot mounts`` as a person types them, on a container that runs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from newroot.container.pipes import PIPE
from newroot.engine import Engine
from newroot.testing.needs import needs

pytestmark = needs("root", "overlay", "busybox")

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def newroot(root: Path, newroot_command: str) -> Call:
    environment = {**os.environ, "NEWROOT_ROOT": str(root), "NEWROOT_RUN_ROOT": f"{root}/run"}

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [newroot_command, *map(str, words)],
            env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return call


@pytest.fixture
def web(engine: Engine) -> Iterator[int]:
    """A container called web, with a limit and so a cgroup; its first process."""
    process = engine.popen(
        "busybox", ["cat"], stdin=PIPE, name="web", pids_limit=77, volumes={"site": "/srv"}
    )
    with process:
        yield process.pid


def said(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_ns_as_json_is_a_list_of_objects_with_what_is_known_of_each(
    newroot: Call, web: int
) -> None:
    listed = said(newroot("ns", "--format", "json"))
    own = [n for n in listed if n["container"] == "web"]

    names = {"id", "type", "processes", "users", "command", "container", "owner", "parent"}
    assert all(names <= set(n) for n in listed)
    assert {n["type"] for n in own} == {"cgroup", "ipc", "mnt", "net", "pid", "uts"}
    assert all(n["pid"] == web and n["users"] == [0] and n["command"] == "cat" for n in own)
    assert next(n for n in own if n["type"] == "pid")["parent"] in {n["id"] for n in listed}


def test_ns_of_an_id_lists_the_processes_in_it(newroot: Call, web: int) -> None:
    link = os.readlink(f"/proc/{web}/ns/pid")
    number = link.partition("[")[2][:-1]
    for word in (number, link):
        (member,) = said(newroot("ns", word, "--format", "json"))

        assert (member["pid"], member["name"], member["command"]) == (web, "cat", "cat")
        assert member["inside"] == [web, 1]
        assert member["threads"] == 1
        assert member["state"] in "SR"
        assert len(member["cgroups"]) == len(Path(f"/proc/{web}/cgroup").read_text().splitlines())
    assert newroot("ns", "12345").returncode == 125


def test_ns_filters_by_type_and_sorts(newroot: Call, web: int) -> None:
    listed = said(
        newroot("ns", "-t", "net", "-t", "uts", "--sort", "processes", "--format", "json")
    )

    assert {n["type"] for n in listed} == {"net", "uts"}
    counts = [n["processes"] for n in listed]
    assert counts == sorted(counts, reverse=True)
    table = newroot("ns", "-t", "net", "--sort", "container").stdout
    assert table.splitlines()[0].split()[:3] == ["NAMESPACE", "TYPE", "PROCS"]
    assert "newroot:web" in table


def test_ns_of_a_process_is_its_eight(newroot: Call, web: int) -> None:
    by_name = said(newroot("ns", "--pid", "web", "--format", "json"))

    links = {os.readlink(f"/proc/{web}/ns/{n['type']}") for n in by_name}
    assert links == {f"{n['type']}:[{n['id']}]" for n in by_name}
    assert len(by_name) == len(links) == 8


def test_ns_shows_the_control_files_of_a_cgroup(newroot: Call, web: int) -> None:
    found = said(newroot("ns", "--cgroup", "web:pids", "--format", "json"))

    assert found["files"]["pids.max"] == "77"
    assert str(web) in found["files"]["cgroup.procs"].split()
    table = newroot("ns", "--cgroup", f"{web}:pids").stdout
    assert f"cgroup v{found['version']}" in table.splitlines()[0]
    wrong = newroot("ns", "--cgroup", f"{web}:nonsense")
    assert wrong.returncode == 125
    assert "nonsense" in wrong.stderr


def test_ns_watches_a_process_and_its_control_files(newroot: Call, web: int) -> None:
    words = ("ns", "--watch", "web", "--interval", "0", "--count", "3", "pids.max", "pids.current")
    done = newroot(*words)

    assert done.stdout.count(f"process {web}  cat") == 3
    assert done.stdout.count("pids.max      77") == 3
    assert newroot("ns", "--watch", "web", "no.such.file").returncode == 125


def test_ns_as_a_tree_has_the_container_below_the_user_namespace_that_owns_it(
    newroot: Call, web: int
) -> None:
    trees = said(newroot("ns", "--tree", "--format", "json"))
    net = int(os.readlink(f"/proc/{web}/ns/net").partition("[")[2][:-1])
    user = int(os.readlink(f"/proc/{web}/ns/user").partition("[")[2][:-1])

    owner = next(top for top in trees["ownership"] if top["id"] == user)
    assert net in {child["id"] for child in owner["children"]}
    pid = int(os.readlink(f"/proc/{web}/ns/pid").partition("[")[2][:-1])
    assert pid in {child["id"] for top in trees["nesting"] for child in top["children"]}
    assert "─pid" in newroot("ns", "--tree").stdout


def test_mounts_opens_the_overlay_and_traces_the_volume(
    newroot: Call, web: int, root: Path
) -> None:
    (top,) = said(newroot("mounts", "web", "--format", "json"))["filesystems"]
    (lower,) = top["overlay"]["lower"]
    data = next(child for child in top["children"] if child["target"] == "/srv")

    assert lower["images"] == ["busybox:latest"]
    assert lower["diffId"].startswith("sha256:")
    assert data["hostPath"] == f"{root}/volumes/site/data"
    assert data["proven"] is True
    assert data["inode"] == os.stat(data["hostPath"]).st_ino
    tree = newroot("mounts", "web").stdout
    assert f"is {root}/volumes/site/data of the host" in tree
    assert "lower  sha256:" in tree
    assert "lower" not in newroot("mounts", "web", "--plain").stdout.replace("lowerdir", "")


def test_mounts_compares_two_and_tells_sizes(newroot: Call, web: int) -> None:
    changes = said(newroot("mounts", "--diff", "host", "web", "--format", "json"))
    by_target = {change["target"]: change["kind"] for change in changes}
    sizes = {
        row["target"]: row for row in said(newroot("mounts", "web", "--df", "--format", "json"))
    }

    assert by_target["/srv"] == "b"
    assert by_target["/"] == "differs"
    assert newroot("mounts", "web", "--diff", "web").stdout.count("\n") == 1  # the heading
    inside = os.statvfs(f"/proc/{web}/root/srv")
    assert sizes["/srv"]["size"] == inside.f_blocks * inside.f_frsize
    assert "/proc" not in sizes


def test_who_is_not_there_is_said(newroot: Call, web: int) -> None:
    for words in (("mounts", "nobody"), ("ns", "--pid", "nobody"), ("mounts", "99999999")):
        done = newroot(*words)

        assert done.returncode == 125
        assert "no process or running container" in done.stderr
    assert newroot("ns", "--pid", "web", "--tree").returncode == 125
