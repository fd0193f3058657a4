"""A bundle's cgroup: placed, made, found again; signals, want of memory, the parents it leaves.

On whatever cgroups this host has; the virtual machine runs the same file on pure v2.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from newroot.container.oci_cgroup import Placed, find_cgroup, make_cgroup, place_cgroup
from newroot.errors import AlreadyExists, UnsupportedError
from newroot.isolation.cgroups.cgroup import Cgroup
from newroot.isolation.cgroups.detect import CgroupHost, detect
from newroot.testing.needs import needs

pytestmark = needs("root")

PARENT = f"/newroot-test-oci-{os.getpid()}"


@pytest.fixture(scope="module")
def host() -> CgroupHost:
    return detect()


@pytest.fixture
def made(host: CgroupHost) -> Iterator[Callable[..., Cgroup]]:
    """Places and makes a bundle's cgroup; what is left of it at the end is killed and removed."""
    cgroups: list[Cgroup] = []

    def make(path: str | None = f"{PARENT}/pod/a", **linux: Any) -> Cgroup:
        config = {"linux": {"cgroupsPath": path, **linux}}
        cgroup = make_cgroup(place_cgroup(config, "a", host), config, "a", host)
        assert cgroup is not None
        cgroups.append(cgroup)
        return cgroup

    yield make
    for cgroup in cgroups:
        cgroup.kill()
        cgroup.remove()


@contextlib.contextmanager
def member(cgroup: Cgroup, act: Callable[[int], None] = lambda ready: None) -> Iterator[int]:
    """A process in *cgroup* that is there when the block begins, runs *act*, then waits."""
    ready, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.close(ready)
            for path in cgroup.procs_paths:
                Path(path).write_text("0")
            os.write(theirs, b".")
            act(theirs)
            while True:
                signal.pause()
        os._exit(1)
    os.close(theirs)
    assert os.read(ready, 1) == b"."
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        os.close(ready)


def places(host: CgroupHost, path: str) -> list[Path]:
    return [Path(h.directory(path)) for h in host.hierarchies]


def test_container_has_a_place_in_every_hierarchy(
    host: CgroupHost, made: Callable[..., Cgroup]
) -> None:
    cgroup = made()

    assert set(cgroup.directories) == {str(p) for p in places(host, f"{PARENT}/pod/a")}


def test_parents_that_were_made_for_it_go_with_the_last_container(
    host: CgroupHost, made: Callable[..., Cgroup]
) -> None:
    first, second = made(f"{PARENT}/pod/a"), made(f"{PARENT}/pod/b")
    first.remove()
    between = [p.is_dir() for p in places(host, f"{PARENT}/pod")]
    second.remove()

    assert all(between)
    assert not any(p.exists() for p in places(host, PARENT))


def test_parent_that_was_there_stays(host: CgroupHost, made: Callable[..., Cgroup]) -> None:
    top = places(host, PARENT)
    for directory in top:
        directory.mkdir()
    try:
        made().remove()
        left = [directory.is_dir() for directory in top]
        pods = [directory.exists() for directory in places(host, f"{PARENT}/pod")]
    finally:
        for directory in top:
            directory.rmdir()

    assert all(left)
    assert not any(pods)


def test_directory_that_was_prepared_keeps_its_limits(
    host: CgroupHost, made: Callable[..., Cgroup]
) -> None:
    prepared = Cgroup.create(f"{PARENT}/pod/a", {"pids": {"limit": 33}}, host=host)
    cgroup = made()
    limit = Path(f"{cgroup.directory_of('pids')}/pids.max").read_text()

    assert limit == "33\n"
    assert set(prepared.directories) <= set(cgroup.directories)


def test_cgroup_with_processes_is_not_taken(made: Callable[..., Cgroup]) -> None:
    cgroup = made()
    with member(cgroup), pytest.raises(AlreadyExists, match="processes are in it"):
        made()


def test_frozen_cgroup_is_not_taken(made: Callable[..., Cgroup]) -> None:
    cgroup = made()
    cgroup.freeze()
    try:
        with pytest.raises(AlreadyExists, match="frozen"):
            made()
    finally:
        cgroup.thaw()


