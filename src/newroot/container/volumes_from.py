"""``--volumes-from CONTAINER[:ro]``: another container's volumes and binds, at their places."""

from __future__ import annotations

from newroot.errors import UsageError
from newroot.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.container.settings import Mount, Settings
    from newroot.container.storage import ContainerStorage

_MODES = ("", "ro", "rw", "z", "Z")


def parse_volumes_from(text: str) -> tuple[str, str]:
    """``CONTAINER`` and ``ro``, ``rw`` or nothing."""
    container, _, mode = text.partition(":")
    if not container or mode not in _MODES:
        raise UsageError(f"invalid --volumes-from {text!r}", hint="CONTAINER, CONTAINER:ro or :rw")
    return container, mode


def resolved(storage: ContainerStorage, settings: Settings) -> Settings:
    """*settings* with the mounts of the containers that it has volumes from.

    What is asked for at the same place goes before, and of two containers the first.  Raises
    NotFound.
    """
    if not settings.volumes_from:
        return settings
    mounts = list(settings.mounts)
    taken = {mount.target for mount in mounts}
    for name, mode in settings.volumes_from:
        for mount in _mounts_of(storage, name):
            if mount.target not in taken:
                taken.add(mount.target)
                mounts.append(_as(mode, mount))
    return replace(settings, mounts=tuple(mounts), volumes_from=())


def _mounts_of(storage: ContainerStorage, name: str) -> tuple[Mount, ...]:
    from newroot.container.kept_settings import read_settings

    container_id = storage.resolve(name)
    found = read_settings(storage.record(container_id).get("settings") or {})
    return tuple(mount for mount in found.mounts if mount.type in ("volume", "bind"))


def _as(mode: str, mount: Mount) -> Mount:
    if mode == "ro" and not mount.readonly:
        return replace(mount, readonly=True, recursive_readonly=mount.type == "bind")
    if mode == "rw":
        return replace(mount, readonly=False, recursive_readonly=False)
    return mount
