"""A Python caller's arguments become settings: the command line's words, with Python's values.

``volumes={"data": "/data"}`` is ``-v data:/data``; ``env={"A": "b"}`` is ``-e A=b``; numbers may
be numbers, and a flag that may be repeated takes a list or one value.
"""

from __future__ import annotations

from newroot.container.settings import Settings
from newroot.container.words import check_command, read_settings
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

#: Settings of the library's: nothing stays, and it is forgotten as cheaply as can be.
_DEFAULTS = {"rm": True, "upper": "memory"}

_MOST_CACHED = 256

_cache: dict[object, Settings] = {}


def settings_of(words: dict[str, Any]) -> Settings:
    """Read *words*; the same words give the same object, which a starter knows again.

    The environment is what *env* says, and nothing of this process's own.  Raises UsageError.
    """
    # repr() tells all the values apart that may be given, and costs less than reading them.
    key = repr(words) if words else ""
    known = _cache.get(key)
    if known is not None:
        return known
    said: dict[str, Any] = dict(_DEFAULTS)
    for name, value in words.items():
        read_as, convert = _CONVERT.get(name, (name, _text))
        said[read_as] = convert(value)
    settings = read_settings(said, (), host_env={})
    if "env_file" not in said:  # whose contents may change
        if len(_cache) >= _MOST_CACHED:
            _cache.clear()
        _cache[key] = settings
    return settings


def command_of(command: Sequence[str] | str) -> tuple[str, ...]:
    """Check *command*.  Raises UsageError for a string, and for a NUL byte."""
    if isinstance(command, (str, bytes)):
        raise UsageError(
            "the command must be a list of strings",
            hint='["sh", "-c", command] runs a line of shell',
        )
    return check_command(command)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value]


def _pairs(separator: str) -> Callable[[Any], list[str]]:
    def convert(value: Any) -> list[str]:
        if hasattr(value, "items"):
            return [f"{key}{separator}{item}" for key, item in value.items()]
        return _list(value)

    return convert


def _volumes(value: Any) -> list[str]:
    if not hasattr(value, "items"):
        return _list(value)
    return [f"{_escape(source)}:{target}" for source, target in value.items()]


def _escape(source: str) -> str:
    return str(source).replace("\\", "\\\\").replace(":", "\\:")


_CONVERT: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "env": ("env", _pairs("=")),
    "env_file": ("env_file", _list),
    "volumes": ("volume", _volumes),
    "volume": ("volume", _volumes),
    "mounts": ("mount", _list),
    "mount": ("mount", _list),
    "tmpfs": ("tmpfs", _list),
    "volumes_from": ("volumes_from", _list),
    "devices": ("device", _list),
    "device": ("device", _list),
    "cap_add": ("cap_add", _list),
    "cap_drop": ("cap_drop", _list),
    "security_opt": ("security_opt", _list),
    "sysctls": ("sysctl", _pairs("=")),
    "sysctl": ("sysctl", _pairs("=")),
    "ulimits": ("ulimit", _pairs("=")),
    "ulimit": ("ulimit", _pairs("=")),
    "cwd": ("workdir", _text),
    "network": ("network", _list),
    "publish": ("publish", _list),
    "ports": ("publish", _list),
    "expose": ("expose", _list),
    "dns": ("dns", _list),
    "dns_search": ("dns_search", _list),
    "dns_option": ("dns_option", _list),
    "add_host": ("add_host", _pairs(":")),
    "network_alias": ("network_alias", _list),
}
