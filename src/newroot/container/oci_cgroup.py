"""The cgroup of a bundle's container: where config.json puts it, by which manager; made and found.

First it is placed, which changes nothing, so that what will be made can be written down before it
is (oci_state.py); then it is made; and whoever reads what was written down finds it again.  As
runc does, a container gets a place in every hierarchy and the default device rules, whatever its
config says: engines read its numbers there, and pause and kill it by them.
"""

from __future__ import annotations

import os

from newroot.errors import SyscallError, UnsupportedError
from newroot.isolation.cgroups.cgroup import Cgroup, clean_path
from newroot.linux.user_namespaces import is_in_user_namespace
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.isolation.cgroups.detect import CgroupHost

MANAGERS = ("cgroupfs", "systemd", "disabled")


@record
class Placed:
    """Where a container's cgroup is, or will be: what OciContainer says of it."""

    path: str  #: absolute where the manager is cgroupfs: counted from the top of each hierarchy
    directories: tuple[str, ...] = ()  #: one a hierarchy
    unit: str = ""  #: systemd's unit, the last part of the path
    user: bool = False  #: of the user's systemd
    chosen: bool = False  #: by config.json, rather than by us


def is_rootless(flag: str = "auto") -> bool:
    """Whether to do without cgroups that cannot be made: --rootless, and who we are."""
    return flag == "true" or (flag != "false" and (os.geteuid() != 0 or is_in_user_namespace()))


def place_cgroup(
    config: dict[str, Any],
    container_id: str,
    host: CgroupHost,
    *,
    manager: str = "cgroupfs",
    rootless: bool = False,
) -> Placed | None:
    """Where the cgroup of *config*'s container will be; None when it gets none.

    Raises SpecError for a cgroupsPath that is none for *manager*, UnsupportedError where there is
    no systemd to ask.
    """
    if manager == "disabled":
        return None
    path = (config.get("linux") or {}).get("cgroupsPath")
    if manager == "systemd":
        return _place_scope(path, container_id, host, user=rootless)
    where = path or host.default_path(container_id)
    directories = tuple(h.directory(clean_path(where)) for h in host.hierarchies)
    return Placed(path=clean_path(where), directories=directories, chosen=bool(path))


def _place_scope(path: str | None, container_id: str, host: CgroupHost, *, user: bool) -> Placed:
    from newroot.isolation.cgroups.systemd import unit_name
    from newroot.isolation.cgroups.systemd_bus import Systemd

    name = unit_name(path, container_id, user=user)
    above = ""
    if user:
        with Systemd(user=True) as systemd:
            above = systemd.control_group()
    where = above + name.path()
    directories = tuple(h.directory(where) for h in host.hierarchies)
    return Placed(path=where, directories=directories, unit=name.unit, user=user, chosen=bool(path))


def make_cgroup(
    placed: Placed | None,
    config: dict[str, Any],
    container_id: str,
    host: CgroupHost,
    *,
    rootless: bool = False,
) -> Cgroup | None:
    """Make the cgroup that was *placed*, with the limits of *config*; nobody is in it yet.

    None where there is none: it is disabled, or we are *rootless*, may not make it, and nobody
    asked for it by a path or a limit.  Once the container's process has joined, say ``joined()``.
    """
    if placed is None:
        return None
    linux = config.get("linux") or {}
    resources = dict(linux.get("resources") or {})
    if rootless:
        # Device programs are the host's root's to load; runc leaves them out just the same.
        resources.pop("devices", None)
    elif resources.get("devices") is None:
        resources["devices"] = []
    try:
        cgroup = _make(placed, config, container_id, resources, host)
    except (SyscallError, UnsupportedError) as error:
        refused = isinstance(error, UnsupportedError) or error.errno in _REFUSALS
        if rootless and refused and not placed.chosen and not any(resources.values()):
            return None
        raise
    owner = _owner(config, host)
    if owner is not None:
        from newroot.isolation.cgroups.making import delegate

        delegate(cgroup.directory_of("") or "", owner)
    return cgroup


_REFUSALS = (1, 13, 30)  # EPERM, EACCES, EROFS


def _make(
    placed: Placed,
    config: dict[str, Any],
    container_id: str,
    resources: dict[str, object],
    host: CgroupHost,
) -> Cgroup:
    if not placed.unit:
        return Cgroup.create(
            placed.path,
            resources,
            host=host,
            everything=True,
            existing="unused",
            mark=placed.chosen,
        )
    from newroot.isolation.cgroups.gvariant import properties_of
    from newroot.isolation.cgroups.scope import Scope
    from newroot.isolation.cgroups.systemd import unit_name

    path = (config.get("linux") or {}).get("cgroupsPath")
    return Scope.start(
        unit_name(path, container_id, user=placed.user),
        container_id,
        resources,
        host=host,
        user=placed.user,
        properties=properties_of(config.get("annotations") or {}),
    )


def _owner(config: dict[str, Any], host: CgroupHost) -> int | None:
    """The host's id of the container's root, when the cgroup is to be the container's own: it has
    a user and a cgroup namespace of its own and sees its cgroup writable."""
    linux = config.get("linux") or {}
    new = {n.get("type") for n in linux.get("namespaces") or () if not n.get("path")}
    if host.mode != "v2" or not {"user", "cgroup"} <= new:
        return None
    mounts = [m for m in config.get("mounts") or () if m.get("type") in ("cgroup", "cgroup2")]
    if not any("ro" not in (mount.get("options") or ()) for mount in mounts):
        return None
    for mapping in linux.get("uidMappings") or ():
        if mapping.get("containerID") == 0:
            host_id = mapping.get("hostID")
            return host_id if isinstance(host_id, int) else None
    return None


def find_cgroup(
    directories: tuple[str, ...], host: CgroupHost, *, manager: str, user: bool = False
) -> Cgroup:
    """The cgroup that was written down, in whichever hierarchies have it now."""
    there = [directory for directory in directories if os.path.isdir(directory)]
    if manager != "systemd" or not directories:
        return Cgroup.at(there, host=host)
    from newroot.isolation.cgroups.scope import Scope

    scope = Scope.at(there, host=host)
    scope.unit, scope.user = os.path.basename(directories[0]), user
    return scope
