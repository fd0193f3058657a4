"""What systemd is told of a container: its unit's name, slice and properties.  Pure.

systemd keeps a cgroup's limits itself and writes them again when it likes (daemon-reload), so it
must know those that it has words for: systemd.resource-control(5).  They are read off the writes
that the limits come to anyway, and all of those are still written to the files, for systemd has
not a word for each.  What is said how follows runc: its docs/systemd.md.
"""

from __future__ import annotations

from newroot.errors import SpecError
from newroot.isolation.cgroups.devices import ANY
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from newroot.isolation.cgroups.devices import Rules
    from newroot.isolation.cgroups.resources import Write

    #: D-Bus signature and value.
    Variant = tuple[str, object]

_POINTER = "/linux/cgroupsPath"
_INFINITY = 2**64 - 1
_DEFAULT_PERIOD_US = 100000
#: CPUWeight=0 is "idle" since systemd 252.
_IDLE_SINCE = 252


@record
class UnitName:
    """What ``slice:prefix:name`` in cgroupsPath comes to."""

    slice: str
    unit: str

    def path(self) -> str:
        """The cgroup, below that of the manager that makes it."""
        return f"{expand_slice(self.slice)}/{self.unit}"


def unit_name(untrusted_path: str | None, container_id: str, *, user: bool) -> UnitName:
    """The unit for an OCI ``cgroupsPath``; without one, ``runc-<id>.scope``'s like in the default
    slice of the *user*'s or the system's manager.

    Raises SpecError for one that is not ``slice:prefix:name``.
    """
    default = "user.slice" if user else "system.slice"
    if not untrusted_path:
        return UnitName(slice=default, unit=f"newroot-{container_id}.scope")
    parts = untrusted_path.split(":")
    if len(parts) != 3 or not parts[2]:
        raise SpecError(
            f"{untrusted_path!r} is not slice:prefix:name, which is what systemd wants",
            pointer=_POINTER,
            hint="give it in that form, or do without --systemd-cgroup",
        )
    parent, prefix, name = parts
    if any("/" in part or "\0" in part or "\n" in part for part in parts):
        raise SpecError(f"{untrusted_path!r} names no unit", pointer=_POINTER)
    expand_slice(parent or default)
    unit = (
        name if name.endswith(".slice") else f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    )
    return UnitName(slice=parent or default, unit=unit)


def expand_slice(name: str) -> str:
    """``a-b.slice`` is the cgroup ``/a.slice/a-b.slice``: systemd.slice(5)."""
    stem = name.removesuffix(".slice")
    if stem == "-" and name != stem:
        return ""
    parts = stem.split("-")
    if stem == name or not all(parts) or "/" in name:
        raise SpecError(f"{name!r} is not the name of a slice", pointer=_POINTER)
    return "".join(f"/{'-'.join(parts[: n + 1])}.slice" for n in range(len(parts)))


def scope_properties(
    name: UnitName, container_id: str, pid: int, *, v2: bool
) -> dict[str, Variant]:
    """What the unit is: not its limits, but where it is, who is in it and that it is ours."""
    io = "IOAccounting" if v2 else "BlockIOAccounting"
    accounting = ("MemoryAccounting", "CPUAccounting", io, "TasksAccounting")
    return {
        "Description": ("s", f"newroot container {container_id}"),
        "Slice": ("s", name.slice),
        # The limits below it are ours, and the container's.
        "Delegate": ("b", True),
        "PIDs": ("au", [pid]),
        **dict.fromkeys(accounting, ("b", True)),
        # It ends when its container does, not at once when the machine goes down.
        "DefaultDependencies": ("b", False),
    }


def limit_properties(writes: Iterable[Write], *, version: int) -> dict[str, Variant]:
    """The properties for the limits that *writes* set, for systemd *version*."""
    values = {write.file: write.value for write in writes}
    found: dict[str, Variant] = {}
    for file, value in values.items():
        if file in _PROPERTIES:
            name, translate = _PROPERTIES[file]
            found[name] = translate(value)
    if values.get("cpu.idle") == "1" and version >= _IDLE_SINCE:
        found["CPUWeight"] = ("t", 0)
    return {**found, **_bandwidth(values)}


def device_properties(rules: Rules) -> dict[str, Variant]:
    """What systemd's own device program would allow.

    It must allow no less than ours, which is attached beside it, for both must say yes.  So where
    the rules deny single devices or give a minor number for every major one, which systemd cannot
    say, it allows all and ours alone decides.
    """
    entries = [
        (_device_path(rule.kind, rule.major, rule.minor), rule.access) for rule in rules.exceptions
    ]
    if rules.allow or not all(path for path, _ in entries):
        return {"DevicePolicy": ("s", "auto"), "DeviceAllow": ("a(ss)", [])}
    return {"DevicePolicy": ("s", "strict"), "DeviceAllow": ("a(ss)", entries)}


def _device_path(kind: str, major: int, minor: int) -> str:
    long = {"b": "block", "c": "char"}[kind]
    if major == ANY:
        return f"{long}-*" if minor == ANY else ""
    return f"{long}-{major}" if minor == ANY else f"/dev/{long}/{major}:{minor}"


def _number(value: str) -> Variant:
    return ("t", _INFINITY if value in ("max", "-1") else int(value))


def _bits(value: str) -> Variant:
    """A list of CPUs as systemd takes it: a byte for eight of them, the first in the lowest bit."""
    members: set[int] = set()
    for part in value.replace(",", " ").split():
        low, _, high = part.partition("-")
        members.update(range(int(low), int(high or low) + 1))
    size = max(members, default=-1) // 8 + 1
    return (
        "ay",
        bytes(sum(1 << bit for bit in range(8) if 8 * n + bit in members) for n in range(size)),
    )


def _bandwidth(values: dict[str, str]) -> dict[str, Variant]:
    """CPUQuotaPerSecUSec: µs of CPU in a second, in steps of 1 %, so that no container below gets
    less than it was promised; and the period."""
    quota, period = values.get("cpu.cfs_quota_us"), values.get("cpu.cfs_period_us")
    if "cpu.max" in values:
        words = values["cpu.max"].split()
        quota, period = words[0], words[1] if len(words) > 1 else None
    if quota is None and period is None:
        return {}
    found: dict[str, Variant] = {}
    if period is not None:
        found["CPUQuotaPeriodUSec"] = ("t", int(period))
    per_second = _INFINITY
    if quota not in (None, "max") and int(quota or 0) > 0:
        per_second = int(quota or 0) * 1000000 // int(period or _DEFAULT_PERIOD_US)
        per_second = -(-per_second // 10000) * 10000
    found["CPUQuotaPerSecUSec"] = ("t", per_second)
    return found


_PROPERTIES: dict[str, tuple[str, Callable[[str], Variant]]] = {
    "memory.max": ("MemoryMax", _number),
    "memory.high": ("MemoryHigh", _number),
    "memory.low": ("MemoryLow", _number),
    "memory.min": ("MemoryMin", _number),
    "memory.swap.max": ("MemorySwapMax", _number),
    "memory.limit_in_bytes": ("MemoryLimit", _number),
    "cpu.weight": ("CPUWeight", _number),
    "cpu.shares": ("CPUShares", _number),
    "pids.max": ("TasksMax", _number),
    "blkio.weight": ("BlockIOWeight", _number),
    "cpuset.cpus": ("AllowedCPUs", _bits),
    "cpuset.mems": ("AllowedMemoryNodes", _bits),
}
