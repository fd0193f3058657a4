"""One container's network, from what was asked to a namespace that is wired.

``prepare()`` takes what others could take: ports of the host, addresses.  ``make()`` or
``enter()`` then wires a namespace.  What was begun is noted first, so that whoever finds this
process dead can undo it: ``unwire()``.
"""

from __future__ import annotations

import os

from newroot.errors import NotFound, UsageError, WrongStatus
from newroot.linux.processes import start_ticks
from newroot.linux.rtnetlink_making import Making
from newroot.network import bridges, files, firewall, namespace
from newroot.network.addresses import AF_INET, AF_INET6, mac_of, mac_text, read_mac
from newroot.network.asked import BRIDGE, CONTAINER, PASTA, Attachment, Port
from newroot.network.definitions import DEFAULT, Network, NetworkStore
from newroot.network.leases import Lease, Leases, read_facts, write_facts
from newroot.network.ports import Ports, take
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from newroot.network.asked import Networking
    from newroot.network.firewall import Forward
    from newroot.plan.launcher import Launcher

HOST_GATEWAY = "host-gateway"


@record
class Who:
    """The container that is to be wired."""

    id: str
    run_directory: str
    name: str | None
    hostname: str
    exposed: tuple[tuple[int, str], ...] = ()  #: by its image


@record
class Endpoint:
    """A container on a network: the network, its lease there, its interface."""

    network: Network
    lease: Lease
    interface: str
    attachment: Attachment


class Networks:
    """The networks below one root, and who is on them."""

    def __init__(
        self,
        root: str,
        run_root: str,
        *,
        is_held: Callable[[str], bool],
        ids: Callable[[], list[str]],
        find_process: Callable[[str], tuple[str, int | None, int | None]],
    ) -> None:
        """*is_held* says whether a container's id is held, *ids* are all that there may be, and
        *find_process* knows of a container, by whatever name, its id, its first process and when
        that began.  (What containers are is another room's: container/networking.py.)"""
        self.store = NetworkStore(root, run_root)
        self.run_root = run_root
        self.is_held = is_held
        self.find_process = find_process
        self._ids = ids

    def leases(self, network: Network) -> Leases:
        return Leases(self.store.run_directory, network)

    # ---- for one container ----

    def prepare(self, kind: str, asked: Networking, who: Who) -> Wiring:
        """Take ports and addresses.  Raises what ``take()`` and ``Leases.choose()`` do."""
        wiring = Wiring(self, kind, asked, who)
        try:
            wiring.prepare()
        except BaseException:
            wiring.undo()
            raise
        return wiring

    def unwire(self, container_id: str, names: Sequence[str]) -> None:
        """Give back what a container had on the networks *names*: nothing of it runs any more.

        May be called again, and by whoever finds the leftovers of a dead one.
        """
        facts = read_facts(f"{self.run_root}/{container_id}")
        if isinstance(facts.get("helper"), dict):
            from newroot.network.pasta import end_helper

            end_helper(facts["helper"])
        for name in names:
            try:
                network = self.store.find(name)
            except Exception:  # damaged: its leases are found by whoever mends it
                network = None
            if network is not None:
                self._give_back(network, container_id)

    def _give_back(self, network: Network, container_id: str) -> None:
        leases = self.leases(network)
        with leases.lock():
            for lease in leases.of(container_id):
                leases.forget(lease.key)
                gone = forwards_of(lease)
                if gone and bridges.is_there(network.interface):
                    firewall.end_forward(network, gone, lambda: self.all_forwards(leases))

    def all_forwards(self, leases: Leases) -> list[Forward]:
        """All that is published on a network."""
        return [each for lease in leases.all() for each in forwards_of(lease)]

    def owner(self, protocol: str, host_ip: str, number: int) -> str | None:
        """Which container of ours has a port of the host's."""
        for container_id in self._ids():
            for taken in read_facts(f"{self.run_root}/{container_id}").get("ports", ()):
                if taken[0] == protocol and taken[2] == number and self.is_held(container_id):
                    return f"container {container_id[:12]}"
        return None


def forwards_of(lease: Lease) -> list[Forward]:
    """What the firewall is told of a lease's ports."""
    found: list[Forward] = []
    for protocol, host_ip, host_port, port in lease.ports:
        for ip in (lease.ip, lease.ip6):
            if ip is not None and (not host_ip or (":" in ip) == (":" in host_ip)):
                found.append((protocol, host_ip, host_port, ip, port))
    return found


