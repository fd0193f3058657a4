"""``Engine``'s part for looking at containers: lists, all that is known of one, what it does.

Nothing here changes anything.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from newroot.container.ports import Port
    from newroot.container.records import Container
    from newroot.container.statistics import Usage
    from newroot.container.storage import ContainerStorage
    from newroot.images.store import ImageStore
    from newroot.rootfs.volumes import VolumeStore


class LookVerbs:
    """What ``Engine`` can tell of containers."""

    storage: ContainerStorage
    images: ImageStore
    volumes: VolumeStore

    def _find(self, name: str) -> str:
        raise NotImplementedError

    def container(self, name: str) -> Container:
        raise NotImplementedError

    def containers(self) -> tuple[Container, ...]:
        raise NotImplementedError

    def chosen_containers(self, filters: Sequence[str] = ()) -> tuple[Container, ...]:
        """The containers that *filters* let through, the newest first: ``docker ps --filter``.

        *filters* are ``status=exited``, ``label=NAME=VALUE`` and so on.  Raises UsageError for
        what is no filter, NotFound for a container named in one that is not there.
        """
        from time import time_ns

        from newroot.container.filters import Known, chosen

        known = Known(
            containers=self.containers(),
            resolve=self.storage.resolve,
            images=self._image_and_those_on_it,
            now_ns=time_ns(),
        )
        return chosen(known, filters)

    def _image_and_those_on_it(self, name: str) -> frozenset[str]:
        base = self.images.find(name)
        if base is None:
            return frozenset((name,))
        own = base.layers
        on_it = (i for i in self.images.list() if own and i.layers[-len(own) :] == own)
        return frozenset((base.digest, *(image.digest for image in on_it)))

    def inspect(self, name: str, *, size: bool = False) -> dict[str, Any]:
        """All that is known of a container, in the names of ``docker container inspect``.

        With *size* also how much is in its upper and in its whole root, in bytes.  Raises NotFound,
        StateError for a damaged record.
        """
        from newroot.container.inspect import inspect

        found = self.container(name)
        sizes = self.sizes_of(found) if size else None
        return inspect(self.storage, found, self.volumes.data_path, sizes)

    def sizes_of(self, found: Container) -> tuple[int, int]:
        """Bytes on the disk of what a container has written, and of that with its layers."""
        from newroot.images.prune import disk_size

        written = disk_size(f"{self.storage.directory(found.id)}/upper")
        return written, written + sum(map(disk_size, found.lower))

    def top(self, name: str, arguments: Sequence[str] = ("-ef",)) -> list[str]:
        """The lines of ``ps`` for a container's processes, the heading first.

        *arguments* are for this host's ps(1), and must leave it a column PID.  Raises WrongStatus
        when the container does not run, UsageError, UnsupportedError without a ps.
        """
        from newroot.container.top import lines_of, processes_of, ps

        found = self.container(name)
        return lines_of(ps(arguments), processes_of(self.storage, found))

    def stats(self, name: str) -> Usage:
        """What a container uses now.  Raises NotFound."""
        from newroot.container.statistics import usage_of

        return usage_of(self.storage, self.container(name))

    def ports(self, name: str) -> tuple[Port, ...]:
        """The ports of a container that this host publishes, while it runs."""
        from newroot.container.ports import published

        return published(self.storage.state(self._find(name)))
