"""OCI ``linux.resources`` -> cgroup v2 files.  Pure: ``writes()`` touches nothing.

The OCI resources speak cgroup v1, so some values are converted here, each as runc does it now:
CPU shares to a weight, memory+swap to swap alone, blkio weights to io weights.  What v2 has no
word for is checked and then left out, as runc does (crun refuses it): realtime time, network
classes, swappiness, leaf weights, the OOM killer's switch.  The files: the kernel's
Documentation/admin-guide/cgroup-v2.rst.  Device rules are no file but a program: devices_v2.py.
"""

from __future__ import annotations

from newroot.isolation.cgroups.resources import (
    BLKIO_WEIGHT,
    LIMIT,
    POINTER,
    UINT64,
    Section,
    Write,
    cpu_bandwidth,
    device_number,
    huge_page_limits,
    pids_writes,
    rdma_writes,
)
from newroot.isolation.cgroups.resources_v1 import cpu_realtime, find_swappiness, network_writes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_THROTTLES = (
    ("throttleReadBpsDevice", "rbps"),
    ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"),
    ("throttleWriteIOPSDevice", "wiops"),
)


def writes(resources: dict[str, object]) -> tuple[Write, ...]:
    """The files that *resources* come to, in the order to write them in a new cgroup.

    Raises SpecError for a wrong value, UnsupportedError for one that cgroup v2 has no word for.
    """
    top = Section(resources, POINTER)
    cpu = top.section("cpu")
    tuple(network_writes(top.section("network")))
    return (
        *pids_writes(top),
        *_memory(top.section("memory")),
        *_block_io(top.section("blockIO")),
        *_cpu(cpu),
        *_cpuset(cpu),
        *_huge_pages(top),
        *rdma_writes(top),
        # Last, so that it has the last word, as in runc.
        *_unified(top.section("unified")),
    )


def weight_of_shares(shares: int) -> int:
    """The cpu.weight for v1's cpu.shares.

    A quadratic through (2, 1), (1024, 100) and (262144, 10000), the least, default and greatest
    of both: https://github.com/opencontainers/runc/pull/4785 (runc 1.3.2, crun 1.23).  The older
    straight line made a default container 39 where everything else on the host has 100.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    import math

    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def io_weight_of_blkio(weight: int) -> int:
    """The io.weight (1 to 10000) for a blkio weight (10 to 1000): a straight line, as in runc."""
    return 1 + (weight - 10) * 9999 // 990


def _memory(memory: Section) -> Iterator[Write]:
    memory.flag("disableOOMKiller")
    find_swappiness(memory)
    limit = memory.find_set("limit", LIMIT)
    swap = _swap(memory, limit)
    reservation = memory.find_set("reservation", LIMIT)
    for value, file in (
        (swap, "memory.swap.max"),
        (limit, "memory.max"),
        (reservation, "memory.low"),
    ):
        if value is not None:
            # Lifting a swap limit may be spared where swap is not counted.
            optional = file == "memory.swap.max" and value == -1
            text = "max" if value == -1 else str(value)
            yield Write(controller="memory", file=file, value=text, optional=optional)


def _swap(memory: Section, limit: int | None) -> int | None:
    """memory.swap.max for OCI's memory+swap."""
    both = memory.find_set("swap", LIMIT)
    if both is None:
        # No limit on memory and no word on swap meant no limit on either on v1.
        return -1 if limit == -1 else None
    if both == -1 or limit == -1:
        return both
    if limit is None:
        raise memory.wrong("swap", "memory+swap cannot be limited without a memory limit")
    if both < limit:
        raise memory.wrong("swap", f"memory+swap {both} is below the memory limit {limit}")
    return both - limit


def _cpu(cpu: Section) -> Iterator[Write]:
    cpu_realtime(cpu)
    idle = cpu.find_integer("idle", (0, 1))
    # As on v1: an idle cgroup refuses a weight.
    if idle == 0:
        yield Write(controller="cpu", file="cpu.idle", value="0")
    shares = cpu.find_set("shares", UINT64)
    if shares is not None:
        yield Write(controller="cpu", file="cpu.weight", value=str(weight_of_shares(shares)))
    if idle == 1:
        yield Write(controller="cpu", file="cpu.idle", value="1")
    quota, period, burst = cpu_bandwidth(cpu)
    if quota is not None or period is not None:
        words = ["max" if quota is None or quota < 0 else str(quota)]
        # Without its second word the kernel keeps the period that it has, at first 100000.
        if period is not None:
            words.append(str(period))
        yield Write(controller="cpu", file="cpu.max", value=" ".join(words))
    if burst is not None:
        yield Write(controller="cpu", file="cpu.max.burst", value=str(burst))


def _cpuset(cpu: Section) -> Iterator[Write]:
    for name in ("cpus", "mems"):
        value = cpu.cpu_list(name)
        if value:
            yield Write(controller="cpuset", file=f"cpuset.{name}", value=value)


def _block_io(block_io: Section) -> Iterator[Write]:
    weight = block_io.find_set("weight", BLKIO_WEIGHT)
    if weight is not None:
        yield _weight("", weight)
    block_io.find_set("leafWeight", BLKIO_WEIGHT)
    for entry in block_io.sections("weightDevice"):
        device = device_number(entry)
        weight = entry.find_set("weight", BLKIO_WEIGHT)
        if weight is not None:
            yield _weight(f"{device} ", weight)
        entry.find_set("leafWeight", BLKIO_WEIGHT)
    for name, word in _THROTTLES:
        for entry in block_io.sections(name):
            device, rate = device_number(entry), entry.get_integer("rate", UINT64)
            # 0 takes the limit away on v1; here it would be an error.
            yield Write(controller="io", file="io.max", value=f"{device} {word}={rate or 'max'}")


def _weight(device: str, weight: int) -> Write:
    # io.bfq.weight is there when the BFQ scheduler is, and has v1's range.
    cost = Write(controller="io", file="io.weight", value=f"{device}{io_weight_of_blkio(weight)}")
    return Write(controller="io", file="io.bfq.weight", value=f"{device}{weight}", instead=cost)


def _huge_pages(top: Section) -> Iterator[Write]:
    for size, limit in huge_page_limits(top):
        for file in (f"hugetlb.{size}.max", f"hugetlb.{size}.rsvd.max"):
            # Reservations are counted since Linux 5.7.
            yield Write(controller="hugetlb", file=file, value=str(limit), optional="rsvd" in file)


def _unified(unified: Section) -> Iterator[Write]:
    """Files by their own names; one write a line, for the kernel takes one line a write."""
    for file in unified.values:
        controller, dot, _ = file.partition(".")
        if not dot or not controller or "/" in file or "\0" in file:
            raise unified.wrong(file, "is not the name of a cgroup file such as memory.high")
        for line in unified.text(file).splitlines():
            yield Write(
                controller="" if controller == "cgroup" else controller, file=file, value=line
            )
