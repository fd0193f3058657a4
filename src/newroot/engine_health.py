"""``Engine``'s part for the question whether a container is well."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.container.storage import ContainerStorage
    from newroot.plan.launcher import Launcher


class HealthVerbs:
    """What ``Engine`` can ask of containers that have a health check."""

    storage: ContainerStorage

    def _find(self, name: str) -> str:
        raise NotImplementedError

    def _get_launcher(self) -> Launcher:
        raise NotImplementedError

    def check_health(self, name: str) -> bool:
        """Run a container's health check now, and note what came of it; whether it was well.

        Raises NotFound, UsageError when it has none, WrongStatus when it does not run.
        """
        from newroot.container.health_check import check

        return check(self.storage, self._find(name), self._get_launcher())
