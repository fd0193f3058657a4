"""The tree of snapshots: images, what was sealed on them, and the containers at its ends."""

from __future__ import annotations

from newroot.container.branch import snapshots_in
from newroot.container.records import containers
from newroot.container.snapshots import SnapshotStore
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from newroot.container.records import Container
    from newroot.container.snapshots import Sealed
    from newroot.container.storage import ContainerStorage


@record
class Branch:
    """One place in the tree, and what grew from it."""

    kind: Literal["image", "snapshot", "container"]
    id: str  #: empty for an image
    name: str  #: of the image or container; of a snapshot: whose upper it was
    tags: tuple[tuple[str, str], ...] = ()  #: a snapshot's: (container, tag)
    created: float | None = None  #: seconds since the epoch
    status: str | None = None  #: a container's
    merged: int = 0  #: how many snapshots were made one here
    children: tuple[Branch, ...] = ()

    def walk(self) -> Iterator[Branch]:
        """This and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def branches(storage: ContainerStorage, container_id: str | None = None) -> tuple[Branch, ...]:
    """A tree for each image that containers with snapshots stand on; or that of one container."""
    trees = _Trees(storage)
    roots = trees.roots()
    if container_id is None:
        return tuple(root for root in roots if any(n.kind == "snapshot" for n in root.walk()))
    return tuple(pruned for root in roots if (pruned := _related(root, container_id)) is not None)


class _Trees:
    def __init__(self, storage: ContainerStorage) -> None:
        self._store = SnapshotStore(storage.root)
        self._containers = [c for c in containers(storage) if c.lower]
        self._sealed = {
            found.id: found
            for snapshot_id in self._store.ids()
            if (found := self._store.find(snapshot_id)) is not None
        }
        self._tags: dict[str, list[tuple[str, str]]] = {}
        for container in self._containers:
            for each in snapshots_in(container.id, storage.record(container.id)):
                self._tags.setdefault(each.id, []).append((_called(container), each.tag))

    def roots(self) -> tuple[Branch, ...]:
        below: dict[str | tuple[str, ...], list[Branch]] = {}
        names: dict[tuple[str, ...], str] = {}
        for container in reversed(self._containers):
            ids, base = self._store.split(container.lower)
            names.setdefault(base, container.source)
            below.setdefault(ids[0] if ids else base, []).append(_leaf(container))
        # The newest first: what stands on a snapshot is newer than it.
        for sealed in sorted(self._sealed.values(), key=lambda s: s.created, reverse=True):
            grown = self._node(sealed, tuple(below.pop(sealed.id, ())))
            if not grown.children and not grown.tags:
                continue  # nobody needs it; it goes with the next removal
            names.setdefault(sealed.base, "")
            below.setdefault(self._parent(sealed), []).insert(0, grown)
        return tuple(
            Branch(kind="image", id="", name=name, children=tuple(below.get(base, ())))
            for base, name in names.items()
        )

    def _node(self, sealed: Sealed, children: tuple[Branch, ...]) -> Branch:
        return Branch(
            kind="snapshot",
            id=sealed.id,
            name=sealed.name or sealed.container[:12],
            tags=tuple(self._tags.get(sealed.id, ())),
            created=sealed.created,
            merged=len(sealed.merged),
            children=children,
        )

    def _parent(self, sealed: Sealed) -> str | tuple[str, ...]:
        """Where it grew: what was made one grew where the topmost of it did, if that is there."""
        for candidate in (*sealed.merged[:1], *sealed.below):
            if candidate in self._sealed:
                return candidate
        return sealed.base


def _leaf(container: Container) -> Branch:
    return Branch(
        kind="container",
        id=container.id,
        name=_called(container),
        created=container.created,
        status=container.status,
    )


def _called(container: Container) -> str:
    return container.name or container.id[:12]


def _related(node: Branch, container_id: str) -> Branch | None:
    """What of an image's tree grew together with a container: the limb that it is on."""
    from newroot.record import replace

    limbs = tuple(c for c in node.children if any(n.id == container_id for n in c.walk()))
    return replace(node, children=limbs) if limbs else None
