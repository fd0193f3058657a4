"""``Engine``'s part for a host that has just started."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from newroot.container.storage import ContainerStorage
    from newroot.errors import NewrootError


class BootVerbs:
    """What ``Engine`` does after a boot."""

    storage: ContainerStorage

    def _sweep(self) -> None:
        raise NotImplementedError

    def start(self, name: str) -> None:
        raise NotImplementedError

    def start_all_restart(
        self, on_start: Callable[[str, NewrootError | None], object] | None = None
    ) -> tuple[str, ...]:
        """Start the containers that are to run after a boot; return the ids of those that do.

        They are those with the restart policy ``always`` or ``unless-stopped`` that have run
        before; of the second kind not those that somebody has stopped.  *on_start* is told of
        each, with the error of one that did not start, which keeps no other from it.
        """
        from newroot.container.at_boot import start_all

        self._sweep()
        started: list[str] = []

        def note(container_id: str, error: NewrootError | None) -> None:
            if error is None:
                started.append(container_id)
            if on_start is not None:
                on_start(container_id, error)

        start_all(self.storage, self.start, note)
        return tuple(started)
