"""OCI ``linux.resources`` -> cgroup v1 files.  Pure: ``writes()`` touches nothing.

The OCI resources were written down with v1 in mind, so nearly every value is one file.  The file
names and what they take: the kernel's Documentation/admin-guide/cgroup-v1.  The order of the
writes is right for a new cgroup; in one that has limits the kernel can refuse a write until a
later one is done (see ``Cgroup.update``).
"""

from __future__ import annotations

from newroot.isolation.cgroups.resources import (
    BLKIO_WEIGHT,
    INT64,
    LIMIT,
    POINTER,
    SHARES,
    UINT32,
    UINT64,
    Section,
    Write,
    cpu_bandwidth,
    device_number,
    huge_page_limits,
    pids_writes,
    rdma_writes,
    unsupported,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
)


def writes(resources: dict[str, object]) -> tuple[Write, ...]:
    """The files that *resources* come to, in the order to write them in a new cgroup.

    Raises SpecError for a wrong value, UnsupportedError for ``unified``, which is v2 alone.
    """
    top = Section(resources, POINTER)
    if top.section("unified").values:
        raise unsupported(top, "unified", "this host's controllers are cgroup v1")
    cpu = top.section("cpu")
    return (
        *_cpuset(cpu),
        *_devices(top),
        *_memory(top.section("memory")),
        *_cpu(cpu),
        *pids_writes(top),
        *_block_io(top.section("blockIO")),
        *_huge_pages(top),
        *network_writes(top.section("network")),
        *rdma_writes(top),
    )


def _cpuset(cpu: Section) -> Iterator[Write]:
    for name in ("cpus", "mems"):
        value = cpu.cpu_list(name)
        if value:
            yield Write(controller="cpuset", file=f"cpuset.{name}", value=value)


_device_writes: dict[str, tuple[Write, ...]] = {}


def _devices(top: Section) -> tuple[Write, ...]:
    if top.values.get("devices") is None:
        return ()
    from newroot.isolation.cgroups.devices import read_rules, remember, v1_lines

    def make(top: Section) -> tuple[Write, ...]:
        lines = v1_lines(read_rules(top))
        return tuple(Write(controller="devices", file=file, value=line) for file, line in lines)

    return remember(_device_writes, top, make)


def _memory(memory: Section) -> Iterator[Write]:
    # kernel and kernelTCP are left out, as in runc: the kernel has ignored them since 5.11
    # (commit a8c49af3be5f), and useHierarchy, which is always on since then.
    limit = memory.find_set("limit", LIMIT)
    swap = memory.find_set("swap", LIMIT)
    if limit is not None and limit > 0 and swap is not None and 0 < swap < limit:
        raise memory.wrong("swap", f"memory+swap {swap} is below the memory limit {limit}")
    if limit is not None:
        yield Write(controller="memory", file="memory.limit_in_bytes", value=str(limit))
    if swap is not None:
        yield Write(controller="memory", file="memory.memsw.limit_in_bytes", value=str(swap))
    elif limit == -1:
        # memory.limit_in_bytes may not exceed memory+swap, so that goes too; where the kernel
        # does not count swap there is no such file.
        yield Write(
            controller="memory", file="memory.memsw.limit_in_bytes", value="-1", optional=True
        )
    reservation = memory.find_set("reservation", LIMIT)
    if reservation is not None:
        yield Write(controller="memory", file="memory.soft_limit_in_bytes", value=str(reservation))
    if memory.flag("disableOOMKiller"):
        yield Write(controller="memory", file="memory.oom_control", value="1")
    swappiness = find_swappiness(memory)
    if swappiness is not None:
        yield Write(controller="memory", file="memory.swappiness", value=str(swappiness))


def find_swappiness(memory: Section) -> int | None:
    """0 to 100; -1, also as an unsigned number, is "not given" (Docker writes it)."""
    if memory.values.get("swappiness") in (-1, 2**64 - 1):
        return None
    return memory.find_integer("swappiness", (0, 100))


def _cpu(cpu: Section) -> Iterator[Write]:
    idle = cpu.find_integer("idle", (0, 1))
    # In an idle cgroup the kernel refuses shares (sched_group_set_shares), so idle is taken
    # away before they are set, and given after.
    if idle == 0:
        yield Write(controller="cpu", file="cpu.idle", value="0")
    shares = cpu.find_set("shares", SHARES)
    if shares is not None:
        yield Write(controller="cpu", file="cpu.shares", value=str(shares))
    if idle == 1:
        yield Write(controller="cpu", file="cpu.idle", value="1")
    quota, period, burst = cpu_bandwidth(cpu)
    realtime = cpu_realtime(cpu)
    # The burst comes last: it may not exceed the quota.
    for value, file in (
        (period, "cpu.cfs_period_us"),
        (quota, "cpu.cfs_quota_us"),
        (burst, "cpu.cfs_burst_us"),
        (realtime[0], "cpu.rt_period_us"),
        (realtime[1], "cpu.rt_runtime_us"),
    ):
        if value is not None:
            yield Write(controller="cpu", file=file, value=str(value))


def cpu_realtime(cpu: Section) -> tuple[int | None, int | None]:
    """Period and runtime in microseconds."""
    return cpu.find_set("realtimePeriod", UINT64), cpu.find_set("realtimeRuntime", INT64)


def _block_io(block_io: Section) -> Iterator[Write]:
    weight = block_io.find_set("weight", BLKIO_WEIGHT)
    if weight is not None:
        yield _weight("blkio.weight", str(weight))
    leaf_weight = block_io.find_set("leafWeight", BLKIO_WEIGHT)
    if leaf_weight is not None:
        yield Write(controller="blkio", file="blkio.leaf_weight", value=str(leaf_weight))
    for entry in block_io.sections("weightDevice"):
        device = device_number(entry)
        weight = entry.find_set("weight", BLKIO_WEIGHT)
        if weight is not None:
            yield _weight("blkio.weight_device", f"{device} {weight}")
        leaf_weight = entry.find_set("leafWeight", BLKIO_WEIGHT)
        if leaf_weight is not None:
            value = f"{device} {leaf_weight}"
            yield Write(controller="blkio", file="blkio.leaf_weight_device", value=value)
    for name, file in _THROTTLES:
        for entry in block_io.sections(name):
            value = f"{device_number(entry)} {entry.get_integer('rate', UINT64)}"
            yield Write(controller="blkio", file=file, value=value)


def _weight(file: str, value: str) -> Write:
    # blkio.weight went with the CFQ scheduler in Linux 5.0; BFQ has its own.
    bfq = Write(controller="blkio", file=file.replace("blkio.", "blkio.bfq."), value=value)
    return Write(controller="blkio", file=file, value=value, instead=bfq)


def _huge_pages(top: Section) -> Iterator[Write]:
    for size, limit in huge_page_limits(top):
        for file in (f"hugetlb.{size}.limit_in_bytes", f"hugetlb.{size}.rsvd.limit_in_bytes"):
            # Reservations are counted since Linux 5.7.
            yield Write(controller="hugetlb", file=file, value=str(limit), optional="rsvd" in file)


def network_writes(network: Section) -> Iterator[Write]:
    class_id = network.find_set("classID", UINT32)
    if class_id is not None:
        yield Write(controller="net_cls", file="net_cls.classid", value=str(class_id))
    for entry in network.sections("priorities"):
        value = f"{entry.word('name')} {entry.get_integer('priority', UINT32)}"
        yield Write(controller="net_prio", file="net_prio.ifpriomap", value=value)