class Wiring:
    """What one container is given, until it is all released or undone."""

    def __init__(self, networks: Networks, kind: str, asked: Networking, who: Who) -> None:
        self._networks = networks
        self._kind = kind
        self._asked = asked
        self._who = who
        self._ports = Ports()
        self._endpoints: list[Endpoint] = []
        self._helper: dict[str, Any] | None = None
        self._facts: dict[str, Any] = {}
        self._forwards_dns = False
        self.fd = -1  #: the namespace, once it is made
        self.hosts = b""
        self.resolv = b""

    @property
    def held(self) -> tuple[int, ...]:
        """What is to be kept open as long as the container lives."""
        return self._ports.fds

    @property
    def names(self) -> list[str]:
        return [attachment.network for attachment in self._attachments()]

    @property
    def is_to_be_cleared(self) -> bool:
        """Whether its end leaves what others would stumble over: a port's rules, a helper."""
        return bool(self._ports.taken) or self._helper is not None

    def prepare(self) -> None:
        if self._kind.startswith(CONTAINER):
            return self._share()
        if self._kind == BRIDGE:
            self._prepare_bridges()
        elif self._kind == PASTA:
            ports = wanted_ports(self._asked, self._who.exposed)
            self._ports = take(ports, ipv6=False, owner=self._networks.owner)
        self._describe()
        return None

    def close(self) -> None:
        """Our copies are no longer needed: whoever keeps the container has them."""
        self._ports.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def undo(self) -> None:
        """Give all back."""
        self.close()
        self._networks.unwire(self._who.id, self.names)

    # ---- another container's ----

    def _share(self) -> None:
        name = self._kind.removeprefix(CONTAINER)
        target, pid, ticks = self._networks.find_process(name)
        if pid is None:
            raise WrongStatus(
                f"join the network of container {name}: it is not running",
                status="exited",
                wanted="running",
            )
        self.fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if start_ticks(pid) != ticks:
            raise WrongStatus(
                f"join the network of container {name}: it has just ended",
                status="exited",
                wanted="running",
            )
        facts = read_facts(f"{self._networks.run_root}/{target}")
        self.hosts = str(facts.get("hosts", "")).encode() or files.hosts((), ())
        self.resolv = str(facts.get("resolv", "# no network\n")).encode()
        self._note()

    # ---- bridges ----

    def _attachments(self) -> tuple[Attachment, ...]:
        if self._kind != BRIDGE:
            return ()
        return self._asked.attachments or (Attachment(network=DEFAULT),)

    def _prepare_bridges(self) -> None:
        found = [self._networks.store.get(a.network) for a in self._attachments()]
        ids = [network.id for network in found]
        if len(set(ids)) != len(ids):
            raise UsageError("a network is asked for twice")
        outward = next((n for n in found if not n.internal), None)
        self._take_ports(outward)
        with Making() as netlink:
            for number, (network, attachment) in enumerate(
                zip(found, self._attachments(), strict=True)
            ):
                ports = tuple(self._ports.taken) if network is outward else ()
                self._lease(netlink, network, attachment, f"eth{number}", ports)

    def _take_ports(self, network: Network | None) -> None:
        asked = wanted_ports(self._asked, self._who.exposed)
        if network is not None and asked:
            ipv6 = network.of_family(AF_INET6) is not None
            self._ports = take(asked, ipv6=ipv6, owner=self._networks.owner)

    def _lease(
        self,
        netlink: Making,
        network: Network,
        attachment: Attachment,
        interface: str,
        ports: tuple[Any, ...],
    ) -> None:
        leases = self._networks.leases(network)
        who = self._who
        names = (who.name, who.id[:12], who.hostname, *attachment.aliases)
        with leases.lock():
            if self._networks.store.find(network.name) is None:
                raise NotFound(f"the network {network.name} was removed meanwhile")
            bridges.make_ready(netlink, network)
            ip, ip6 = leases.choose(attachment.ip, attachment.ip6, self._networks.is_held)
            mac = read_mac(attachment.mac) if attachment.mac else mac_of(ip)
            lease = Lease(
                container=who.id,
                ip=ip,
                ip6=ip6,
                mac=mac_text(mac),
                names=tuple(dict.fromkeys(name for name in names if name)),
                ports=ports,
                dns=self._asked.dns,
            )
            leases.write(lease)
            endpoint = Endpoint(
                network=network, lease=lease, interface=interface, attachment=attachment
            )
            self._endpoints.append(endpoint)
            if ports:
                every = self._networks.all_forwards
                firewall.forward(network, forwards_of(lease), lambda: every(leases))
            if network.names:
                from newroot.network.names import have_responder

                have_responder(leases, network)

    # ---- the namespace ----

    def make(self, launcher: Launcher) -> None:
        """Make the namespace that the container will join, and wire it."""
        if self.fd >= 0:
            return
        space = namespace.make(launcher)
        with space:
            self._plug(space, None)
            self.fd = space.release()

    def enter(self, launcher: Launcher, pid: int) -> None:
        """Wire the namespace that *pid* was born in."""
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        userns = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if self._kind == PASTA:
                self._help(fd, userns)
            else:
                with namespace.enter(launcher, fd) as space:
                    self._plug(space, userns)
        finally:
            os.close(fd)
            os.close(userns)

    def _plug(self, space: namespace.Namespace, userns: int | None) -> None:
        if self._endpoints:
            routed: set[int] = set()
            with Making() as host:
                for endpoint in self._endpoints:
                    plug(host, space, endpoint, routed)
        elif self._kind == PASTA:
            self._help(space.fd, userns)

    def _help(self, netns: int, userns: int | None) -> None:
        """Have pasta pass on what goes in and out."""
        from newroot.network.pasta import start_pasta

        taken = tuple(self._ports.taken)
        self._ports.close()  # it binds them itself, at once
        self._helper = start_pasta(
            f"{self._who.run_directory}/pasta.pid",
            netns,
            self._asked,
            taken,
            userns,
            dns_forward=self._forwards_dns,
        )
        self._note()

    # ---- what is said of it ----

    def _describe(self) -> None:
        asked = self._asked
        hostname = self._who.hostname
        names = [hostname] if "." not in hostname else [hostname, hostname.partition(".")[0]]
        own = []
        for endpoint in self._endpoints:
            addresses = (endpoint.lease.ip, endpoint.lease.ip6)
            own += [(address, names) for address in addresses if address is not None]
        gateway = None
        for endpoint in self._endpoints[:1]:
            subnet = endpoint.network.of_family(AF_INET) or endpoint.network.subnets[0]
            gateway = subnet.gateway
        extra = [
            (name, (gateway or "127.0.0.1") if address == HOST_GATEWAY else address)
            for name, address in asked.hosts
        ]
        if not own:
            own = [("127.0.1.1", names)]
        self.hosts = files.hosts(extra, own)
        servers = [
            str(subnet.gateway)
            for endpoint in self._endpoints
            if endpoint.network.names
            for subnet in endpoint.network.subnets[:1]
        ]
        if self._kind == PASTA and not asked.dns and not files.has_reachable():
            from newroot.network.pasta import DNS_FORWARD

            self._forwards_dns = True
            servers = [DNS_FORWARD]
        self.resolv = files.resolv(
            servers,
            dns=asked.dns,
            search=asked.dns_search,
            options=asked.dns_options,
            ipv6=any(e.lease.ip6 for e in self._endpoints) or self._kind == PASTA,
        )
        self._note()

    def _note(self) -> None:
        self._facts = {
            "kind": self._kind,
            "endpoints": [describe(endpoint) for endpoint in self._endpoints],
            "ports": [list(taken) for taken in self._ports.taken],
            "exposed": [list(each) for each in (*self._asked.exposed, *self._who.exposed)],
            "hosts": self.hosts.decode(),
            "resolv": self.resolv.decode(),
            "helper": self._helper,
        }
        write_facts(self._who.run_directory, self._facts)


