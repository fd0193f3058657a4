"""Other limits and another restart policy for a container: ``docker update``.

What was asked of the container is changed in its record, so that its next start has it; what runs
is changed too: its cgroup by the same words that it was made by, its monitor by a message.
"""

from __future__ import annotations

from newroot.container import config as configs
from newroot.container.devices import Found
from newroot.container.settings import check
from newroot.errors import UnsupportedError
from newroot.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.settings import Restart, Settings
    from newroot.container.storage import ContainerStorage


@record
class Changes:
    """What to change; None leaves it as it is, 0 and "" take a limit away."""

    memory_bytes: int | None = None
    cpus: float | None = None
    cpuset_cpus: str | None = None
    pids_limit: int | None = None
    restart: Restart | None = None
    restart_most: int = 0


_LIMITS = ("memory_bytes", "cpus", "cpuset_cpus", "pids_limit")


def update(storage: ContainerStorage, container_id: str, changes: Changes) -> None:
    """See ``Engine.update``."""
    from newroot.container.kept_settings import read_settings, settings_document

    kept = storage.record(container_id)
    before = read_settings(kept.get("settings") or {})
    after = check(replace(before, **_changed(changes)))
    if storage.is_running(container_id):
        _change_what_runs(storage, container_id, before, after)
    document = settings_document(after)
    storage.change_record(container_id, lambda now: {**now, "settings": document})


def _changed(changes: Changes) -> dict[str, Any]:
    given = {name: getattr(changes, name) for name in _LIMITS}
    found: dict[str, Any] = {name: v or None for name, v in given.items() if v is not None}
    if changes.restart is not None:
        found |= {"restart": changes.restart, "restart_most": changes.restart_most}
    return found


def _change_what_runs(
    storage: ContainerStorage, container_id: str, before: Settings, after: Settings
) -> None:
    limits = _limits(before, after)
    if limits:
        from newroot.isolation.cgroups.cgroup import Cgroup
        from newroot.isolation.cgroups.detect import detect

        path = storage.state(container_id).get("cgroup")
        cgroup = Cgroup.find(path, host=detect()) if isinstance(path, str) else None
        if cgroup is None or not cgroup.places:
            raise UnsupportedError(
                f"limit container {container_id[:12]}: it has no cgroup",
                feature="cgroups",
                hint="one that runs detached has one, and one in the foreground with a limit",
            )
        cgroup.update(limits)
    if (before.restart, before.restart_most) != (after.restart, after.restart_most):
        from newroot.container.detached import change_policy

        change_policy(storage, container_id, after.restart, after.restart_most)


def _limits(before: Settings, after: Settings) -> dict[str, Any]:
    """What differs, as an OCI resources object; a limit that is taken away is -1."""
    nothing = Found()
    old, new = (configs.resources(settings, nothing) for settings in (before, after))
    found: dict[str, Any] = {k: v for k, v in new.items() if v != old.get(k)}
    for name, gone in _NO_LIMIT.items():
        if name in old and name not in new:
            found[name] = gone
    if "cpu" in found and "quota" in old.get("cpu", {}) and "quota" not in found["cpu"]:
        found["cpu"] = {**found["cpu"], "quota": -1}
    return found


_NO_LIMIT: dict[str, dict[str, Any]] = {
    "memory": {"limit": -1, "swap": -1},
    "cpu": {"quota": -1},
    "pids": {"limit": -1},
}
