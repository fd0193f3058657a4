"""Who has which address: one file each, below a network's lock.

    <run_root>/networks/<name>/lock              held for moments by whoever gives addresses
    <run_root>/networks/<name>/last              the address that was given last
    <run_root>/networks/<name>/leases/<address>  whose it is, and under which names it is found
    <run_root>/<id>/network.json                 all that one container has: endpoints and ports

A lease is a container's while that one is held (container/storage.py), whose run directory is
locked before it gets any.  So a lease of one that nobody holds is nobody's, and is taken away by
whoever meets it.
"""

from __future__ import annotations

import os

from newroot.errors import UsageError
from newroot.network.addresses import AF_INET, AF_INET6, to_number, to_text
from newroot.network.definitions import Lock
from newroot.oci import json
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.network.definitions import Network, Subnet


@record
class Lease:
    """What a container has on one network."""

    container: str
    ip: str | None = None
    ip6: str | None = None
    mac: str
    names: tuple[str, ...] = ()  #: of the container, on this network
    ports: tuple[tuple[str, str, int, int], ...] = ()  #: protocol, host's address, port; port
    dns: tuple[str, ...] = ()  #: who is asked what the network does not know; empty: the host's

    @property
    def key(self) -> str:
        return self.ip or str(self.ip6)


class Leases:
    """The leases of one network."""

    def __init__(self, run_directory: str, network: Network) -> None:
        self.network = network
        self.place = f"{run_directory}/{network.name}"
        self._made = False

    @property
    def directory(self) -> str:
        return f"{self.place}/leases"

    def lock(self) -> Lock:
        """The network's lock: addresses, links and rules are changed under it alone."""
        if not self._made:
            os.makedirs(self.directory, mode=0o711, exist_ok=True)
            self._made = True
        return Lock(f"{self.place}/lock")

    def keys(self) -> list[str]:
        try:
            return [name for name in os.listdir(self.directory) if not name.endswith(".new")]
        except FileNotFoundError:
            return []

    def read(self, key: str) -> Lease | None:
        """One lease; None when it is gone or damaged."""
        try:
            with open(f"{self.directory}/{key}", "rb", buffering=0) as file:
                document = json.loads(file.read(), what=key)
            return Lease(
                container=str(document["container"]),
                ip=document.get("ip"),
                ip6=document.get("ip6"),
                mac=str(document["mac"]),
                names=tuple(map(str, document.get("names", ()))),
                ports=tuple(tuple(port) for port in document.get("ports", ())),
                dns=tuple(map(str, document.get("dns", ()))),
            )
        except (OSError, UsageError, KeyError, TypeError, AttributeError):
            return None

    def all(self) -> list[Lease]:
        """Every lease that can be read."""
        return [lease for key in self.keys() if (lease := self.read(key)) is not None]

    def write(self, lease: Lease) -> None:
        """Note a lease, whole."""
        path = f"{self.directory}/{lease.key}"
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(json.dumps(vars(lease)))
        os.rename(f"{path}.new", path)

    def choose(
        self,
        ip: str | None,
        ip6: str | None,
        is_held: Callable[[str], bool],
    ) -> tuple[str | None, str | None]:
        """Addresses that nobody has.  The lock is held.

        Raises UsageError when one that was asked for is somebody's, or none is left.
        """
        found: list[str | None] = []
        taken = self._taken()
        for family, asked in ((AF_INET, ip), (AF_INET6, ip6)):
            subnet = self.network.of_family(family)
            if subnet is None:
                if asked is not None:
                    raise UsageError(f"the network {self.network.name} has no subnet for {asked}")
                found.append(None)
            elif asked is not None:
                found.append(self._asked(subnet, asked, is_held))
            else:
                found.append(self._next(subnet, family, taken, is_held))
        return found[0], found[1]

    def forget(self, key: str) -> None:
        """The address is free again."""
        try:
            os.unlink(f"{self.directory}/{key}")
        except FileNotFoundError:
            pass

    def forget_dead(self, is_held: Callable[[str], bool]) -> list[Lease]:
        """Take away the leases of containers that nobody holds.  The lock is held."""
        found = []
        for key in self.keys():
            lease = self.read(key)
            if lease is None:
                self.forget(key)
            elif not is_held(lease.container):
                self.forget(key)
                found.append(lease)
        return found

    def of(self, container_id: str) -> list[Lease]:
        """The leases of one container."""
        return [lease for lease in self.all() if lease.container == container_id]

    def remove_files(self) -> None:
        """The network is no more."""
        from newroot.linux.trees import remove_tree

        remove_tree(self.place)

    # ---- which is free ----

    def _taken(self) -> set[str]:
        """Names are addresses; the second address of a lease stands in it, where there are two."""
        keys = set(self.keys())
        if len(self.network.subnets) > 1:
            keys.update(lease.ip6 for lease in self.all() if lease.ip6 is not None)
        return keys

    def _asked(self, subnet: Subnet, ip: str, is_held: Callable[[str], bool]) -> str:
        block = subnet.block
        number = to_number(ip)
        ip = to_text(block.family, number)
        if not block.holds(number) or number == block.first:
            raise UsageError(f"the address {ip} is not in the subnet {subnet.subnet}")
        if ip == subnet.gateway:
            raise UsageError(f"the address {ip} is the gateway's")
        if ip in self._taken():
            self.forget_dead(is_held)
        if ip in self._taken():
            holder = next((x.container for x in self.all() if ip in (x.ip, x.ip6)), "somebody")
            raise UsageError(f"the address {ip} is in use by container {holder[:12]}")
        return ip

    def _next(
        self, subnet: Subnet, family: int, taken: set[str], is_held: Callable[[str], bool]
    ) -> str:
        """Round and round, so that an address is not soon another's."""
        block = subnet.block
        gateway = to_number(subnet.gateway) if subnet.gateway else -1
        first = to_number(subnet.first) if subnet.first else block.first + 1
        last = to_number(subnet.last) if subnet.last else block.last - 1
        if family == AF_INET6:
            last = min(last, first + (1 << 24))
        begin = max(self._last(family) + 1, first)
        for _ in range(2):
            for run in (range(begin, last + 1), range(first, min(begin, last + 1))):
                for number in run:
                    text = to_text(family, number)
                    if number != gateway and text not in taken:
                        self._note_last(family, text)
                        return text
            if not self.forget_dead(is_held):
                break
            taken = self._taken()
        raise UsageError(
            f"the network {self.network.name} has no address left in {subnet.subnet}",
            hint="remove containers, or make a network with a larger subnet",
        )

    def _last(self, family: int) -> int:
        try:
            with open(f"{self.place}/last.{family}", "rb", buffering=0) as file:
                return to_number(file.read().decode())
        except (OSError, UsageError, ValueError):
            return -1

    def _note_last(self, family: int, text: str) -> None:
        with open(f"{self.place}/last.{family}", "w", encoding="utf-8") as file:
            file.write(text)


def write_facts(run_directory: str, facts: dict[str, Any]) -> None:
    """Note what a container has."""
    path = f"{run_directory}/network.json"
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(json.dumps(facts))
    os.rename(f"{path}.new", path)


def read_facts(run_directory: str) -> dict[str, Any]:
    """What a container has; empty when it has nothing."""
    try:
        with open(f"{run_directory}/network.json", "rb", buffering=0) as file:
            found = json.loads(file.read(), what="network.json")
    except (OSError, UsageError):
        return {}
    return found if isinstance(found, dict) else {}
