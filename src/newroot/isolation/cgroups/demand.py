"""What an OCI resources object demands of this host: writes, a device program, hierarchies.  Pure.

On a hybrid host some controllers live on v1 and some on v2, so each member of the resources is
translated for the version that its controller has here.  A limit for which the host has no
controller is an UnsupportedError that says what there is: no limit is dropped in silence.
"""

from __future__ import annotations

from newroot.errors import UnsupportedError
from newroot.isolation.cgroups.resources import POINTER, Section, Write
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from newroot.isolation.cgroups.detect import CgroupHost, Hierarchy

#: Members of an OCI resources object, and the v2 controller that each needs.
_V2_SECTIONS = {
    "memory": "memory",
    "cpu": "cpu",
    "pids": "pids",
    "blockIO": "io",
    "hugepageLimits": "hugetlb",
    "rdma": "rdma",
}

#: What v1 calls a controller, and v2 calls otherwise, or ("") has in every cgroup.
_V2_NAMES = {"blkio": "io", "cpuacct": "", "devices": "", "freezer": ""}


@record
class Demand:
    """What a resources object comes to on one host."""

    writes: tuple[Write, ...]
    device_program: bytes | None = None  #: for cgroup v2


def translate(resources: dict[str, object], host: CgroupHost) -> Demand:
    """Choose, for each member of *resources*, the cgroup version its controller has here.  Pure.

    Raises SpecError for a wrong value, UnsupportedError for what this host's cgroups cannot say.
    """
    unified = host.unified
    v2 = unified is not None and {
        name
        for name, controller in _V2_SECTIONS.items()
        if host.mode == "v2" or controller in unified.controllers
    }
    if not v2:
        return _translate_v1(resources)
    modern = resources if host.mode == "v2" else _only(resources, v2)
    devices = host.mode == "v2" or host.find("devices") is None
    older = {} if host.mode == "v2" else _only(resources, resources.keys() - v2)
    if devices:
        older.pop("devices", None)
    writes = _translate_v1(older).writes if older else ()
    if modern:
        from newroot.isolation.cgroups import resources_v2

        writes += resources_v2.writes(modern)
    return Demand(writes=writes, device_program=_program(resources) if devices else None)


def _translate_v1(resources: dict[str, object]) -> Demand:
    from newroot.isolation.cgroups import resources_v1

    return Demand(writes=resources_v1.writes(resources))


def _only(resources: dict[str, object], names: Collection[str]) -> dict[str, object]:
    return {name: value for name, value in resources.items() if name in names}


_programs: dict[str, bytes] = {}


def _program(resources: dict[str, object]) -> bytes | None:
    if resources.get("devices") is None:
        return None
    from newroot.isolation.cgroups.devices import read_rules, remember
    from newroot.isolation.cgroups.devices_v2 import program

    top = Section(resources, POINTER)
    return remember(_programs, top, lambda top: program(read_rules(top)))


def hierarchies_for(
    demand: Demand,
    host: CgroupHost,
    *,
    freezer: bool = False,
    controllers: tuple[str, ...] = (),
    everything: bool = False,
) -> list[tuple[Hierarchy, list[str]]]:
    """The hierarchies to be in, each with the controllers that are wanted of it.

    *everything* is a place in each hierarchy, whatever is wanted of it.
    """
    if host.mode == "v2":
        controllers = tuple(_V2_NAMES.get(name, name) for name in controllers)
    names = list(dict.fromkeys([*(write.controller for write in demand.writes), *controllers]))
    unified = host.unified
    if demand.device_program is not None or (freezer and unified is not None):
        names.append("")
    elif freezer:
        names.append("freezer")
    if host.mode == "v2" and "" not in names:
        names.append("")  # one directory, limits or none: it is what kill() kills
    if (names or everything) and host.why:
        raise UnsupportedError(
            f"make a cgroup: {host.why}",
            feature="cgroups",
            tried="/proc/self/mountinfo",
            hint="run without limits, or have a cgroup file system mounted read-write",
        )
    for name in names:
        _check_has(name, host)
    needs = []
    for hierarchy in host.hierarchies:
        wanted = [name for name in names if _lives_in(name, hierarchy)]
        if wanted or (everything and _is_common(hierarchy)):
            needs.append((hierarchy, wanted))
    return needs


def countable(host: CgroupHost) -> tuple[str, ...]:
    """The controllers of this host by whose numbers one sees what a container uses."""
    wanted = ("memory", "cpuacct", "blkio", "pids")
    if host.mode == "v2":
        return tuple(n for n in wanted if not _V2_NAMES.get(n, n) or host.find(_V2_NAMES.get(n, n)))
    return tuple(name for name in wanted if host.find(name))


def can_freeze(host: CgroupHost) -> bool:
    """Whether this host has a freezer."""
    return host.unified is not None or host.find("freezer") is not None


def _is_common(hierarchy: Hierarchy) -> bool:
    """Whether containers have a place in it: not in a named one that is another init's."""
    return all(not n.startswith("name=") or n == "name=systemd" for n in hierarchy.controllers)


def _lives_in(controller: str, hierarchy: Hierarchy) -> bool:
    return controller in hierarchy.controllers or (not controller and hierarchy.version == 2)


def _check_has(controller: str, host: CgroupHost) -> None:
    if any(_lives_in(controller, hierarchy) for hierarchy in host.hierarchies):
        return
    there = ", ".join(name for h in host.hierarchies for name in h.controllers)
    raise UnsupportedError(
        f"limit {controller}: this host has no {controller} cgroup controller",
        feature=f"cgroup controller {controller}",
        tried=f"mounted here: {there or 'none'}",
        hint="leave that limit out, or boot with the controller enabled (cgroup_disable=)",
    )
