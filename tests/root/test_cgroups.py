"""Limits that bite, and the life of a cgroup, on whatever cgroups this host has.

A plain forked process joins as newroot-init does: it writes "0" to each of ``procs_paths``.  The
same file runs on hybrid hosts, in the virtual machine (pure v2), and from test_cgroups_v2.py in a
mount namespace with cgroup2 alone, where the limits' controllers are missing and are skipped.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from newroot.errors import AlreadyExists, SyscallError, UnsupportedError
from newroot.isolation.cgroups.cgroup import Cgroup, leftovers
from newroot.isolation.cgroups.detect import CgroupHost, detect
from newroot.record import replace
from newroot.testing.needs import needs

pytestmark = needs("root")

PARENT = f"/newroot-test-{os.getpid()}"
MEGABYTE = 1 << 20


KINDS = ["as it is", "v1 alone"] if detect().mode == "hybrid" else ["as it is"]


@pytest.fixture(scope="module", params=KINDS)
def host(request: pytest.FixtureRequest) -> Iterator[CgroupHost]:
    """This host; and, if it is hybrid, as a host would be that has no cgroup2 beside its v1."""
    found = detect()
    if found.why:
        pytest.fail(found.why)
    if request.param == "v1 alone":
        v1 = tuple(h for h in found.hierarchies if h.version == 1)
        found = replace(found, mode="v1", hierarchies=v1)
    yield found
    for leftover in leftovers(PARENT, (), host=found):
        leftover.kill()
        leftover.remove()
    Cgroup.find(PARENT, host=found).remove()


@pytest.fixture
def make(host: CgroupHost, request: pytest.FixtureRequest) -> Iterator[Callable[..., Cgroup]]:
    """Create cgroups that are killed and removed when the test is over."""
    made: list[Cgroup] = []

    def create(name: str = "a", /, **arguments: object) -> Cgroup:
        resources = arguments.pop("resources", {})
        made.append(
            Cgroup.create(f"{PARENT}/{name}", resources, host=host, **arguments)  # type: ignore[arg-type]
        )
        return made[-1]

    yield create
    for cgroup in made:
        cgroup.kill()
        cgroup.remove()


def require(host: CgroupHost, *controllers: str) -> None:
    for controller in controllers:
        if host.find(controller) is None:
            pytest.skip(f"needs the cgroup controller {controller}: not mounted here")


def start(cgroup: Cgroup, work: Callable[[], object]) -> int:
    """Fork a process that joins *cgroup*, then does *work*; exit status 99 when that raises."""
    pid = os.fork()
    if pid:
        return pid
    status = 99
    try:
        for path in cgroup.procs_paths:
            with open(path, "w") as file:
                file.write("0")
        result = work()
        status = result if isinstance(result, int) else 0
    finally:
        os._exit(status)


def run(cgroup: Cgroup, work: Callable[[], object]) -> int:
    """Exit code of *work* in *cgroup*; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(start(cgroup, work), 0)[1])


def started(cgroup: Cgroup, work: Callable[[], object]) -> int:
    """As start(), but returns only when the process has joined."""
    reader, writer = os.pipe()

    def say_then_work() -> object:
        os.write(writer, b"!")
        os.close(reader)
        os.close(writer)
        return work()

    pid = start(cgroup, say_then_work)
    os.close(writer)
    assert os.read(reader, 1) == b"!"
    os.close(reader)
    return pid


def forever() -> None:
    while True:
        signal.pause()


def test_memory_limit_kills_and_is_counted(host: CgroupHost, make: Callable[..., Cgroup]) -> None:
    require(host, "memory")
    limit = 32 * MEGABYTE
    cgroup = make(resources={"memory": {"limit": limit, "swap": limit}})

    code = run(cgroup, lambda: len(bytearray(b"x") * (3 * limit)) and 0)

    assert code == -signal.SIGKILL
    assert cgroup.oom_kills() == 1
    assert limit / 2 < (cgroup.stats().memory_peak_bytes or 0) <= limit


