"""What a cgroup has used, in the document that ``runc events`` prints and its callers parse.

The names and the units are runc's (its types/events.go), which are those of cgroup v1: memory+swap
is one number, time is in nanoseconds, no limit is the largest number, and what is 0 is left out
where Go's encoder leaves it out.  Each part is read from the version that its controller has here.
"""

from __future__ import annotations

import os

from newroot.isolation.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from newroot.isolation.cgroups.cgroup import Cgroup

    Document = dict[str, object]

_UNLIMITED = 2**64 - 1
_CPUSET_FLAGS = (
    *("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page"),
    *("memory_spread_slab", "memory_pressure", "sched_load_balance", "sched_relax_domain_level"),
)
_BFQ_TABLES = (
    ("sectorsRecursive", "sectors_recursive"),
    ("ioServiceTimeRecursive", "io_service_time_recursive"),
    ("ioWaitTimeRecursive", "io_wait_time_recursive"),
    ("ioMergedRecursive", "io_merged_recursive"),
    ("ioQueueRecursive", "io_queued_recursive"),
    ("ioTimeRecursive", "time_recursive"),
    ("ioServicedRecursive", "io_serviced_recursive"),
    ("ioServiceBytesRecursive", "io_service_bytes_recursive"),
)
_THROTTLE_TABLES = (
    ("ioServicedRecursive", "io_serviced_recursive"),
    ("ioServiceBytesRecursive", "io_service_bytes_recursive"),
)


