"""``Engine``'s part for images: fetched, sent, made, saved, listed, removed.

Each verb is a door to one file of ``images``, opened when it is first used; where a container's
files come into it, to engine_files.py.
"""

from __future__ import annotations

from newroot.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import BinaryIO, Unpack

    from newroot.container.records import Container
    from newroot.container.storage import ContainerStorage
    from newroot.images.history import History
    from newroot.images.prune import Pruned
    from newroot.images.registry.client import AccessWords
    from newroot.images.registry.progress import OnProgress
    from newroot.images.registry.push import Pushed
    from newroot.images.store import Image, ImageStore, Removed


class ImageVerbs:
    """What ``Engine`` can do with images, and with a container's files."""

    images: ImageStore
    storage: ContainerStorage

    def containers(self) -> tuple[Container, ...]:
        raise NotImplementedError

    # ---- registries ----

    def pull(
        self,
        reference: str,
        *,
        platform: str | None = None,
        on_progress: OnProgress | None = None,
        **access: Unpack[AccessWords],
    ) -> Image:
        """Fetch an image from its registry, unless it is here and unchanged, and return it.

        *platform* is ``linux/arm64`` and the like, by default this machine's.  *on_progress* is
        called from other threads, by one at a time (``newroot.images.registry.progress``).

        Names, mirrors and credentials are as Docker's and podman's files have them.  *access* goes
        before: ``username`` and ``password``; ``authfile``, where more of them are; ``cert_dir``,
        where ``*.crt`` to trust and ``*.cert`` with ``*.key`` to show are; ``tls_verify``, of
        which False allows plain HTTP and unverified TLS.

        On any failure the store is as it was, but for parts of blobs that the next pull goes on
        from.  Raises UsageError, RegistryError, ImageError and its kin.
        """
        from newroot.images.registry.client import Access
        from newroot.images.registry.pull import pull_image

        return pull_image(
            self.images,
            reference,
            platform=platform,
            access=Access(**access),
            on_progress=on_progress,
        )

    def push(
        self,
        name: str,
        destination: str | None = None,
        *,
        on_progress: OnProgress | None = None,
        **access: Unpack[AccessWords],
    ) -> Pushed:
        """Send the image *name* to where its name says, or to *destination*.

        *access* is as for ``pull()``.  Raises NotFound, UsageError, RegistryError,
        ImageError; what the registry has taken by then it may keep.
        """
        from newroot.images.registry.client import Access
        from newroot.images.registry.push import push_image

        return push_image(
            self.images, name, destination, access=Access(**access), on_progress=on_progress
        )

    # ---- what is there ----

    def layers_in_use(self) -> frozenset[str]:
        """The paths of the layers that a container stands on, running or not."""
        return frozenset(layer for found in self.containers() for layer in found.lower)

    def remove_image(self, name: str, *, force: bool = False) -> Removed:
        """Take a name from an image; the image goes with its last name.

        Raises NotFound, and StateError when the image would go and a container stands on it.  With
        *force* it goes, but for the layers that containers need.
        """
        if not force:
            self._check_unused(name)
        return self.images.remove(name, keep_layers=self.layers_in_use())

    def _check_unused(self, name: str) -> None:
        entry = self.images.find_entry(self.images.entries(), name)
        if entry is None:
            return  # whoever removes will say so
        images, digest = self.images.list(), entry.get("digest")
        if sum(image.digest == digest for image in images) > 1:
            return  # it has another name, and stays
        needed = {layer for i in images if i.digest != digest for layer in i.layers}
        doomed = {layer for i in images if i.digest == digest for layer in i.layers} - needed
        for found in self.containers():
            if doomed.intersection(found.lower):
                called = found.name or found.id[:12]
                raise StateError(
                    f"remove image {name}: container {called} stands on it ({found.status})",
                    hint=f"newroot rm {called} first; with --force its layers stay for it",
                )

    # ---- a container's files ----

    def diff(self, container: str) -> list[tuple[str, str]]:
        """What a container has changed in its root: ``A``, ``C`` or ``D``, and the path.

        Raises NotFound, and StateError for one whose upper is not on the disk.
        """
        from newroot.engine_files import diff, files_of

        return diff(files_of(self.storage, container))

    def export(self, container: str, file: str | os.PathLike[str] | BinaryIO) -> None:
        """Write a container's whole root as a flat tar to *file*: a path, or an open file.

        Volumes are not in it.  Errors as ``diff()``.
        """
        from newroot.engine_files import export, files_of, opened

        files = files_of(self.storage, container)
        with opened(file) as fd:
            export(files, fd)

    def commit(
        self,
        container: str,
        name: str | None = None,
        *,
        author: str | None = None,
        message: str | None = None,
        changes: Sequence[str] = (),
        pause: bool = True,
    ) -> Image:
        """Make an image of what a container has changed, on the image that it stands on.

        *changes* are Dockerfile instructions, as ``CMD ["sh"]``.  What runs is frozen meanwhile,
        if it has a cgroup and unless *pause* is False.  With SOURCE_DATE_EPOCH in the environment
        nothing in the image is later.  Raises as ``diff()``, and ImageError when that image is
        not here any more.
        """
        from contextlib import nullcontext

        from newroot.container.held_still import HeldStill
        from newroot.engine_files import commit, files_of

        files = files_of(self.storage, container)
        paused = HeldStill(self.storage, files.found.id) if pause else nullcontext()
        return commit(
            self.images,
            files,
            name=name,
            author=author,
            message=message,
            instructions=changes,
            paused=paused,
        )

    # ---- archives ----

    def save(
        self,
        images: Sequence[str],
        file: str | os.PathLike[str] | BinaryIO,
        *,
        format: str = "docker-archive",
    ) -> None:
        """Write images to one archive at *file*: a path, or an open file.

        *format* is ``docker-archive``, which is an OCI layout too, or ``oci-archive``.  A file
        that was there is replaced only when the whole archive is written.
        """
        from newroot.engine_files import opened
        from newroot.images.save import save_images

        with opened(file) as fd:
            save_images(self.images, images, fd, format=format)

    def load(self, file: str | os.PathLike[str] | BinaryIO) -> list[Image]:
        """Bring in every image of an archive or a layout: all, or none."""
        from newroot.images.archive import load_archive

        return load_archive(self.images, file)

    def history(self, image: str) -> list[History]:
        """How an image came to be, the newest first: ``docker history``."""
        from newroot.images.history import history

        return history(self.images, image)

    def prune_images(self, *, all: bool = False, filters: Sequence[str] = ()) -> Pruned:
        """Remove images without a name, and blobs and layers that nobody needs.

        With *all* also those that no container stands on.  *filters* are Docker's, as
        ``until=24h`` or ``label=NAME=VALUE``.  What a container stands on stays.
        """
        from newroot.container.snapshots import SnapshotStore
        from newroot.images.prune import prune_images

        split = SnapshotStore(self.storage.root).split
        return prune_images(
            self.images,
            self.remove_image,
            stacks={split(container.lower)[1] for container in self.containers()},
            every=all,
            filters=filters,
        )
