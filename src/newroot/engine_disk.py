"""What images, containers and volumes take on the disk: ``docker system df``.

Layers that images share count once in the whole, and whole in each image's own size.
"""

from __future__ import annotations

import os

from newroot.images.prune import disk_size
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from newroot.container.records import Container
    from newroot.container.storage import ContainerStorage
    from newroot.images.store import Image, ImageStore
    from newroot.rootfs.volumes import Volume, VolumeStore


@record
class ImageUse:
    """One image, under all its names."""

    image: Image
    size: int  #: bytes of its layers, unpacked
    shared: int  #: of these, what other images have too
    containers: int  #: how many stand on it


@record
class ContainerUse:
    """One container."""

    container: Container
    size: int  #: bytes of what it has written, its log included


@record
class VolumeUse:
    """One volume."""

    volume: Volume
    size: int
    links: int  #: how many containers mount it


@record
class DiskUsage:
    """All that newroot keeps."""

    images: tuple[ImageUse, ...]
    containers: tuple[ContainerUse, ...]
    volumes: tuple[VolumeUse, ...]
    images_size: int  #: bytes of all layers and blobs, each once
    images_reclaimable: int  #: of these, what no container needs


def disk_usage(
    images: ImageStore,
    storage: ContainerStorage,
    volumes: VolumeStore,
    containers: Sequence[Container],
) -> DiskUsage:
    """See ``Engine.disk_usage``."""
    used = {layer for container in containers for layer in container.lower}
    by_digest = {image.digest: image for image in images.list()}
    sizes = {layer: disk_size(layer) for image in by_digest.values() for layer in image.layers}
    users = {layer: sum(layer in image.layers for image in by_digest.values()) for layer in sizes}
    blobs = disk_size(f"{images.images}/blobs") if os.path.isdir(images.images) else 0
    return DiskUsage(
        images=tuple(_image(image, sizes, users, containers) for image in by_digest.values()),
        containers=tuple(
            ContainerUse(container=c, size=disk_size(storage.directory(c.id))) for c in containers
        ),
        volumes=tuple(_volume(volume, containers) for volume in volumes.list()),
        images_size=sum(sizes.values()) + blobs,
        images_reclaimable=sum(size for layer, size in sizes.items() if layer not in used),
    )


def _image(
    image: Image, sizes: dict[str, int], users: dict[str, int], containers: Sequence[Container]
) -> ImageUse:
    return ImageUse(
        image=image,
        size=sum(sizes[layer] for layer in image.layers),
        shared=sum(sizes[layer] for layer in image.layers if users[layer] > 1),
        containers=sum(c.lower == image.layers for c in containers),
    )


def _volume(volume: Volume, containers: Sequence[Container]) -> VolumeUse:
    links = sum(
        any(kind == "volume" and source == volume.name for kind, source, _ in c.mounts)
        for c in containers
    )
    return VolumeUse(volume=volume, size=disk_size(volume.mountpoint), links=links)
