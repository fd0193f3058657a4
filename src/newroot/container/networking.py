"""Where a container and its networks meet: its wiring at the start, and its end."""

from __future__ import annotations

from newroot.errors import NewrootError
from newroot.network.asked import is_wired
from newroot.network.wiring import Networks, Who, Wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.container.settings import Settings
    from newroot.container.source import Source
    from newroot.container.storage import Claim, ContainerStorage


def networks_of(storage: ContainerStorage) -> Networks:
    """The networks that the containers of *storage* are on."""

    def find_process(name: str) -> tuple[str, int | None, int | None]:
        container_id = storage.resolve(name)
        state = storage.state(container_id) if storage.is_running(container_id) else {}
        return container_id, state.get("pid"), state.get("startTicks")

    return Networks(
        storage.root,
        storage.run_root,
        is_held=storage.is_running,
        ids=storage.running_ids,
        find_process=find_process,
    )


def names_of(settings: Settings) -> list[str]:
    """The networks of ours that a container will be on: to be noted before it is."""
    from newroot.network.asked import BRIDGE
    from newroot.network.definitions import DEFAULT

    if settings.network != BRIDGE:
        return []
    return [each.network for each in settings.networking.attachments] or [DEFAULT]


def prepare(
    storage: ContainerStorage,
    settings: Settings,
    source: Source,
    claim: Claim,
    hostname: str,
    undo: list[Callable[[], object]],
) -> Wiring | None:
    """What the container's network takes; None for one that has none, or the host's."""
    if not is_wired(settings.network):
        return None
    release(storage, claim.id, claim.state.get("networks"))  # of the run that it begins anew after
    claim.write_state(networks=names_of(settings))
    who = Who(
        id=claim.id,
        run_directory=storage.run_directory(claim.id),
        name=claim.state.get("name") or settings.name,
        hostname=hostname,
        exposed=exposed_by(source.image),
    )
    wiring = networks_of(storage).prepare(settings.network, settings.networking, who)
    undo.append(wiring.undo)
    return wiring


def exposed_by(image: dict[str, Any]) -> tuple[tuple[int, str], ...]:
    """An image's ``ExposedPorts``: ``{"80/tcp": {}}``; what is no port is passed over."""
    found = []
    for word in image.get("ExposedPorts") or ():
        number, _, protocol = str(word).partition("/")
        if number.isascii() and number.isdigit() and protocol in ("", "tcp", "udp"):
            found.append((int(number), protocol or "tcp"))
    return tuple(found)


def release(storage: ContainerStorage, container_id: str, names: object) -> None:
    """Give back what a container that has ended had, by the *names* that its state has.

    What cannot be given back now is left for ``newroot doctor``: its end is not held up by it.
    """
    if not isinstance(names, list):
        return
    try:
        networks_of(storage).unwire(container_id, [str(name) for name in names])
    except (NewrootError, OSError):
        pass
