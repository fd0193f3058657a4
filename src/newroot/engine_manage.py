"""``Engine``'s part for changing containers that are there, and for tidying up.

Pausing, renaming, other limits; what nobody needs any more is found and removed.
"""

from __future__ import annotations

from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from newroot.container.change import Changes
    from newroot.container.events import Event
    from newroot.container.records import Container
    from newroot.container.storage import ContainerStorage
    from newroot.engine_disk import DiskUsage
    from newroot.images.prune import Pruned
    from newroot.images.store import ImageStore
    from newroot.rootfs.volumes import VolumeStore


@record
class PrunedContainers:
    """What ``prune_containers`` took away."""

    ids: tuple[str, ...]
    reclaimed: int  #: bytes


@record
class PrunedSystem:
    """What ``prune_system`` took away."""

    containers: tuple[str, ...]
    volumes: tuple[str, ...]
    images: tuple[str, ...]  #: names and digests
    reclaimed: int  #: bytes


class ManageVerbs:
    """What ``Engine`` can do to containers that are there, and to all that it keeps."""

    storage: ContainerStorage
    images: ImageStore
    volumes: VolumeStore

    def _find(self, name: str) -> str:
        raise NotImplementedError

    def containers(self) -> tuple[Container, ...]:
        raise NotImplementedError

    def chosen_containers(self, filters: Sequence[str] = ()) -> tuple[Container, ...]:
        raise NotImplementedError

    def remove_container(
        self, name: str, *, force: bool = False, with_volumes: bool = False
    ) -> None:
        raise NotImplementedError

    def prune_images(self, *, all: bool = False, filters: Sequence[str] = ()) -> Pruned:
        raise NotImplementedError

    def pause(self, name: str) -> None:
        """Stop every process of a container where it is.

        Raises NotFound, WrongStatus when it does not run or is paused, UnsupportedError where there
        is no freezer to be had.
        """
        from newroot.container.pause import pause

        pause(self.storage, self._find(name))

    def unpause(self, name: str) -> None:
        """Let a paused container go on.  Raises NotFound, WrongStatus when it is not paused."""
        from newroot.container.pause import unpause

        unpause(self.storage, self._find(name))

    def rename(self, name: str, new: str) -> None:
        """Give a container another name.  Raises NotFound, UsageError, AlreadyExists."""
        from newroot.container.names import check_container_name

        container_id = self._find(name)
        old = self.storage.rename(container_id, check_container_name(new))
        self.storage.note(container_id, "rename", oldName=f"/{old}", name=new)

    def update(self, name: str, changes: Changes) -> None:
        """Change a container's limits and restart policy; what *changes* leave out stays.

        What runs is changed at once, what does not at its next start.  Raises NotFound, UsageError,
        and as a start does for limits that this host cannot set; what was set before stays set.
        """
        from newroot.container.change import update

        container_id = self._find(name)
        update(self.storage, container_id, changes)
        self.storage.note(container_id, "update")

    def prune_containers(self, filters: Sequence[str] = ()) -> PrunedContainers:
        """Remove the containers that do not run, or those of them that *filters* let through.

        *filters* are ``until=TIME`` and ``label[!]=NAME[=VALUE]``.  Raises UsageError.
        """
        from newroot.container.filters import check_names
        from newroot.errors import StateError
        from newroot.images.prune import disk_size

        check_names(filters, ("until", "label", "label!"))
        removed, reclaimed = [], 0
        for found in self.chosen_containers(filters):
            if found.is_up:
                continue
            size = disk_size(self.storage.directory(found.id))
            try:
                self.remove_container(found.id)
            except StateError:
                continue  # somebody has just started or removed it
            removed.append(found.id)
            reclaimed += size
        return PrunedContainers(ids=tuple(removed), reclaimed=reclaimed)

    def prune_system(
        self, *, all: bool = False, volumes: bool = False, filters: Sequence[str] = ()
    ) -> PrunedSystem:
        """Remove containers that do not run, images that nobody needs, and with *volumes* the
        anonymous volumes that no container uses; *all* takes every image without a container.

        *filters* are ``until=TIME`` and ``label[!]=NAME[=VALUE]``.  Raises UsageError.
        """
        from newroot.images.prune import disk_size

        gone = self.prune_containers(filters)
        reclaimed = gone.reclaimed
        names: tuple[str, ...] = ()
        if volumes:
            before = disk_size(self.volumes.directory)
            names = self.volumes.prune()
            reclaimed += before - disk_size(self.volumes.directory)
        images = self.prune_images(all=all, filters=filters)
        return PrunedSystem(
            containers=gone.ids,
            volumes=names,
            images=(*images.untagged, *images.deleted),
            reclaimed=reclaimed + images.reclaimed,
        )

    def disk_usage(self) -> DiskUsage:
        """What images, containers and volumes take on the disk: ``docker system df``."""
        from newroot.engine_disk import disk_usage

        return disk_usage(self.images, self.storage, self.volumes, self.containers())

    def events(
        self,
        *,
        since: int | None = None,
        until: int | None = None,
        filters: Sequence[str] = (),
        follow: bool = True,
    ) -> Iterator[Event]:
        """What has happened in this engine's root, and what happens.

        *since* and *until* are nanoseconds since 1970.  Without *since* only what comes, or with
        *until* all that there is; with *follow* it goes on until *until*, or for ever.  The journal
        is bounded: of long ago there may be nothing.  Raises UsageError for what is no filter.
        """
        from newroot.container.events import chosen, read_events

        found = read_events(self.storage.journal, since=since, until=until, follow=follow)
        return chosen(found, filters)