def test_memory_below_the_limit_is_given(host: CgroupHost, make: Callable[..., Cgroup]) -> None:
    require(host, "memory")
    cgroup = make(resources={"memory": {"limit": 64 * MEGABYTE}})

    assert run(cgroup, lambda: len(bytearray(b"x") * (16 * MEGABYTE)) and 0) == 0
    assert cgroup.oom_kills() == 0


def test_pids_limit_fails_the_fork_that_is_too_many(
    host: CgroupHost, make: Callable[..., Cgroup]
) -> None:
    require(host, "pids")
    cgroup = make(resources={"pids": {"limit": 4}})

    def forks() -> int:
        count = 0
        while True:
            try:
                if os.fork() == 0:
                    forever()
            except BlockingIOError:
                return count
            count += 1

    assert run(cgroup, forks) == 3
    assert cgroup.stats().pids == 3


def test_cpu_quota_throttles(host: CgroupHost, make: Callable[..., Cgroup]) -> None:
    require(host, "cpu")
    cgroup = make(resources={"cpu": {"quota": 5000, "period": 50000}})

    def spin() -> None:
        while time.process_time() < 0.05:
            pass

    assert run(cgroup, spin) == 0
    assert (cgroup.stats().cpu_throttled_periods or 0) >= 3


def test_cpuset_holds_the_process_on_its_cpu(host: CgroupHost, make: Callable[..., Cgroup]) -> None:
    require(host, "cpuset")
    cpu = max(os.sched_getaffinity(0))
    cgroup = make(resources={"cpu": {"cpus": str(cpu), "mems": "0"}})

    assert run(cgroup, lambda: 0 if os.sched_getaffinity(0) == {cpu} else 1) == 0


def test_cpus_alone_leave_the_memory_nodes_as_they_were(
    host: CgroupHost, make: Callable[..., Cgroup]
) -> None:
    require(host, "cpuset")

    assert run(make(resources={"cpu": {"cpus": "0"}}), lambda: 0) == 0


def test_device_that_is_not_allowed_cannot_be_opened(make: Callable[..., Cgroup]) -> None:
    cgroup = make(resources={"devices": [{"allow": False, "access": "rwm"}]})

    def opens() -> int:
        os.close(os.open("/dev/null", os.O_RDWR))
        try:
            os.open("/dev/kmsg", os.O_RDONLY)
        except PermissionError:
            return 0
        return 1

    assert run(cgroup, opens) == 0


def test_device_that_is_allowed_can_be_opened(make: Callable[..., Cgroup]) -> None:
    kmsg = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
    cgroup = make(resources={"devices": [{"allow": False}, kmsg]})

    def opens() -> int:
        os.close(os.open("/dev/kmsg", os.O_RDONLY))
        try:
            os.open("/dev/kmsg", os.O_RDWR)
        except PermissionError:
            return 0
        return 1

    assert run(cgroup, opens) == 0


