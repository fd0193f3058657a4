"""What is known of a running container's networks: for ``inspect``, ``port``, ``ps``.

The facts are those that its wiring noted: network/leases.py, ``read_facts()``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def ports_of(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Its published ports, as a state has them: container/ports.py."""
    has_ipv6 = any(end.get("ip6") for end in facts.get("endpoints", ()))
    everywhere = ("0.0.0.0", "::") if has_ipv6 else ("0.0.0.0",)
    return [
        {"container": port, "protocol": protocol, "host_ip": address, "host": host_port}
        for protocol, host_ip, host_port, port in facts.get("ports", ())
        for address in ((host_ip,) if host_ip else everywhere)
    ]


def network_names(settings: dict[str, Any]) -> str:
    """The networks that a container's kept settings ask for, as docker ps has them."""
    kind = str(settings.get("network") or "none")
    networking = settings.get("networking")
    asked = networking.get("attachments") if isinstance(networking, dict) else None
    names = [str(each["network"]) for each in asked or () if isinstance(each, dict)]
    return ",".join(names) if kind == "bridge" and names else kind


def network_settings(facts: dict[str, Any], ports: dict[str, Any], kind: str) -> dict[str, Any]:
    """Docker's ``.NetworkSettings``, but for what is no network's; *ports* are those published.

    *kind* names the network of a container that has no endpoint of its own.
    """
    ends = facts.get("endpoints", ())
    first: dict[str, Any] = ends[0] if ends else {}
    alone = first if first.get("network") == "bridge" else {}
    exposed = {f"{number}/{protocol}": None for number, protocol in facts.get("exposed", ())}
    return {
        "Ports": {**exposed, **ports},
        "Gateway": alone.get("gateway") or "",
        "GlobalIPv6Address": alone.get("ip6") or "",
        "GlobalIPv6PrefixLen": alone.get("prefix6") or 0,
        "IPAddress": alone.get("ip") or "",
        "IPPrefixLen": alone.get("prefix") or 0,
        "IPv6Gateway": alone.get("gateway6") or "",
        "MacAddress": alone.get("mac") or "",
        "Networks": {end["network"]: _endpoint(end) for end in ends} or {kind: {}},
    }


def _endpoint(end: dict[str, Any]) -> dict[str, Any]:
    return {
        "Aliases": end.get("aliases") or None,
        "NetworkID": end.get("network_id", ""),
        "Gateway": end.get("gateway") or "",
        "IPAddress": end.get("ip") or "",
        "IPPrefixLen": end.get("prefix") or 0,
        "IPv6Gateway": end.get("gateway6") or "",
        "GlobalIPv6Address": end.get("ip6") or "",
        "GlobalIPv6PrefixLen": end.get("prefix6") or 0,
        "MacAddress": end.get("mac") or "",
        "DNSNames": end.get("names") or None,
    }