def wanted_ports(asked: Networking, by_image: tuple[tuple[int, str], ...]) -> tuple[Port, ...]:
    """The ports to publish: those that were said, and with ``-P`` those that are exposed."""
    if not asked.publish_all:
        return asked.ports
    said = {(port.container_port, port.protocol) for port in asked.ports}
    exposed = dict.fromkeys((*asked.exposed, *by_image))
    return asked.ports + tuple(
        Port(container_port=number, protocol="udp" if protocol == "udp" else "tcp")
        for number, protocol in exposed
        if (number, protocol) not in said
    )


def plug(host: Making, space: namespace.Namespace, endpoint: Endpoint, routed: set[int]) -> None:
    """Join a namespace to a network.  *routed* are the families that have a way out already."""
    network, lease = endpoint.network, endpoint.lease
    name = f"nrv{os.urandom(5).hex()}"
    host.make_veth(
        name,
        master=host.get(network.interface),
        peer=endpoint.interface,
        peer_mac=read_mac(lease.mac),
        namespace=space.fd,
        mtu=network.mtu,
    )
    host.reflect(name)
    inside = space.netlink
    index = inside.get(endpoint.interface)
    inside.set_up(index)
    for family, ip in ((AF_INET, lease.ip), (AF_INET6, lease.ip6)):
        subnet = network.of_family(family)
        if ip is None or subnet is None:
            continue
        inside.add_ip(index, ip, subnet.block.prefix_length)
        if subnet.gateway and not network.internal and family not in routed:
            inside.add_default_route(subnet.gateway)
            routed.add(family)


def describe(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint as it is noted."""
    network, lease = endpoint.network, endpoint.lease
    four, six = network.of_family(AF_INET), network.of_family(AF_INET6)
    return {
        "network": network.name,
        "network_id": network.id,
        "interface": endpoint.interface,
        "mac": lease.mac,
        "ip": lease.ip,
        "prefix": four.block.prefix_length if four and lease.ip else None,
        "gateway": four.gateway if four and not network.internal else None,
        "ip6": lease.ip6,
        "prefix6": six.block.prefix_length if six and lease.ip6 else None,
        "gateway6": six.gateway if six and not network.internal else None,
        "aliases": list(endpoint.attachment.aliases),
        "names": list(lease.names),
    }
