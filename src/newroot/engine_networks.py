"""``Engine``'s part for networks: made, listed, removed; containers join and leave them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from newroot.container.storage import ContainerStorage
    from newroot.network.definitions import Network
    from newroot.network.wiring import Networks
    from newroot.plan.launcher import Launcher


class NetworkVerbs:
    """What ``Engine`` can do with networks."""

    storage: ContainerStorage

    def _sweep(self) -> None:
        raise NotImplementedError

    def _get_launcher(self) -> Launcher:
        raise NotImplementedError

    def _networks(self) -> Networks:
        from newroot.container.networking import networks_of

        return networks_of(self.storage)

    def networks(self) -> list[Network]:
        """Every network, by its name."""
        return self._networks().store.list()

    def network(self, name: str) -> Network:
        """One network, by its name or the beginning of its id.  Raises NotFound."""
        return self._networks().store.get(name)

    def create_network(
        self,
        name: str,
        *,
        subnets: Iterable[str] = (),
        gateways: Iterable[str] = (),
        ip_ranges: Iterable[str] = (),
        ipv6: bool = False,
        internal: bool = False,
        isolated: bool = True,
        names: bool = True,
        mtu: int | None = None,
        interface: str | None = None,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        exist_ok: bool = False,
    ) -> Network:
        """Make a network: a bridge, once its first container comes.

        *subnets* are as ``10.1.2.0/24``, one of each family at most; a *gateway* is the host's own
        address in one, an *ip_range* the part that containers get addresses of.  Without any a
        free subnet is chosen.  An *internal* network has no way out; one that is not *isolated*
        is reached from other networks.  With *names* its containers find each other by name.

        Raises UsageError, AlreadyExists.
        """
        from newroot.network.subnets import read_subnets

        return self._networks().store.create(
            name,
            subnets=read_subnets(tuple(subnets), tuple(gateways), tuple(ip_ranges)),
            ipv6=ipv6,
            internal=internal,
            isolated=isolated,
            names=names,
            mtu=mtu,
            interface=interface,
            labels=tuple((labels or {}).items()),
            options=tuple((options or {}).items()),
            exist_ok=exist_ok,
        )

    def remove_network(self, name: str) -> Network:
        """Remove a network.  Raises NotFound, and StateError while a container is on it."""
        from newroot.network.changing import remove

        self._sweep()
        return remove(self._networks(), name)

    def network_users(self, name: str) -> dict[str, dict[str, Any]]:
        """The containers that are on a network: what each has there, by its id."""
        from newroot.network.changing import users

        networks = self._networks()
        return {lease.container: vars(lease) for lease in users(networks, networks.store.get(name))}

    def connect_network(
        self,
        network: str,
        container: str,
        *,
        ip: str | None = None,
        ip6: str | None = None,
        mac: str | None = None,
        aliases: Sequence[str] = (),
    ) -> None:
        """Put a container on a network: at once if it runs, and at each later start.

        Raises NotFound, StateError, UsageError.
        """
        from newroot.container.network_changes import connect
        from newroot.network.asked import Attachment

        self._sweep()
        found = self._networks().store.get(network)
        attachment = Attachment(network=found.name, ip=ip, ip6=ip6, mac=mac, aliases=tuple(aliases))
        connect(
            self.storage, self.storage.resolve(container), found, attachment, self._get_launcher
        )

    def disconnect_network(self, network: str, container: str) -> None:
        """Take a container from a network: at once if it runs, and for later starts."""
        from newroot.container.network_changes import disconnect

        self._sweep()
        found = self._networks().store.get(network)
        disconnect(self.storage, self.storage.resolve(container), found, self._get_launcher)
