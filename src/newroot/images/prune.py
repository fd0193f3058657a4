"""What nobody needs any more: images without a name, blobs and layers that no image names.

The latter come from a process that was killed between publishing and commit, and from layers that
were kept for containers which have gone since.
"""

from __future__ import annotations

import errno
import fcntl
import os

from newroot.errors import ImageError, StateError
from newroot.images.change import Change, locked, move_away, reachable, remove_path
from newroot.images.store import descriptor_of
from newroot.oci.image import INDEXES
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from newroot.images.store import ImageStore, Removed


@record
class Orphans:
    """Blobs and layers that nobody names, as paths."""

    paths: tuple[str, ...]
    size: int  #: bytes on the disk, as far as it was asked for


def find_orphans(store: ImageStore, *, keep_layers: Collection[str] = ()) -> tuple[str, ...]:
    """Paths of blobs and layers that no image and none of *keep_layers* needs.

    While somebody changes the store there may be some among them that he is about to name.  Raises
    ImageError when an image is damaged, for then nobody knows what it needs.
    """
    for entry in store.entries():
        if descriptor_of(entry).media_type not in INDEXES:
            manifest = store.manifest(str(entry.get("digest")))
            store.document(manifest.config, "its config")
    needed = reachable(store) | {os.path.abspath(path) for path in keep_layers}
    return tuple(path for path in _stored(store) if path not in needed)


def remove_orphans(store: ImageStore, *, keep_layers: Collection[str] = ()) -> Orphans | None:
    """Remove what ``find_orphans`` finds; None, and nothing done, while somebody changes the store.

    Leftovers of killed processes go too.
    """
    if not os.path.isdir(store.layers) or not os.path.isdir(store.images):
        return Orphans(paths=(), size=0)
    with Change(store):
        pass  # sweeps
    with locked(store.images):
        fd = os.open(store.layers, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        try:
            paths = find_orphans(store, keep_layers=keep_layers)
            moved = [there for path in paths if (there := move_away(path))]
        finally:
            os.close(fd)
    size = sum(map(disk_size, moved))
    for path in moved:
        remove_path(path)
    return Orphans(paths=paths, size=size)


@record
class Pruned:
    """What pruning took away."""

    untagged: tuple[str, ...]  #: names
    deleted: tuple[str, ...]  #: digests of manifests
    orphans: tuple[str, ...]  #: paths of blobs and layers that nobody named
    reclaimed: int  #: bytes


def prune_images(
    store: ImageStore,
    remove: Callable[[str], Removed],
    *,
    stacks: Collection[tuple[str, ...]],
    every: bool,
    filters: Sequence[str],
) -> Pruned:
    """See ``Engine.prune_images``; *stacks* are the layers of each container."""
    from newroot.images.filters import chosen

    before = disk_size(store.root)
    untagged: list[str] = []
    deleted: list[str] = []
    for image in chosen(store, store.list(), filters):
        if (image.reference and not every) or image.layers in stacks:
            continue
        try:
            removed = remove(image.reference or image.digest)
        except StateError:  # NotFound too: a container stands on it, or it is gone already
            continue
        untagged += removed.untagged
        deleted += removed.deleted
    try:
        orphans = remove_orphans(store, keep_layers={layer for stack in stacks for layer in stack})
    except ImageError:
        orphans = None  # nobody knows what a damaged image needs; newroot doctor tells of it
    return Pruned(
        untagged=tuple(untagged),
        deleted=tuple(deleted),
        orphans=orphans.paths if orphans else (),
        reclaimed=max(0, before - disk_size(store.root)),
    )


def disk_size(path: str) -> int:
    """Bytes that *path* and all below it take on the disk; what is gone meanwhile takes none."""
    try:
        total = os.lstat(path).st_blocks * 512
    except FileNotFoundError:
        return 0
    if not os.path.isdir(path) or os.path.islink(path):
        return total
    seen: set[int] = set()
    for _, names, files, fd in os.fwalk(path):
        for name in (*names, *files):
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if status.st_nlink == 1 or status.st_ino not in seen:
                total += status.st_blocks * 512
            seen.add(status.st_ino)
    return total


def _stored(store: ImageStore) -> list[str]:
    return [
        f"{directory}/{name}"
        for directory in (f"{store.images}/blobs/sha256", store.layers)
        for name in _names(directory)
    ]


def _names(directory: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return []
        raise
