"""The host's side of a network: its bridge, its addresses there, and what the kernel is told.

Made when the first container comes, and again by whoever finds them gone.  Under the network's
lock, so that two do not make the same.
"""

from __future__ import annotations

import os

from newroot.errors import SyscallError, UsageError
from newroot.linux.rtnetlink_making import Making
from newroot.network import firewall
from newroot.network.addresses import AF_INET, AF_INET6, Block, mac_of
from newroot.network.definitions import Network

_EPERM = 1


def make_ready(netlink: Making, network: Network) -> int:
    """The number of the network's bridge; all that it takes is there then.

    Raises SyscallError, UnsupportedError; UsageError when its addresses are somebody else's now.
    """
    index = netlink.find(network.interface)
    if index is None:
        _check_addresses(netlink, network)
        index = _make(netlink, network)
        firewall.install(network)
    elif not firewall.is_installed(network):  # somebody has flushed all rules
        firewall.install(network)
    return index


def remove(network: Network) -> None:
    """Take away the bridge and its rules, if they are there."""
    firewall.uninstall(network.interface)
    with Making() as netlink:
        index = netlink.find(network.interface)
        if index is not None:
            netlink.remove(index)


def _make(netlink: Making, network: Network) -> int:
    gateways = [(s, s.gateway) for s in network.subnets if s.gateway is not None]
    first = next((gateway for _, gateway in gateways), None)
    try:
        index = netlink.make_bridge(network.interface, mac_of(first), network.mtu)
        try:
            _tune(network)
            for subnet, gateway in gateways:
                netlink.add_ip(index, gateway, subnet.block.prefix_length)
            _forward(network)
        except BaseException:
            netlink.remove(index)
            raise
    except SyscallError as error:
        if error.errno == _EPERM:
            error.hint = "a bridge takes CAP_NET_ADMIN: --network none, or as a user pasta"
        raise
    return index


def _check_addresses(netlink: Making, network: Network) -> None:
    """Another root's network, or a new neighbour of the host's, may have them by now."""
    for family, first, length in netlink.subnets():
        there = Block(family=family, first=first, prefix_length=length)
        for subnet in network.subnets:
            if there.overlaps(subnet.block):
                raise UsageError(
                    f"network {network.name}: its subnet {subnet.subnet} overlaps {there}, "
                    "which the host has a route for",
                    hint=f"newroot network rm {network.name}, and make it anew",
                )


def _tune(network: Network) -> None:
    base = f"/proc/sys/net/ipv4/conf/{network.interface}"
    # What comes back from a container to a port that was reached by 127.0.0.1 is for 127.0.0.1,
    # and would be thrown away as a martian.  What containers themselves send there is dropped:
    # firewall.py, CVE-2020-8558.
    _set(f"{base}/route_localnet", "1")
    six = f"/proc/sys/net/ipv6/conf/{network.interface}"
    if network.of_family(AF_INET6) is None:
        _set(f"{six}/disable_ipv6", "1", optional=True)
    else:
        _set(f"{six}/accept_ra", "0", optional=True)  # a container is not to be the host's router


def _forward(network: Network) -> None:
    """Let the host pass on what is not for it, which Docker and podman do, too."""
    if network.internal:
        return
    if network.of_family(AF_INET) is not None:
        _set("/proc/sys/net/ipv4/ip_forward", "1")
    if network.of_family(AF_INET6) is not None:
        _set("/proc/sys/net/ipv6/conf/all/forwarding", "1")


def _set(path: str, value: str, *, optional: bool = False) -> None:
    try:
        with open(path, "r+b", buffering=0) as file:
            if file.read().strip().decode() != value:
                file.seek(0)
                file.write(value.encode())
    except OSError as error:
        if optional and error.errno in (2, 20):
            return
        forwarding = path.endswith(("ip_forward", "all/forwarding"))
        raise SyscallError(
            f"set {path} to {value}: {error.strerror}",
            errno=error.errno or 0,
            call="write",
            target=path,
            hint="the host must forward packets: have it set before, or --internal"
            if forwarding
            else None,
        ) from error


def is_there(name: str) -> bool:
    """Whether the host has an interface of that name."""
    return os.path.exists(f"/proc/sys/net/ipv4/conf/{name}")
