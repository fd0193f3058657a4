"""The three files of /etc that are the container's and not the image's: Docker's manner.

They are bound over the image's, so a commit or a diff does not see them.
"""

from __future__ import annotations

from newroot.network.files import LOCALHOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.settings import Settings
    from newroot.network.wiring import Wiring

NAMES = ("hosts", "hostname", "resolv.conf")


def files(
    hostname: str, settings: Settings, wiring: Wiring | None = None
) -> tuple[tuple[str, bytes], ...]:
    """The files' names and contents."""
    if wiring is not None:
        hosts, resolv = wiring.hosts, wiring.resolv
    elif settings.network == "host":
        hosts = (_read("/etc/hosts") or LOCALHOST.encode()) + _added(settings, "127.0.0.1")
        resolv = _host_resolv(settings)
    else:
        own = f"127.0.1.1\t{hostname}\n".encode()
        hosts = LOCALHOST.encode() + _added(settings, "127.0.0.1") + own
        resolv = b"# no network\n"
    return of_network(hostname, hosts, resolv)


def of_network(hostname: str, hosts: bytes, resolv: bytes) -> tuple[tuple[str, bytes], ...]:
    """The files by their names."""
    return ("hosts", hosts), ("hostname", hostname.encode() + b"\n"), ("resolv.conf", resolv)


def _added(settings: Settings, gateway: str) -> bytes:
    return b"".join(
        f"{gateway if address == 'host-gateway' else address}\t{name}\n".encode()
        for name, address in settings.networking.hosts
    )


def _host_resolv(settings: Settings) -> bytes:
    asked = settings.networking
    if not (asked.dns or asked.dns_search or asked.dns_options):
        return _read("/etc/resolv.conf")
    from newroot.network.files import resolv

    return resolv(
        (),
        dns=asked.dns,
        search=asked.dns_search,
        options=asked.dns_options,
        ipv6=True,
        loopback=True,
    )


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
