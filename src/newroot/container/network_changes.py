"""A container joins or leaves a network: what runs, and what is kept of it for later starts."""

from __future__ import annotations

from newroot.container.kept_settings import read_settings, settings_document
from newroot.container.networking import names_of, networks_of
from newroot.errors import StateError, UsageError
from newroot.network.asked import BRIDGE, Attachment
from newroot.network.definitions import Lock
from newroot.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from newroot.container.settings import Settings
    from newroot.container.storage import ContainerStorage
    from newroot.network.definitions import Network
    from newroot.plan.launcher import Launcher


def connect(
    storage: ContainerStorage,
    container_id: str,
    network: Network,
    attachment: Attachment,
    launcher: Callable[[], Launcher],
) -> None:
    """See ``Engine.connect_network()``."""
    with _lock(storage):
        runs = storage.is_running(container_id)
        if runs:
            from newroot.network import changing

            record = storage.record(container_id)
            state = storage.state(container_id)
            name = record.get("name") or state.get("name")
            names = (*((str(name),) if name else ()), container_id[:12])
            storage.note_networks(container_id, add=network.name)
            changing.connect(
                networks_of(storage), network, container_id, attachment, launcher(), names
            )
        _keep(storage, container_id, lambda settings: _with(settings, attachment, runs))


def disconnect(
    storage: ContainerStorage,
    container_id: str,
    network: Network,
    launcher: Callable[[], Launcher],
) -> None:
    """See ``Engine.disconnect_network()``."""
    with _lock(storage):
        if storage.is_running(container_id):
            from newroot.network import changing

            changing.disconnect(networks_of(storage), network, container_id, launcher())
        _keep(storage, container_id, lambda settings: _without(settings, network.name))


def _lock(storage: ContainerStorage) -> Lock:
    import os

    directory = f"{storage.run_root}/networks"
    os.makedirs(directory, mode=0o711, exist_ok=True)
    return Lock(f"{directory}/.changes")


def _keep(
    storage: ContainerStorage, container_id: str, change: Callable[[Settings], Settings]
) -> None:
    """Change what a later start will ask for; one that goes at its end has no such thing."""
    document = storage.record(container_id)
    if not isinstance(document.get("settings"), dict):
        return
    settings = change(read_settings(document["settings"]))
    storage.write(
        container_id, "record.json", {**document, "settings": settings_document(settings)}
    )


def _attachments(settings: Settings) -> tuple[Attachment, ...]:
    said = settings.networking.attachments
    return said or tuple(Attachment(network=name) for name in names_of(settings))


def _with(settings: Settings, attachment: Attachment, is_done: bool) -> Settings:
    if settings.network not in (BRIDGE, "none"):
        raise UsageError(f"a container with network={settings.network} is on no other network")
    there = () if settings.network == "none" else _attachments(settings)
    if any(each.network == attachment.network for each in there):
        if is_done:
            return settings
        raise StateError(f"it is on the network {attachment.network} already")
    networking = replace(settings.networking, attachments=(*there, attachment))
    return replace(settings, network=BRIDGE, networking=networking)


def _without(settings: Settings, name: str) -> Settings:
    left = tuple(each for each in _attachments(settings) if each.network != name)
    networking = replace(settings.networking, attachments=left)
    if not left:
        networking = replace(networking, ports=(), publish_all=False)
        return replace(settings, network="none", networking=networking)
    return replace(settings, networking=networking)
