"""After a boot: what was to be running runs again.

A reboot leaves a container's files, and nothing else of it: its run directory is gone, or nobody
holds it.  ``always`` and ``unless-stopped`` say that it is to run; of the second not one that
somebody has stopped, which its record says until it is started again.
"""

from __future__ import annotations

from newroot.errors import NewrootError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.container.storage import ContainerStorage

_POLICIES = ("always", "unless-stopped")


def note_stopped(storage: ContainerStorage, container_id: str) -> None:
    """Somebody has stopped it: a boot is no reason to start it, if its policy says so."""
    if _policy(storage.record(container_id)) == "unless-stopped":
        storage.change_record(container_id, lambda now: {**now, "stopped": True})


def is_to_run(record: dict[str, Any]) -> bool:
    """Whether a container with this record is to run after a boot: one that has run before."""
    policy = _policy(record)
    if policy not in _POLICIES or record.get("started") is None:
        return False
    return policy == "always" or not record.get("stopped")


def start_all(
    storage: ContainerStorage,
    start: Callable[[str], None],
    on_start: Callable[[str, NewrootError | None], object],
) -> None:
    """Start every container that is to run and does not, the oldest first.

    *on_start* is told of each, and why one did not start; the others do all the same.
    """
    found = [(record.get("created") or 0.0, container_id)
             for container_id in storage.ids()
             if is_to_run(record := storage.record(container_id))
             and not storage.is_running(container_id)]  # fmt: skip
    for _, container_id in sorted(found):
        try:
            start(container_id)
        except NewrootError as error:
            on_start(container_id, error)
        else:
            on_start(container_id, None)


def _policy(record: dict[str, Any]) -> str:
    settings = record.get("settings")
    return str(settings.get("restart", "no")) if isinstance(settings, dict) else "no"
