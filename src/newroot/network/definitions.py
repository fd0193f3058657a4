"""The networks that there are: one file each.

    <root>/networks/<name>.json     what it is: made once, never changed
    <root>/networks/.lock           held by whoever makes or removes one

The network ``bridge`` is everybody's by default, and made when it is first used.
"""

from __future__ import annotations

import fcntl
import os

from newroot.errors import AlreadyExists, NotFound, StateError, SyscallError, UsageError
from newroot.network.addresses import (
    AF_INET,
    AF_INET6,
    Block,
    family_of,
    read_block,
    to_number,
    to_text,
)
from newroot.oci import json
from newroot.record import fields_of, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

DEFAULT = "bridge"
PREFIX = "nr-"  #: how the interfaces of our bridges begin
_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _ALNUM | frozenset("_.-")
_RESERVED = ("none", "host", "container", "pasta", "slirp4netns", "private", "cni", "default")

#: Apart from podman's 10.88 and 10.89, Docker's 172.17 and on, and what most houses have.
_POOL_DEFAULT = tuple(range(90, 100))  # 10.90.0.0/16, …
_POOL = tuple(range(100, 120))  # 10.100.0.0/24, …


@record
class Subnet:
    """A part of a network's addresses."""

    subnet: str
    gateway: str | None = None  #: the host's own; None where it has none
    first: str | None = None  #: of those that are given away; None: as the subnet has them
    last: str | None = None

    @property
    def block(self) -> Block:
        return read_block(self.subnet)


@record
class Network:
    """One network: a bridge, and who may reach whom over it."""

    name: str
    id: str
    interface: str  #: the bridge's name on the host
    subnets: tuple[Subnet, ...]
    internal: bool = False  #: nothing of it leaves the host
    ipv6: bool = False
    isolated: bool = True  #: from our other networks
    names: bool = True  #: its containers find each other by name
    mtu: int | None = None
    labels: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    created: float = 0.0

    def of_family(self, family: int) -> Subnet | None:
        return next((s for s in self.subnets if family_of(s.subnet) == family), None)