@pytest.mark.parametrize("host", ["as it is"], indirect=True)
def test_huge_page_limit_is_written_where_hugetlb_lives(
    host: CgroupHost, make: Callable[..., Cgroup]
) -> None:
    require(host, "hugetlb")
    hugetlb = host.find("hugetlb")
    assert hugetlb is not None
    cgroup = make(resources={"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MEGABYTE}]})
    file = "hugetlb.2MB.max" if hugetlb.version == 2 else "hugetlb.2MB.limit_in_bytes"

    with open(f"{cgroup.directory_of('hugetlb')}/{file}") as limit:
        assert limit.read() == "4194304\n"


@pytest.mark.parametrize("host", ["as it is"], indirect=True)
def test_huge_page_size_that_the_kernel_has_not_is_said_and_nothing_remains(
    host: CgroupHost, make: Callable[..., Cgroup]
) -> None:
    require(host, "hugetlb")
    with pytest.raises(SyscallError) as caught:
        make(resources={"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]})

    assert caught.value.errno == errno.ENOENT
    assert caught.value.hint == "this kernel has no huge pages of that size"
    assert Cgroup.find(f"{PARENT}/a", host=host).places == ()


def test_only_the_hierarchies_that_are_named_get_a_directory(
    host: CgroupHost, make: Callable[..., Cgroup]
) -> None:
    require(host, "pids")
    cgroup = make(resources={"pids": {"limit": 4}})

    assert len(cgroup.places) == 1
    assert Cgroup.find(f"{PARENT}/a", host=host).directories == cgroup.directories


def test_kill_ends_every_process_whatever_session_it_is_in(make: Callable[..., Cgroup]) -> None:
    cgroup = make(freezer=True)

    def family() -> None:
        for _ in range(5):
            if os.fork() == 0:
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                forever()
        forever()

    pid = started(cgroup, family)
    cgroup.kill()

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert cgroup.processes() == ()


@pytest.mark.parametrize("freezer", [True, False])
def test_kill_outruns_processes_that_fork_all_the_time(
    host: CgroupHost, make: Callable[..., Cgroup], freezer: bool
) -> None:
    require(host, "pids")
    cgroup = make(resources={"pids": {"limit": 40}}, freezer=freezer)

    def bomb() -> None:
        os.fork()
        os.fork()
        while True:
            with contextlib.suppress(OSError):
                if os.fork():
                    os._exit(0)

    pid = started(cgroup, bomb)
    os.waitpid(pid, 0)
    cgroup.kill()

    assert cgroup.processes() == ()


def test_kill_works_by_process_id_where_the_kernel_has_no_cgroup_kill(
    make: Callable[..., Cgroup],
) -> None:
    cgroup = make(freezer=True)
    pids = [started(cgroup, forever) for _ in range(3)]
    gone = cgroup._kill_by_hand(10)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]

    assert gone
    assert codes == [-signal.SIGKILL] * 3


def test_freeze_stops_and_thaw_lets_go_on(make: Callable[..., Cgroup]) -> None:
    cgroup = make(freezer=True)
    ask, answer = os.pipe(), os.pipe()

    def echo() -> None:
        while True:
            os.write(answer[1], os.read(ask[0], 1))

    pid = started(cgroup, echo)
    cgroup.freeze()
    frozen = cgroup.is_frozen()
    os.write(ask[1], b"x")
    while_frozen = select.select([answer[0]], [], [], 0.1)[0]
    cgroup.thaw()
    thawed = os.read(answer[0], 1)
    cgroup.kill()
    os.waitpid(pid, 0)
    for end in ask + answer:
        os.close(end)

    assert (frozen, while_frozen, thawed) == (True, [], b"x")


def test_frozen_cgroup_can_be_killed(make: Callable[..., Cgroup]) -> None:
    cgroup = make(freezer=True)
    pid = started(cgroup, forever)
    cgroup.freeze()
    cgroup.kill()

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_remove_takes_along_what_the_container_made_below(make: Callable[..., Cgroup]) -> None:
    cgroup = make(freezer=True)
    for directory in cgroup.directories:
        os.makedirs(f"{directory}/x/y/z")
        os.makedirs(f"{directory}/x/w")
        os.makedirs(f"{directory}/" + "deep/" * 30)
    cgroup.remove()

    assert not any(map(os.path.exists, cgroup.directories))


def test_remove_takes_along_a_tree_deeper_than_a_path_may_be_long(
    make: Callable[..., Cgroup],
) -> None:
    cgroup = make(freezer=True)
    here = os.open(cgroup.directories[0], os.O_RDONLY)
    name = "d" * 250
    for _ in range(17):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    cgroup.remove()

    assert not os.path.exists(cgroup.directories[0])


def test_remove_is_refused_while_a_process_is_inside(make: Callable[..., Cgroup]) -> None:
    cgroup = make(freezer=True)
    pid = started(cgroup, forever)
    with pytest.raises(SyscallError) as caught:
        cgroup.remove(timeout_s=0.05)
    cgroup.kill()
    os.waitpid(pid, 0)

    assert caught.value.errno == errno.EBUSY
    assert caught.value.hint == "processes are still in it: kill them first"


def test_remove_waits_for_the_last_process(make: Callable[..., Cgroup]) -> None:
    cgroup = make(freezer=True)
    reader, writer = os.pipe()
    pid = started(cgroup, lambda: os.read(reader, 1) and 0)
    timer = threading.Timer(0.1, os.write, (writer, b"!"))
    timer.start()
    cgroup.remove(timeout_s=20)
    timer.join()
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)

    assert not any(map(os.path.exists, cgroup.directories))


def test_removing_twice_is_as_good_as_once(make: Callable[..., Cgroup]) -> None:
    cgroup = make(freezer=True)
    cgroup.remove()
    cgroup.remove()
    cgroup.kill()

    assert cgroup.processes() == ()


def test_cgroup_in_use_is_not_taken_over(make: Callable[..., Cgroup]) -> None:
    cgroup = make(freezer=True)
    pid = started(cgroup, forever)
    with pytest.raises(AlreadyExists):
        make(freezer=True)
    still_there = cgroup.processes()
    cgroup.kill()
    os.waitpid(pid, 0)

    assert still_there == (pid,)


def test_leftover_of_the_same_name_loses_its_old_limits(
    host: CgroupHost, make: Callable[..., Cgroup]
) -> None:
    require(host, "pids")
    make(resources={"pids": {"limit": 3}})
    cgroup = make(controllers=("pids",))

    with open(f"{cgroup.directory_of('pids')}/pids.max") as file:
        assert file.read() == "max\n"


def test_half_made_cgroup_is_removed(host: CgroupHost, make: Callable[..., Cgroup]) -> None:
    require(host, "pids", "cpuset")
    with pytest.raises(SyscallError) as caught:
        make(resources={"pids": {"limit": 3}, "cpu": {"cpus": "4095"}})

    assert caught.value.hint is not None
    assert "4095" in str(caught.value)
    assert Cgroup.find(f"{PARENT}/a", host=host).places == ()


@pytest.mark.parametrize("megabytes", [(64, 32), (32, 64)], ids=["lowering", "raising"])
def test_memory_and_swap_can_be_changed_either_way(
    host: CgroupHost, make: Callable[..., Cgroup], megabytes: tuple[int, int]
) -> None:
    require(host, "memory")
    before, after = (size * MEGABYTE for size in megabytes)
    cgroup = make(resources={"memory": {"limit": before, "swap": before}})
    cgroup.update({"memory": {"limit": after, "swap": after}})
    file = "memory.max" if host.mode == "v2" else "memory.memsw.limit_in_bytes"

    with open(f"{cgroup.directory_of('memory')}/{file}") as limit:
        assert int(limit.read()) == after


@pytest.mark.parametrize("quotas", [(50000, 20000), (20000, 50000)], ids=["lowering", "raising"])
def test_quota_and_burst_can_be_changed_either_way(
    host: CgroupHost, make: Callable[..., Cgroup], quotas: tuple[int, int]
) -> None:
    require(host, "cpu")
    before, after = quotas
    cgroup = make(resources={"cpu": {"quota": before, "burst": before}})
    cgroup.update({"cpu": {"quota": after, "burst": after}})
    file = "cpu.max.burst" if host.mode == "v2" else "cpu.cfs_burst_us"

    with open(f"{cgroup.directory_of('cpu')}/{file}") as burst:
        assert int(burst.read()) == after


def test_new_period_leaves_the_quota_as_it_was(
    host: CgroupHost, make: Callable[..., Cgroup]
) -> None:
    require(host, "cpu")
    cgroup = make(resources={"cpu": {"quota": 20000}})
    cgroup.update({"cpu": {"period": 50000}})
    names = ["cpu.max"] if host.mode == "v2" else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
    seen = ""
    for name in names:
        with open(f"{cgroup.directory_of('cpu')}/{name}") as file:
            seen += file.read()

    assert seen.split() == ["20000", "50000"]


def test_update_reaches_a_controller_that_the_container_did_not_have(
    host: CgroupHost, make: Callable[..., Cgroup]
) -> None:
    require(host, "memory", "pids")
    cgroup = make(resources={"memory": {"limit": 64 * MEGABYTE}})
    pid = started(cgroup, forever)
    cgroup.update({"pids": {"limit": 7}})
    stats = cgroup.stats()
    cgroup.kill()
    os.waitpid(pid, 0)

    assert stats.pids == 1


def test_check_before_update_spares_a_container_that_uses_more(
    host: CgroupHost, make: Callable[..., Cgroup]
) -> None:
    require(host, "memory")
    cgroup = make(resources={"memory": {"limit": 128 * MEGABYTE, "swap": 128 * MEGABYTE}})
    reader, writer = os.pipe()

    def hold() -> None:
        kept = bytearray(b"x") * (32 * MEGABYTE)
        os.write(writer, b"!")
        forever()
        del kept

    pid = start(cgroup, hold)
    os.read(reader, 1)
    small = 4 * MEGABYTE
    with pytest.raises(SyscallError) as caught:
        cgroup.update({"memory": {"limit": small, "swap": small, "checkBeforeUpdate": True}})
    alive = os.waitpid(pid, os.WNOHANG) == (0, 0)
    cgroup.kill()
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)

    assert caught.value.errno == errno.EBUSY
    assert alive
    assert cgroup.oom_kills() == 0


def test_stats_count_what_was_used(host: CgroupHost, make: Callable[..., Cgroup]) -> None:
    require(host, "memory", "cpu")
    cgroup = make(controllers=("memory", "cpuacct", "pids"))

    def use() -> None:
        bytearray(b"x") * (8 * MEGABYTE)
        while time.process_time() < 0.02:
            pass

    run(cgroup, use)
    stats = cgroup.stats()

    assert (stats.memory_peak_bytes or 0) > 8 * MEGABYTE
    assert (stats.cpu_ns or 0) >= 10_000_000
    assert (stats.pids, stats.oom_kills) == (0, 0)


def test_leftovers_are_those_of_no_live_container(
    host: CgroupHost, make: Callable[..., Cgroup]
) -> None:
    make("alive", freezer=True)
    dead = make("dead", freezer=True)
    found = leftovers(PARENT, {"alive"}, host=host)

    assert [(c.path, c.directories) for c in found] == [(f"{PARENT}/dead", dead.directories)]


def test_reopened_cgroup_is_the_same(host: CgroupHost, make: Callable[..., Cgroup]) -> None:
    cgroup = make(freezer=True)
    pid = started(cgroup, forever)
    again = Cgroup.at(cgroup.directories, host=host)
    seen = again.processes()
    again.kill()
    os.waitpid(pid, 0)

    assert (again.path, seen) == (cgroup.path, (pid,))


def test_unified_is_obeyed_on_v2_and_refused_on_v1(
    host: CgroupHost, make: Callable[..., Cgroup]
) -> None:
    resources = {"unified": {"cgroup.max.depth": "3"}}
    if host.mode != "v2":
        with pytest.raises(UnsupportedError):
            make(resources=resources)
        return
    cgroup = make(resources=resources)

    with open(f"{cgroup.directories[0]}/cgroup.max.depth") as file:
        assert file.read() == "3\n"


def test_many_lives_leave_no_directory_and_no_descriptor(
    host: CgroupHost, make: Callable[..., Cgroup]
) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))

    def lives(name: str) -> None:
        for _ in range(20):
            cgroup = Cgroup.create(f"{PARENT}/{name}", {}, host=host, freezer=True)
            run(cgroup, lambda: 0)
            cgroup.kill()
            cgroup.remove()

    threads = [threading.Thread(target=lives, args=(name,)) for name in ("p", "q")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert leftovers(PARENT, (), host=host) == ()
    assert len(os.listdir("/proc/self/fd")) == descriptors
