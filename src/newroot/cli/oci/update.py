"""``newroot-oci update``: change the limits of a container, by a document or by single flags."""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.oci.verbs import VERBS
from newroot.errors import UnsupportedError, UsageError, WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext

_NUMBER, _SIZE, _TEXT = "NUMBER", "BYTES", "LIST"
#: flag -> section and member of an OCI resources object, what its value is, help.
_FLAGS: dict[str, tuple[str, str, str, str]] = {
    "blkio-weight": ("blockIO", "weight", _NUMBER, "Weight among cgroups, 10 to 1000"),
    "cpu-period": ("cpu", "period", _NUMBER, "Period of the quota, in µs"),
    "cpu-quota": ("cpu", "quota", _NUMBER, "CPU time in a period, in µs; -1 for no limit"),
    "cpu-burst": ("cpu", "burst", _NUMBER, "CPU time that may be saved up, in µs"),
    "cpu-share": ("cpu", "shares", _NUMBER, "Weight among cgroups, 2 to 262144"),
    "cpu-rt-period": ("cpu", "realtimePeriod", _NUMBER, "Period of realtime processes, in µs"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", _NUMBER, "Their CPU time in a period, in µs"),
    "cpu-idle": ("cpu", "idle", _NUMBER, "1 runs it only when nobody else would"),
    "cpuset-cpus": ("cpu", "cpus", _TEXT, "The CPUs that it may run on, as 0-3,6"),
    "cpuset-mems": ("cpu", "mems", _TEXT, "The memory nodes that it may use"),
    "memory": ("memory", "limit", _SIZE, "Memory limit; -1 for none"),
    "memory-reservation": ("memory", "reservation", _SIZE, "Memory that it keeps under pressure"),
    "memory-swap": ("memory", "swap", _SIZE, "Limit of memory and swap together; -1 for none"),
    "pids-limit": ("pids", "limit", _NUMBER, "How many processes; -1 for no limit"),
}


def _update(parsed: Parsed, context: OciContext) -> int:
    from newroot.container.oci_state import STOPPED, load
    from newroot.container.oci_update import update_resources

    container = load(context.root, parsed.positionals[0])
    path = parsed.text("resources")
    changes = _read(path) if path is not None else resources_of(parsed)
    status = container.status()
    if status == STOPPED:
        raise WrongStatus("container not running", status=status, wanted="running")
    schemata = [s for s in map(parsed.text, ("l3_cache_schema", "mem_bw_schema")) if s]
    update_resources(container, changes)
    if schemata:
        _set_schemata(container.id, container.config(), schemata)
    return 0


def resources_of(parsed: Parsed) -> dict[str, Any]:
    """What the single flags say, as an OCI resources object."""
    found: dict[str, Any] = {}
    for name, (section, member, kind, _) in _FLAGS.items():
        text = parsed.text(name.replace("-", "_"))
        if text:
            found.setdefault(section, {})[member] = _value(name, kind, text)
    return found


def _value(name: str, kind: str, text: str) -> int | str:
    if kind == _TEXT:
        return text
    try:
        if kind == _SIZE and text != "-1":
            from newroot.container.resources import parse_size

            return parse_size(text)
        return int(text)
    except ValueError:
        raise UsageError(f"invalid value for {name}: {text!r} is not a number") from None


def _read(path: str) -> dict[str, Any]:
    import sys

    from newroot.oci.json import loads

    if path == "-":
        value = loads(sys.stdin.buffer.read(), what="the standard input")
    else:
        with open(path, "rb") as file:
            value = loads(file.read(), what=path)
    if not isinstance(value, dict):
        raise UsageError(f"{path}: should be an object of resources")
    return value


def _set_schemata(container_id: str, config: dict[str, Any], schemata: list[str]) -> None:
    """resctrl(7)'s file of the container's group: a line each for cache and memory bandwidth."""
    rdt = (config.get("linux") or {}).get("intelRdt") or {}
    group = f"/sys/fs/resctrl/{rdt.get('closID') or container_id}"
    try:
        with open(f"{group}/schemata", "w", encoding="ascii") as file:
            file.write("".join(f"{line}\n" for line in schemata))
    except FileNotFoundError:
        raise UnsupportedError(
            f"set {', '.join(schemata)}: {group} is not there",
            feature="resctrl",
            hint="the container needs linux.intelRdt, and the host /sys/fs/resctrl mounted",
        ) from None


UPDATE = Verb(
    name="update",
    summary=VERBS["update"][1],
    run=_update,
    flags=(
        Flag(
            name="resources",
            short="r",
            metavar="FILE",
            help="A file with an OCI resources object, - for stdin; the other limits do not count",
        ),
        *(
            Flag(name=name, metavar=metavar, help=text)
            for name, (_, _, metavar, text) in _FLAGS.items()
        ),
        Flag(name="kernel-memory", metavar="BYTES", help="Does nothing, as the kernel's has"),
        Flag(name="kernel-memory-tcp", metavar="BYTES", help="Does nothing, as the kernel's has"),
        Flag(name="l3-cache-schema", metavar="SCHEMA", help="resctrl's line for the L3 cache"),
        Flag(name="mem-bw-schema", metavar="SCHEMA", help="resctrl's line for memory bandwidth"),
    ),
    positionals=(Positional(name="ID"),),
)
