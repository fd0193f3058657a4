"""The mounts that were asked for get their sources: host paths checked or made, volumes held."""

from __future__ import annotations

import os

from newroot.container.config import oci_mount
from newroot.errors import NotFound, UsageError
from newroot.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.settings import Mount, Settings
    from newroot.container.source import Source
    from newroot.rootfs.volumes import VolumeStore


@record
class Sourced:
    """Mounts ready for a config, and what they hold while the container lives."""

    mounts: tuple[dict[str, Any], ...] = ()
    holds: tuple[int, ...] = ()  #: descriptors that keep the volumes from being removed
    anonymous: tuple[str, ...] = ()  #: volumes that go with a container that is removed
    named: tuple[Mount, ...] = ()  #: as they were asked for, each volume by its name


_NOTHING = Sourced()


def find_sources(
    settings: Settings,
    source: Source,
    volumes: VolumeStore,
    *,
    make: bool = True,
    mapped: bool = False,
) -> Sourced:
    """Check or make each mount's source; without *make* nothing is made, held or filled.
    *mapped* volumes are seen with the container's ids.

    Raises UsageError for a bind source that is missing where it may not be made.
    """
    asked = settings.mounts + _image_volumes(settings, source)
    if not asked:
        return _NOTHING
    mounts: list[dict[str, Any]] = []
    holds: list[int] = []
    anonymous: list[str] = []
    all_named: list[Mount] = []
    try:
        for mount in asked:
            named = mount
            if mount.type == "volume":
                named = mount if mount.source else replace(mount, source=os.urandom(32).hex())
                if named is not mount:
                    anonymous.append(str(named.source))
                if make:
                    holds.append(_hold(named, volumes, anonymous=named is not mount))
                found = _of_volume(named, settings, source, volumes, make)
                if mapped and found["type"] == "bind":
                    # What it holds belongs to ids of containers, whichever theirs are out here.
                    found["options"].append("idmap")
            else:
                found = oci_mount(mount, _checked(mount, make), nodev=not settings.privileged)
            all_named.append(named)
            mounts.append(found)
    except BaseException:
        for fd in holds:
            os.close(fd)
        raise
    return Sourced(
        mounts=tuple(mounts),
        holds=tuple(holds),
        anonymous=tuple(anonymous),
        named=tuple(all_named),
    )


def _hold(mount: Mount, volumes: VolumeStore, *, anonymous: bool) -> int:
    labels, options = dict(mount.volume_labels), mount.volume_options
    return volumes.hold(str(mount.source), anonymous=anonymous, labels=labels, options=options)


def _of_volume(
    mount: Mount, settings: Settings, source: Source, volumes: VolumeStore, make: bool
) -> dict[str, Any]:
    """The OCI mount of a volume: of a directory of ours, or of what its options say."""
    nodev = not settings.privileged
    options = _options_of(mount, volumes)
    if not options:
        return oci_mount(mount, _volume(mount, source, volumes, make), nodev=nodev)
    from newroot.rootfs.volume_options import mount_of

    if mount.subpath is not None:
        raise UsageError(
            f"volume-subpath of volume {mount.source}: it is no directory of ours",
            hint="bind the directory itself",
        )
    found = mount_of(options, copy_up=mount.copy_up)
    plain = oci_mount(replace(mount, type="bind"), found["source"], nodev=nodev)
    if found["type"] == "bind":
        asked = [word for word in plain["options"] if word not in ("bind", "rbind")]
        return {**plain, "options": [*found["options"], *asked]}
    flags = [*(["nodev"] if nodev else []), *(["ro"] if mount.readonly else []), *mount.options]
    return {**plain, "type": found["type"], "options": [*found["options"], *flags]}


def _options_of(mount: Mount, volumes: VolumeStore) -> tuple[tuple[str, str], ...]:
    try:
        return volumes.get(str(mount.source)).options
    except NotFound:  # nothing is made: it would be as this mount says
        return mount.volume_options


def _image_volumes(settings: Settings, source: Source) -> tuple[Mount, ...]:
    """The image's VOLUMEs, for a container that stays: one that goes forgets them anyway."""
    declared = source.image.get("Volumes")
    if not declared or settings.remove or settings.upper == "memory":
        return ()
    from newroot.container.settings import Mount

    taken = {mount.target for mount in settings.mounts}
    return tuple(Mount(type="volume", target=path) for path in declared if path not in taken)


def _checked(mount: Mount, make: bool) -> str | None:
    if mount.type != "bind" or mount.source is None or os.path.lexists(mount.source):
        return mount.source
    if not mount.create_source:
        raise UsageError(
            f"bind source {mount.source} does not exist",
            hint="make it first; -v, unlike --mount, makes a missing directory",
        )
    if not make:
        return mount.source
    try:
        os.makedirs(mount.source, exist_ok=True)
    except OSError as error:
        raise UsageError(f"making the bind source {mount.source}: {error.strerror}") from error
    return mount.source


def _volume(mount: Mount, source: Source, volumes: VolumeStore, make: bool) -> str:
    """The volume's directory, filled when it is empty."""
    name = str(mount.source)
    if make and mount.copy_up and source.layers:
        volumes.fill(name, source.layers, mount.target)
    data = volumes.data_path(name)
    if mount.subpath is not None and make:
        data = _below(data, mount.subpath, name)
    return data


def _below(data: str, subpath: str, name: str) -> str:
    """A directory of a volume; a link in the volume could lead anywhere, so none is followed."""
    path = os.path.join(data, os.path.normpath("/" + subpath)[1:])
    if os.path.realpath(path) != os.path.join(os.path.realpath(data), path[len(data) + 1 :]):
        raise UsageError(f"the subpath {subpath} of volume {name} leads through a link")
    if not os.path.exists(path):
        raise UsageError(f"volume {name} has no {subpath}")
    return path
