"""Networks are removed, and containers that run join and leave them."""

from __future__ import annotations

import os

from newroot.errors import NotFound, StateError, UsageError
from newroot.linux.rtnetlink_making import Making
from newroot.network import bridges, firewall, namespace
from newroot.network.addresses import mac_of, mac_text, normal, read_mac
from newroot.network.asked import Attachment
from newroot.network.leases import Lease, read_facts, write_facts
from newroot.network.wiring import Endpoint, describe, forwards_of, plug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.network.definitions import Network
    from newroot.network.wiring import Networks
    from newroot.plan.launcher import Launcher


def users(networks: Networks, network: Network) -> list[Lease]:
    """The leases of containers that are held."""
    found = networks.leases(network).all()
    return [lease for lease in found if networks.is_held(lease.container)]


def remove(networks: Networks, name: str) -> Network:
    """Remove a network with its bridge and its rules.

    Raises NotFound, and StateError while a container is on it.
    """
    network = networks.store.find(name) or networks.store.get(name)
    leases = networks.leases(network)
    with leases.lock():
        there = users(networks, network)
        if there:
            raise StateError(
                f"remove network {network.name}: container {there[0].container[:12]} is on it",
                hint=f"newroot network disconnect {network.name} {there[0].container[:12]}",
            )
        bridges.remove(network)
        leases.forget_dead(networks.is_held)
        networks.store.remove(network.name)
    leases.remove_files()
    return network


def connect(
    networks: Networks,
    network: Network,
    container_id: str,
    attachment: Attachment,
    launcher: Launcher,
    names: tuple[str, ...],
) -> None:
    """Put a container that runs on another network.  What it takes has been noted already."""
    run_directory = f"{networks.run_root}/{container_id}"
    facts = read_facts(run_directory)
    if any(end["network"] == network.name for end in facts.get("endpoints", ())):
        raise StateError(f"container {container_id[:12]} is on the network {network.name} already")
    if facts.get("kind") != "bridge":
        raise UsageError(
            f"container {container_id[:12]} has no network that others could be added to",
            hint="start it with --network bridge, or on a network",
        )
    taken = {end["interface"] for end in facts["endpoints"]}
    interface = next(f"eth{n}" for n in range(len(taken) + 1) if f"eth{n}" not in taken)
    leases = networks.leases(network)
    _, pid, _ = networks.find_process(container_id)
    if pid is None:
        raise StateError(f"container {container_id[:12]} does not run")
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with Making() as host, namespace.enter(launcher, fd) as space:
            with leases.lock():
                bridges.make_ready(host, network)
                ip, ip6 = leases.choose(attachment.ip, attachment.ip6, networks.is_held)
                mac = read_mac(attachment.mac) if attachment.mac else mac_of(ip)
                lease = Lease(
                    container=container_id, ip=ip, ip6=ip6, mac=mac_text(mac),
                    names=tuple(dict.fromkeys((*names, *attachment.aliases))),
                )  # fmt: skip
                leases.write(lease)
                if network.names:
                    from newroot.network.names import have_responder

                    have_responder(leases, network)
            endpoint = Endpoint(
                network=network, lease=lease, interface=interface, attachment=attachment
            )
            routed = _routed(facts)
            plug(host, space, endpoint, routed)
    finally:
        os.close(fd)
    facts["endpoints"].append(describe(endpoint))
    write_facts(run_directory, facts)


def disconnect(networks: Networks, network: Network, container_id: str, launcher: Launcher) -> None:
    """Take a container that runs from a network."""
    run_directory = f"{networks.run_root}/{container_id}"
    facts = read_facts(run_directory)
    ends = facts.get("endpoints", [])
    end = next((end for end in ends if end["network"] == network.name), None)
    if end is None:
        raise NotFound(f"container {container_id[:12]} is not on the network {network.name}")
    _, pid, _ = networks.find_process(container_id)
    if pid is not None:
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with namespace.enter(launcher, fd) as space:
                index = space.netlink.find(end["interface"])
                if index is not None:
                    space.netlink.remove(index)  # and the other end with it
                _reroute(space, [other for other in ends if other is not end])
        finally:
            os.close(fd)
    leases = networks.leases(network)
    with leases.lock():
        for lease in leases.of(container_id):
            leases.forget(lease.key)
            gone = forwards_of(lease)
            if gone:
                firewall.end_forward(network, gone, lambda: networks.all_forwards(leases))
                facts["ports"] = []
    facts["endpoints"] = [other for other in ends if other is not end]
    write_facts(run_directory, facts)


def _routed(facts: dict[str, object]) -> set[int]:
    from newroot.network.addresses import AF_INET, AF_INET6

    ends = facts.get("endpoints")
    assert isinstance(ends, list)
    found = {AF_INET} if any(end.get("gateway") and end.get("ip") for end in ends) else set()
    return found | ({AF_INET6} if any(e.get("gateway6") and e.get("ip6") for e in ends) else set())


def _reroute(space: namespace.Namespace, ends: list[dict[str, str]]) -> None:
    """The way out went with the interface: take the next one's, if it is not there already."""
    from newroot.errors import SyscallError

    for key, own in (("gateway", "ip"), ("gateway6", "ip6")):
        gateway = next((end[key] for end in ends if end.get(key) and end.get(own)), None)
        if gateway is None:
            continue
        try:
            space.netlink.add_default_route(normal(gateway))
        except SyscallError as error:
            if error.errno != 17:  # EEXIST: it went by another
                raise
