"""The options of a volume that is more than a directory of ours: ``-o type=… -o device=… -o o=…``.

They are those of docker's local driver, which are mount(8)'s: ``type=tmpfs``, ``type=nfs``,
``type=none,o=bind``, or any file system of the kernel's.  Docker mounts such a volume on the host;
here it is mounted in each container, by its own plan.  So a tmpfs is each container's own.
"""

from __future__ import annotations

import os

from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_KEYS = ("type", "device", "o", "size")
_NETWORK = ("nfs", "nfs4")
Options = tuple[tuple[str, str], ...]


def parse_options(texts: Iterable[str]) -> Options:
    """Read ``type=tmpfs``, ``device=tmpfs``, ``o=size=64m,mode=700``, or all in one with commas.

    What follows ``o=`` is its own, commas and all.  Raises UsageError.
    """
    found: dict[str, str] = {}
    for text in texts:
        rest: str | None = text
        while rest:
            if rest.startswith("o="):
                part, rest = rest, None
            else:
                part, _, rest = rest.partition(",")
            key, is_, value = part.partition("=")
            if key not in _KEYS or not is_:
                raise UsageError(
                    f"invalid volume option {part!r}",
                    hint="type=, device=, o=, or size= of a tmpfs",
                )
            found[key] = f"{found[key]},{value}" if key == "o" and "o" in found else value
    return check_options(tuple(found.items()))


def check_options(options: Options) -> Options:
    """Return *options* when they say of something what it is.  Raises UsageError."""
    found = dict(options)
    if not found:
        return ()
    kind = found.get("type")
    if not kind or ("device" not in found and kind != "tmpfs"):
        raise UsageError(
            "a volume with options needs type= and device=",
            hint="type=tmpfs; type=nfs,device=:/export,o=addr=HOST; type=none,device=/DIR,o=bind",
        )
    if "size" in found and kind != "tmpfs":
        raise UsageError("size= is a tmpfs's", hint="a directory has no size of its own")
    if _is_bind(found) and not found["device"].startswith("/"):
        raise UsageError(f"the device {found['device']!r} to bind must be an absolute path")
    return options


def is_directory(options: Options) -> bool:
    """Whether the volume is a directory of ours, and nothing else."""
    return not options


def mount_of(options: Options, *, copy_up: bool) -> dict[str, Any]:
    """``type``, ``source`` and ``options`` of the OCI mount that shows the volume.

    Raises UsageError when a directory to be bound is not there.
    """
    found = dict(options)
    kind, device = found["type"], found.get("device", "tmpfs")
    words = [word for word in found.get("o", "").split(",") if word]
    if _is_bind(found):
        if not os.path.isdir(device):
            raise UsageError(f"the volume's device {device} is no directory", hint="make it first")
        rest = [word for word in words if word not in ("bind", "rbind")]
        return {"type": "bind", "source": device, "options": ["rbind", *rest]}
    if kind == "tmpfs":
        if "size" in found:
            words.append(f"size={found['size']}")
        if copy_up:
            words.append("tmpcopyup")
    if kind in _NETWORK:
        words = [_by_number(word) for word in words]
    return {"type": kind, "source": device, "options": words}


def _is_bind(found: dict[str, str]) -> bool:
    words = found.get("o", "").split(",")
    return found.get("type") in ("none", "bind") or "bind" in words or "rbind" in words


def _by_number(word: str) -> str:
    """The kernel knows no names of hosts: nfs(5) says that mount.nfs looks them up."""
    key, is_, host = word.partition("=")
    if key != "addr" or not is_:
        return word
    import _socket

    try:
        found = _socket.getaddrinfo(host, None, 0, _socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"the volume's server {host}: {error.strerror}") from None
    return f"addr={found[0][4][0]}"
