"""Settings and sources as JSON: a container that has ended is started again as it was asked for.

What is read back may have been written by another version: a field that is not there has its
default, one that is not known is passed over.
"""

from __future__ import annotations

from newroot.container.settings import Device, Mount, Settings
from newroot.container.source import Source
from newroot.errors import StateError
from newroot.network.asked import Attachment, Networking, Port
from newroot.record import fields_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    Kind = TypeVar("Kind")

_NESTED: dict[str, type[Any]] = {"mounts": Mount, "devices": Device}


def settings_document(settings: Settings) -> dict[str, Any]:
    """What ``read_settings`` makes the same settings of."""
    return {name: _document(value) for name, value in vars(settings).items()}


def _document(value: Any) -> Any:
    if isinstance(value, (Mount, Device, Networking, Attachment, Port)):
        return {name: _document(each) for name, each in vars(value).items()}
    return [_document(each) for each in value] if isinstance(value, tuple) else value


def source_document(source: Source) -> dict[str, Any]:
    """What ``read_source`` makes the same source of."""
    return dict(vars(source))


def read_settings(document: dict[str, Any]) -> Settings:
    """Raises StateError for what is no settings."""
    nested: dict[str, Any] = {
        name: tuple(_read(kind, each) for each in _list(document.get(name)))
        for name, kind in _NESTED.items()
    }
    network = document.get("networking")
    if network is not None:
        nested["networking"] = _read_networking(network)
    return _read(Settings, {**document, **nested})


def _read_networking(document: Any) -> Any:
    if not isinstance(document, dict):
        raise StateError("a container's record is damaged: no networking in it")
    nested = {
        name: tuple(_read(kind, each) for each in _list(document.get(name)))
        for name, kind in (("attachments", Attachment), ("ports", Port))
    }
    return _read(Networking, {**document, **nested})


def read_source(document: dict[str, Any]) -> Source:
    """Raises StateError for what is no source."""
    return _read(Source, document)


def _read(kind: type[Kind], document: Any) -> Kind:
    if not isinstance(document, dict):
        raise StateError(f"a container's record is damaged: no {kind.__name__.lower()} in it")
    known = fields_of(kind)
    fields = {name: _immutable(document[name]) for name in known if name in document}
    try:
        return kind(**fields)
    except TypeError as error:
        raise StateError(f"a container's record is damaged: {error}") from error


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _immutable(value: Any) -> Any:
    return tuple(map(_immutable, value)) if isinstance(value, list) else value
