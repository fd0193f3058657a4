"""Ports of a container that are published on the host: what ``ps``, ``port`` and ``inspect`` show.

Whoever publishes them says so in the container's state, under ``ports``:
``{"container": 80, "protocol": "tcp", "host_ip": "0.0.0.0", "host": 8080}`` each, one a port.
"""

from __future__ import annotations

from newroot.errors import UsageError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROTOCOLS = ("tcp", "udp", "sctp")


@record
class Port:
    """One port of a container, and where the host answers for it."""

    container: int
    protocol: str = "tcp"
    host_ip: str = "0.0.0.0"
    host: int

    @property
    def inside(self) -> str:
        """``80/tcp``"""
        return f"{self.container}/{self.protocol}"

    @property
    def outside(self) -> str:
        """``0.0.0.0:8080``, ``[::]:8080``"""
        ip = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip
        return f"{ip}:{self.host}"


def published(state: dict[str, Any]) -> tuple[Port, ...]:
    """What a container's *state* says of its ports, in order."""
    said = state.get("ports")
    found = [_port(each) for each in (said if isinstance(said, list) else ()) if _is_port(each)]
    return tuple(sorted(found, key=lambda p: (p.container, p.protocol, p.host_ip, p.host)))


def _is_port(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), int) for key in ("container", "host")
    )


def _port(value: dict[str, Any]) -> Port:
    return Port(
        container=value["container"],
        host=value["host"],
        protocol=str(value.get("protocol") or "tcp"),
        host_ip=str(value.get("host_ip") or "0.0.0.0"),
    )


def in_words(ports: tuple[Port, ...]) -> str:
    """``0.0.0.0:8080->80/tcp, …``: docker ps's column."""
    return ", ".join(f"{port.outside}->{port.inside}" for port in ports)


def bindings(state: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    """As docker inspect has them: by the port inside."""
    found: dict[str, list[dict[str, str]]] = {}
    for port in published(state):
        entry = {"HostIp": port.host_ip, "HostPort": str(port.host)}
        found.setdefault(port.inside, []).append(entry)
    return found


def parse_inside(text: str) -> str:
    """``80`` or ``80/udp`` as ``Port.inside`` has it.  Raises UsageError."""
    number, slash, protocol = text.partition("/")
    if not (number.isascii() and number.isdigit()) or not 0 < int(number) < 65536:
        raise UsageError(f"invalid port {text!r}", hint="80, 80/udp")
    if slash and protocol not in PROTOCOLS:
        raise UsageError(f"invalid port {text!r}", hint=f"one of {', '.join(PROTOCOLS)}")
    return f"{int(number)}/{protocol or 'tcp'}"