def test_cgroup_is_found_again_by_what_was_written_down(
    host: CgroupHost, made: Callable[..., Cgroup]
) -> None:
    cgroup = made()
    again = find_cgroup(cgroup.directories, host, manager="cgroupfs")
    with member(cgroup) as pid:
        assert again.processes() == (pid,)
    again.remove()
    gone = find_cgroup(cgroup.directories, host, manager="cgroupfs")

    assert gone.directories == ()


def test_disabled_manager_makes_no_cgroup(host: CgroupHost) -> None:
    placed = place_cgroup({}, "a", host, manager="disabled")

    assert placed is None
    assert make_cgroup(placed, {}, "a", host) is None


def test_relative_path_counts_from_our_own_cgroup(host: CgroupHost) -> None:
    placed = place_cgroup({"linux": {"cgroupsPath": "x/y"}}, "a", host)

    assert placed is not None
    assert placed.directories == tuple(f"{h.base()}/x/y" for h in host.hierarchies)


def test_path_that_climbs_stays_below_the_top(host: CgroupHost) -> None:
    placed = place_cgroup({"linux": {"cgroupsPath": "/a/../../b"}}, "a", host)

    assert placed is not None
    assert placed.directories == tuple(f"{h.mount}/b" for h in host.hierarchies)


def test_devices_are_denied_to_a_container_without_rules(
    made: Callable[..., Cgroup], tmp_path: Path
) -> None:
    cgroup = made()
    read, write = os.pipe()
    node = tmp_path / "kmsg"
    os.mknod(node, 0o600 | 0o020000, os.makedev(1, 11))

    def open_it(_: int) -> None:
        try:
            os.close(os.open(node, os.O_RDONLY))
            os.write(write, b"opened")
        except OSError as error:
            os.write(write, os.strerror(error.errno or 0).encode())

    with member(cgroup, open_it):
        said = os.read(read, 100)

    assert said == b"Operation not permitted"


def test_rootless_container_without_wishes_does_without_a_cgroup(host: CgroupHost) -> None:
    from newroot.record import replace

    limits = {"linux": {"resources": {"pids": {"limit": 3}}}}
    nowhere = replace(host, hierarchies=(), mode="none", why="no cgroup is mounted here")
    placed = Placed(path="/newroot/a")

    assert make_cgroup(placed, {}, "a", nowhere, rootless=True) is None
    with pytest.raises(UnsupportedError):
        make_cgroup(placed, limits, "a", nowhere, rootless=True)
    with pytest.raises(UnsupportedError):
        make_cgroup(placed, {}, "a", nowhere)


def test_signal_reaches_every_process(made: Callable[..., Cgroup]) -> None:
    cgroup = made()
    with member(cgroup) as first, member(cgroup) as second:
        cgroup.signal(signal.SIGTERM)
        ended = [os.waitpid(pid, 0)[1] for pid in (first, second)]

    assert ended == [signal.SIGTERM, signal.SIGTERM]
    assert not cgroup.is_frozen()


def test_paused_container_stays_so_when_signalled_and_dies_of_sigkill(
    made: Callable[..., Cgroup],
) -> None:
    cgroup = made()
    with member(cgroup) as pid:
        cgroup.freeze()
        cgroup.signal(signal.SIGWINCH)
        still = os.waitpid(pid, os.WNOHANG), cgroup.is_frozen()
        cgroup.signal(signal.SIGKILL)
        _, status = os.waitpid(pid, 0)

    assert still == ((0, 0), True)
    assert status == signal.SIGKILL


def test_want_of_memory_wakes_who_waits_for_it(
    made: Callable[..., Cgroup], host: CgroupHost
) -> None:
    if host.find("memory") is None:
        pytest.skip("needs the cgroup controller memory")
    cgroup = made(resources={"memory": {"limit": 16 << 20, "swap": 16 << 20}})
    events = cgroup.oom_events()
    poll = select.poll()
    events.register(poll)

    def eat(_: int) -> None:
        eaten = []
        while True:
            eaten.append(b"x" * (1 << 20))

    try:
        counted = 0
        with member(cgroup, eat):
            while not counted and poll.poll(20000):
                counted = events.count()
        if host.unified is None or "memory" not in host.unified.controllers:
            cgroup.remove()  # v1 tells of the end by the removal
        while not events.is_over() and poll.poll(5000):
            events.count()
        over = events.is_over()
    finally:
        events.close()

    assert counted >= 1
    assert over