def stats_document(cgroup: Cgroup) -> Document:
    """The ``data`` of an event of the type ``stats``."""
    unified = cgroup.directory_of("") if cgroup.host.mode == "v2" else None
    if unified is not None:
        parts = _v2(unified)
    else:
        parts = _v1(cgroup.directory_of)
    return {
        **parts,
        "pids": _pids(cgroup.directory_of("pids")),
        "hugetlb": dict(_huge_pages(cgroup.directory_of("hugetlb"))),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _given(values: Iterable[tuple[str, object]]) -> Document:
    """Without what Go's ``omitempty`` leaves out."""
    return {key: value for key, value in values if value not in (None, 0, [], {}, "")}


def _pids(directory: str | None) -> Document:
    return _given(
        (key, _find_number(directory, f"pids.{file}"))
        for key, file in (("current", "current"), ("limit", "max"))
    )


def _huge_pages(directory: str | None) -> Iterator[tuple[str, Document]]:
    for path in _listed(directory, "hugetlb."):
        size, _, what = path.removeprefix("hugetlb.").partition(".")
        if what in ("current", "usage_in_bytes"):
            usage = _find_number(directory, path)
            peak = _find_number(directory, f"hugetlb.{size}.max_usage_in_bytes")
            events = files.keyed_numbers(_find(directory, f"hugetlb.{size}.events"))
            failures = events.get("max") or _find_number(directory, f"hugetlb.{size}.failcnt") or 0
            yield size, {**_given((("usage", usage), ("max", peak))), "failcnt": failures}


# cgroup v2


def _v2(directory: str) -> Document:
    cpu = files.keyed_numbers(_find(directory, "cpu.stat"))
    usage = {
        **_given((("total", cpu.get("usage_usec", 0) * 1000),)),
        "kernel": cpu.get("system_usec", 0) * 1000,
        "user": cpu.get("user_usec", 0) * 1000,
    }
    throttling = _given(
        (
            ("periods", cpu.get("nr_periods")),
            ("throttledPeriods", cpu.get("nr_throttled")),
            ("throttledTime", cpu.get("throttled_usec", 0) * 1000),
        )
    )
    return {
        "cpu": {"usage": usage, "throttling": throttling, **_pressure(directory, "cpu")},
        "cpuset": _cpuset(None),
        "memory": {**_memory_v2(directory), **_pressure(directory, "memory")},
        "blkio": {**_io_v2(_find(directory, "io.stat")), **_pressure(directory, "io")},
    }


def _memory_v2(directory: str) -> Document:
    raw = files.keyed_numbers(_find(directory, "memory.stat"))
    usage = _memory_entry_v2(directory, "memory")
    swap = _memory_entry_v2(directory, "memory.swap")
    both = dict(swap)
    if swap:
        both["usage"] += usage.get("usage", 0)
        if both["limit"] != _UNLIMITED:
            both["limit"] += usage.get("limit", 0)
        both["max"] = 0  # the two peaks need not have been at the same time
    return {
        **_given((("cache", raw.get("file")),)),
        "usage": _memory_entry(usage),
        "swap": _memory_entry(both),
        "kernel": _memory_entry({}),
        "kernelTCP": _memory_entry({}),
        **_given((("raw", raw),)),
    }


def _memory_entry_v2(directory: str, name: str) -> dict[str, int]:
    usage = _find_number(directory, f"{name}.current")
    if usage is None:
        return {}
    limit = _find_number(directory, f"{name}.max")
    return {
        "usage": usage,
        "limit": _UNLIMITED if limit is None else limit,
        "max": _find_number(directory, f"{name}.peak") or 0,
    }


def _memory_entry(entry: dict[str, int]) -> Document:
    return {
        "limit": entry.get("limit", 0),
        **_given((key, entry.get(key)) for key in ("usage", "max")),
        "failcnt": entry.get("failcnt", 0),
    }


def _io_v2(text: str | None) -> Document:
    tables: dict[str, list[Document]] = {}
    for line in (text or "").splitlines():
        device, *words = line.split()
        for word in words:
            key, _, value = word.partition("=")
            if key in _IO_TABLES and value.isdecimal():
                table, op = _IO_TABLES[key]
                tables.setdefault(table, []).append(_io_entry(device, op, int(value)))
    return dict(tables)


_IO_TABLES = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def _io_entry(device: str, op: str, value: int) -> Document:
    major, _, minor = device.partition(":")
    return _given((("major", int(major)), ("minor", int(minor)), ("op", op), ("value", value)))


def _pressure(directory: str, name: str) -> Document:
    """``psi``: lines of ``some avg10=0.00 avg60=0.00 avg300=0.00 total=0``."""
    try:
        text = _find(directory, f"{name}.pressure")
    except OSError:
        return {}  # EOPNOTSUPP: switched off by psi=0 on the kernel's command line
    found = {}
    for line in (text or "").splitlines():
        kind, *words = line.split()
        pairs = [word.partition("=") for word in words]
        found[kind] = {k: int(v) if k == "total" else float(v) for k, _, v in pairs}
    if not found:
        return {}
    empty = {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0}
    return {"psi": {kind: found.get(kind, empty) for kind in ("some", "full")}}


# cgroup v1


def _v1(directory_of: Callable[[str], str | None]) -> Document:
    return {
        "cpu": _cpu_v1(directory_of("cpu"), directory_of("cpuacct")),
        "cpuset": _cpuset(directory_of("cpuset")),
        "memory": _memory_v1(directory_of("memory")),
        "blkio": _io_v1(directory_of("blkio")),
    }


def _cpu_v1(cpu: str | None, cpuacct: str | None) -> Document:
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    stat = files.keyed_numbers(_find(cpuacct, "cpuacct.stat"))
    throttled = files.keyed_numbers(_find(cpu, "cpu.stat"))
    lines = [line.split() for line in (_find(cpuacct, "cpuacct.usage_all") or "").splitlines()]
    columns = list(zip(*lines[1:], strict=True)) if len(lines) > 1 else []
    user, kernel = (list(map(int, column)) for column in columns[1:3]) if columns else ([], [])
    per_cpu = [int(word) for word in (_find(cpuacct, "cpuacct.usage_percpu") or "").split()]
    usage = {
        **_given(
            (
                ("total", _find_number(cpuacct, "cpuacct.usage")),
                ("percpu", per_cpu),
                ("percpu_kernel", kernel),
                ("percpu_user", user),
            )
        ),
        "kernel": stat.get("system", 0) * tick_ns,
        "user": stat.get("user", 0) * tick_ns,
    }
    throttling = _given(
        (
            ("periods", throttled.get("nr_periods")),
            ("throttledPeriods", throttled.get("nr_throttled")),
            ("throttledTime", throttled.get("throttled_time")),
        )
    )
    return {"usage": usage, "throttling": throttling}


def _cpuset(directory: str | None) -> Document:
    lists = [(f"{name}s", _members(_find(directory, f"cpuset.{name}s"))) for name in ("cpu", "mem")]
    flags = {flag: _integer(_find(directory, f"cpuset.{flag}")) for flag in _CPUSET_FLAGS}
    return {**_given(lists), **flags}


def _members(text: str | None) -> list[int]:
    """``0-2,7``: cpuset(7), List format."""
    found: list[int] = []
    for part in (text or "").strip().split(","):
        low, _, high = part.partition("-")
        if low:
            found.extend(range(int(low), int(high or low) + 1))
    return found


def _memory_v1(directory: str | None) -> Document:
    raw = files.keyed_numbers(_find(directory, "memory.stat"))
    kinds = (("usage", ""), ("swap", "memsw."), ("kernel", "kmem."), ("kernelTCP", "kmem.tcp."))
    return {
        **_given((("cache", raw.get("cache")),)),
        **{key: _memory_entry(_memory_entry_v1(directory, infix)) for key, infix in kinds},
        **_given((("raw", raw),)),
    }


def _memory_entry_v1(directory: str | None, infix: str) -> dict[str, int]:
    words = {"limit": "limit_in_bytes", "usage": "usage_in_bytes", "max": "max_usage_in_bytes"}
    files_ = {**words, "failcnt": "failcnt"}
    found = {key: _find_number(directory, f"memory.{infix}{file}") for key, file in files_.items()}
    return {key: value for key, value in found.items() if value is not None}


def _io_v1(directory: str | None) -> Document:
    for prefix, tables in (("blkio.bfq.", _BFQ_TABLES), ("blkio.throttle.", _THROTTLE_TABLES)):
        found = {key: _io_table(_find(directory, prefix + file)) for key, file in tables}
        if any(found.values()):
            return _given(found.items())
    return {}


def _io_table(text: str | None) -> list[Document]:
    """Lines of ``8:0 Read 1`` or ``8:0 1``; the last, ``Total 3``, has no device."""
    lines = [line.split() for line in (text or "").splitlines()]
    return [
        _io_entry(words[0], words[1] if len(words) == 3 else "", int(words[-1]))
        for words in lines
        if words and ":" in words[0]
    ]


# Reading


def _find(directory: str | None, file: str) -> str | None:
    return None if directory is None else files.find(f"{directory}/{file}")


def _find_number(directory: str | None, file: str) -> int | None:
    return None if directory is None else files.find_number(f"{directory}/{file}")


def _integer(text: str | None) -> int:
    return int(text) if text and text.strip().lstrip("-").isdecimal() else 0


def _listed(directory: str | None, prefix: str) -> list[str]:
    try:
        names = os.listdir(directory) if directory is not None else []
    except FileNotFoundError:
        names = []  # the container has just been deleted
    return sorted(name for name in names if name.startswith(prefix))