class NetworkStore:
    """The networks below one root."""

    def __init__(self, root: str, run_root: str) -> None:
        self.directory = f"{root}/networks"
        self.run_directory = f"{run_root}/networks"

    def names(self) -> list[str]:
        try:
            found = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        return sorted(name[:-5] for name in found if name.endswith(".json"))

    def list(self) -> list[Network]:
        """Every network, by its name."""
        return [network for name in self.names() if (network := self.find(name)) is not None]

    def find(self, name: str) -> Network | None:
        """The network *name*; None when there is none.  Raises StateError for a damaged file."""
        path = f"{self.directory}/{name}.json"
        if "/" in name:
            return None
        try:
            with open(path, "rb", buffering=0) as file:
                document = json.loads(file.read(), what=path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UsageError as error:
            raise _damaged(name, error) from error
        return _read(name, document)

    def get(self, name: str) -> Network:
        """The network of that name or id, or an unambiguous beginning of one; ``bridge`` is made.

        Raises NotFound.
        """
        found = self.find(name)
        if found is not None:
            return found
        if name == DEFAULT:
            return self.create(DEFAULT, names=False, exist_ok=True)
        by_id = [n for n in self.list() if name and n.id.startswith(name)]
        if len(by_id) == 1:
            return by_id[0]
        raise NotFound(f"no network {name}", hint=f"newroot network create {name}")

    def create(
        self,
        name: str,
        *,
        subnets: Iterable[Subnet] = (),
        internal: bool = False,
        ipv6: bool = False,
        isolated: bool = True,
        names: bool = True,
        mtu: int | None = None,
        interface: str | None = None,
        labels: tuple[tuple[str, str], ...] = (),
        options: tuple[tuple[str, str], ...] = (),
        exist_ok: bool = False,
    ) -> Network:
        """Make a network; it has no interfaces before its first container.

        Raises AlreadyExists, and UsageError when its addresses are somebody's already.
        """
        from time import time

        check_name(name)
        with self._changing():
            there = self.find(name)
            if there is not None:
                if exist_ok:
                    return there
                raise AlreadyExists(f"there is a network {name} already")
            others = self.list()
            network = Network(
                name=name,
                id=os.urandom(32).hex(),
                interface=interface or f"{PREFIX}{os.urandom(5).hex()}",
                subnets=_complete(name, tuple(subnets), ipv6, others),
                internal=internal,
                ipv6=ipv6 or any(family_of(s.subnet) != AF_INET for s in subnets),
                isolated=isolated,
                names=names,
                mtu=mtu,
                labels=labels,
                options=options,
                created=time(),
            )
            if any(network.interface == other.interface for other in others):
                raise AlreadyExists(f"the interface {network.interface} is another network's")
            self._write(network)
        return network

    def remove(self, name: str) -> None:
        """Remove a network's file; who calls has seen that nobody is on it."""
        with self._changing():
            try:
                os.unlink(f"{self.directory}/{name}.json")
            except FileNotFoundError:
                raise NotFound(f"no network {name}") from None

    def _write(self, network: Network) -> None:
        path = f"{self.directory}/{network.name}.json"
        document = {**vars(network), "subnets": [vars(subnet) for subnet in network.subnets]}
        try:
            with open(f"{path}.new", "w", encoding="utf-8") as file:
                file.write(json.dumps(document))
                file.flush()
                os.fsync(file.fileno())
            os.rename(f"{path}.new", path)
        except OSError as error:
            raise SyscallError(
                f"write {path}: {error.strerror}",
                errno=error.errno or 0, call="write", target=path,
            ) from error  # fmt: skip

    def _changing(self) -> Lock:
        os.makedirs(self.directory, mode=0o711, exist_ok=True)
        return Lock(f"{self.directory}/.lock")


class Lock:
    """A lock of ours on a file, while in its context."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> Lock:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)


def check_name(name: str) -> str:
    """Return *name* when a network may be called so."""
    if not name or len(name) > 128 or name[0] not in _ALNUM or not _NAME.issuperset(name):
        raise UsageError(
            f"invalid network name {name!r:.80}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed"
        )
    if name in _RESERVED:
        raise UsageError(f"a network cannot be called {name}: --network {name} means another thing")
    return name


def _read(name: str, document: Any) -> Network:
    try:
        subnets = tuple(Subnet(**subnet) for subnet in document["subnets"])
        known = {key: document[key] for key in fields_of(Network) if key in document}
        for key in ("labels", "options"):
            known[key] = tuple((str(k), str(v)) for k, v in known.get(key, ()))
        network = Network(**{**known, "subnets": subnets})
        for subnet in subnets:
            read_block(subnet.subnet)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(name, error) from error
    return network


def _damaged(name: str, error: Exception) -> StateError:
    return StateError(
        f"the network {name} is damaged: {error}", hint=f"newroot network rm {name}, and make it"
    )


def _complete(
    name: str, asked: tuple[Subnet, ...], ipv6: bool, others: list[Network]
) -> tuple[Subnet, ...]:
    taken = [subnet.block for other in others for subnet in other.subnets]
    for subnet in asked:
        for block in taken:
            if block.overlaps(subnet.block):
                raise UsageError(f"the subnet {subnet.subnet} is in use: {block}")
    families = {family_of(subnet.subnet) for subnet in asked}
    if len(asked) > len(families):
        raise UsageError("a network has one subnet of each family at most")
    found = list(asked)
    taken += _of_the_host()
    if not asked or (ipv6 and AF_INET not in families and len(asked) == 0):
        found.append(Subnet(subnet=str(_free(name, taken))))
    if ipv6 and not any(family_of(s.subnet) != AF_INET for s in found):
        found.append(Subnet(subnet=_local_ipv6()))
    return tuple(map(_with_gateway, found))


def _of_the_host() -> list[Block]:
    from newroot.linux.rtnetlink_making import Making

    with Making() as netlink:
        return [
            Block(family=family, first=first, prefix_length=length)
            for family, first, length in netlink.subnets()
        ]


def _candidates(name: str) -> Iterator[Block]:
    if name == DEFAULT:
        for second in _POOL_DEFAULT:
            yield read_block(f"10.{second}.0.0/16")
    for second in _POOL:
        for third in range(256):
            yield read_block(f"10.{second}.{third}.0/24")


def _free(name: str, taken: list[Block]) -> Block:
    for block in _candidates(name):
        if not any(block.overlaps(other) for other in taken):
            return block
    raise UsageError("no subnet is free", hint="say one: --subnet 172.30.5.0/24")


def _local_ipv6() -> str:
    """A unique local prefix: RFC 4193."""
    raw = b"\xfd" + os.urandom(7) + bytes(8)
    return f"{to_text(AF_INET6, int.from_bytes(raw, 'big'))}/64"


def _with_gateway(subnet: Subnet) -> Subnet:
    block = subnet.block
    size = block.last - block.first + 1
    if size < 4:
        raise UsageError(f"the subnet {subnet.subnet} is too small for a network")
    gateway = subnet.gateway or to_text(block.family, block.first + 1)
    for text in (gateway, subnet.first, subnet.last):
        if text is not None and not block.holds(to_number(text)):
            raise UsageError(f"{text} is not in the subnet {subnet.subnet}")
    return Subnet(subnet=str(block), gateway=gateway, first=subnet.first, last=subnet.last)
