"""``Engine``'s part for branches: roots that are forked, kept and gone back to."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from newroot.container.branch import Copied, Snapshot
    from newroot.container.branch_tree import Branch
    from newroot.container.storage import ContainerStorage


class BranchVerbs:
    """What ``Engine`` can do with the roots of containers."""

    storage: ContainerStorage

    def _find(self, name: str) -> str:
        raise NotImplementedError

    def start(self, name: str) -> None:
        raise NotImplementedError

    def fork(
        self,
        container: str,
        name: str | None = None,
        *,
        start: bool = False,
        on_copied: Callable[[Copied], object] | None = None,
    ) -> str:
        """Make a container whose root is what another's is now; return its id.

        That takes as long for a large upper as for a small one, unless the other runs: then it is
        frozen while its upper is copied, and *on_copied* is told.  The new one has the other's
        settings, shares its named volumes, and has anonymous ones of its own.  Raises NotFound,
        AlreadyExists when *name* is taken, StateError for one whose upper is not on the disk,
        UnsupportedError for one that runs and cannot be frozen; then nothing has changed.
        """
        from newroot.container.branch import fork

        container_id = self._find(container)
        made = fork(self.storage, container_id, name=name, on_copied=on_copied)
        self._keep_short(container_id, made)
        if start:
            self.start(made)
        return made

    def snapshot(
        self,
        container: str,
        tag: str | None = None,
        *,
        on_copied: Callable[[Copied], object] | None = None,
    ) -> Snapshot:
        """Keep what a container's root is now, under *tag*, or the next number that is free.

        As quick as ``fork()``, and raises the same; AlreadyExists when the container has that tag.
        """
        from newroot.container.branch import snapshot

        container_id = self._find(container)
        made = snapshot(self.storage, container_id, tag, on_copied=on_copied)
        self._keep_short(container_id)
        return made

    def rollback(self, container: str, tag: str) -> None:
        """Make a container's root what it was at a snapshot.

        What it has written since its last snapshot is gone; its snapshots stay, also later ones.
        Raises NotFound, and WrongStatus when it runs.
        """
        from newroot.container.branch import rollback

        rollback(self.storage, self._find(container), tag)

    def remove_snapshot(self, container: str, tag: str) -> None:
        """Forget a snapshot; its files go unless a container stands on them.  Raises NotFound."""
        from newroot.container.branch import forget_snapshot

        forget_snapshot(self.storage, self._find(container), tag)

    def snapshots(self, container: str | None = None) -> tuple[Branch, ...]:
        """The tree of snapshots on each image; with *container* only the limb that it is on."""
        from newroot.container.branch_tree import branches

        return branches(self.storage, None if container is None else self._find(container))

    def flatten(self, container: str) -> bool:
        """Make the snapshots that a container stands on one; False when it runs, or has not two.

        An engine does this by itself, in the background, for one that stands on more than 32, or
        ``$NEWROOT_SNAPSHOT_DEPTH``.
        """
        from newroot.container.flatten import flatten

        return flatten(self.storage, self._find(container))

    def _keep_short(self, *container_ids: str) -> None:
        from newroot.container.flatten import flatten_long_ones

        flatten_long_ones(self.storage, list(container_ids))
