"""Which ids a mount of an OCI config is mapped by: runtime-spec, config.md, Mounts, ``idmap``.

A map is the container's own, or the mount's.  Who starts a container makes a user namespace for
each, for that is how mount_setattr(2) is told of a map, and tells ``compile()`` their paths.
"""

from __future__ import annotations

from newroot.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Ranges = tuple[tuple[int, int, int], ...]
    IdMaps = tuple[Ranges, Ranges]  #: of users, of groups

_KEYS = ("uidMappings", "gidMappings")


def container_maps(linux: dict[str, Any]) -> IdMaps | None:
    """The maps of the container's user namespace.  Raises SpecError for what is no map."""
    return _maps(linux, "/linux")


def mount_maps(mount: dict[str, Any], linux: dict[str, Any], pointer: str) -> IdMaps | None:
    """The maps of one mount; None when its ids are as they are.  Raises SpecError."""
    own = _maps(mount, pointer)
    asked = {"idmap", "ridmap"} & set(mount.get("options") or ())
    if not asked:
        return own
    maps = own or container_maps(linux)
    if maps is None:
        raise SpecError(
            "idmap needs uidMappings and gidMappings, of the mount or of the container",
            pointer=f"{pointer}/options",
        )
    return maps


def wanted(config: dict[str, Any]) -> set[IdMaps]:
    """All maps that the mounts of *config* have."""
    linux = config.get("linux") or {}
    mounts = enumerate(config.get("mounts") or ())
    found = (mount_maps(mount, linux, f"/mounts/{n}") for n, mount in mounts if _may(mount))
    return {maps for maps in found if maps is not None}


def _may(mount: dict[str, Any]) -> bool:
    options = mount.get("options") or ()
    return "idmap" in options or "ridmap" in options or any(mount.get(key) for key in _KEYS)


def _maps(holder: dict[str, Any], pointer: str) -> IdMaps | None:
    if not any(holder.get(key) for key in _KEYS):
        return None
    uids, gids = (_ranges(holder, key, pointer) for key in _KEYS)
    return uids, gids


def _ranges(holder: dict[str, Any], key: str, pointer: str) -> Ranges:
    from newroot.linux import idmap

    maps = idmap.from_oci(holder.get(key), pointer=f"{pointer}/{key}")
    if not maps:
        raise SpecError("missing: users and groups are mapped together", pointer=f"{pointer}/{key}")
    return tuple((m.container_id, m.host_id, m.size) for m in maps)
