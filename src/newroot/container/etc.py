"""The three files of /etc that are the container's and not the image's: Docker's manner.

They are bound over the image's, so a commit or a diff does not see them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LOCALHOST = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "ff00::0\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)

NAMES = ("hosts", "hostname", "resolv.conf")


def files(hostname: str, *, network_is_host: bool) -> tuple[tuple[str, bytes], ...]:
    """The files' names and contents."""
    if network_is_host:
        hosts = _read("/etc/hosts") or _LOCALHOST.encode()
        resolv = _read("/etc/resolv.conf")
    else:
        hosts = f"{_LOCALHOST}127.0.1.1\t{hostname}\n".encode()
        resolv = b"# no network\n"
    return ("hosts", hosts), ("hostname", hostname.encode() + b"\n"), ("resolv.conf", resolv)


def mounts(scratch: str, taken: set[str]) -> list[dict[str, Any]]:
    """The binds of the files, but for those whose place is taken."""
    return [
        {
            "destination": f"/etc/{name}",
            "type": "bind",
            "source": f"{scratch}/{name}",
            "options": ["bind", "nodev"],
        }
        for name in NAMES
        if f"/etc/{name}" not in taken
    ]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
