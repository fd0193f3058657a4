"""Links, addresses and routes, made over rtnetlink(7): bridges and veth pairs, and no more.

What pyroute2 could do for us costs 135 ms to import, thirty times what all of it takes here:
docs/decisions/0036.
"""

from __future__ import annotations

import _socket
import os
from struct import Struct

from newroot.errors import SyscallError
from newroot.linux.rtnetlink import Rtnetlink, attributes, packed

_LINK = Struct("=BxHiII")  # struct ifinfomsg
_ADDRESS = Struct("=BBBBi")  # struct ifaddrmsg
_ROUTE = Struct("=BBBBBBBBI")  # struct rtmsg
_U32 = Struct("=I")
_INT = Struct("=i")

_ACK, _DUMP, _NEW = 4, 0x300, 4 | 0x400 | 0x200  # NLM_F_ACK, _DUMP, ACK | CREATE | EXCL
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER = 1, 3, 4, 10
_IFLA_LINKINFO, _IFLA_NET_NS_FD = 18, 28
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_INFO_SLAVE_KIND, _INFO_SLAVE_DATA, _BRPORT_MODE = 4, 5, 4
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFA_F_NODAD = 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_RT_TABLE_MAIN, _RT_TABLE_LOCAL, _RTPROT_STATIC, _RTN_UNICAST = 254, 255, 4, 1
_IFF_UP = 1
_ENODEV = 19


def pack_address(text: str) -> tuple[int, bytes]:
    """The family and the bytes of an IP address."""
    family = _socket.AF_INET6 if ":" in text else _socket.AF_INET
    return family, _socket.inet_pton(family, text)


class Making(Rtnetlink):
    """A conversation in which things are made and removed."""

    def __enter__(self) -> Making:
        return self

    def find(self, name: str) -> int | None:
        """The number of the interface *name*."""
        body = _LINK.pack(0, 0, 0, 0, 0) + packed((_IFLA_IFNAME, _text(name)))
        try:
            found = self._ask(_RTM_GETLINK, _ACK, body, f"find the interface {name}")
        except SyscallError as error:
            if error.errno == _ENODEV:
                return None
            raise
        return int(_LINK.unpack_from(found[0])[2])

    def get(self, name: str) -> int:
        """The same; raises SyscallError when there is none."""
        index = self.find(name)
        if index is None:
            raise SyscallError(
                f"find the interface {name}: {os.strerror(_ENODEV)}",
                errno=_ENODEV, call="sendmsg", target=name,
            )  # fmt: skip
        return index

    def make_bridge(self, name: str, mac: bytes, mtu: int | None) -> int:
        """Make a bridge that is up; its number."""
        body = _LINK.pack(0, 0, 0, _IFF_UP, _IFF_UP) + packed(
            (_IFLA_IFNAME, _text(name)),
            (_IFLA_ADDRESS, mac),
            *([(_IFLA_MTU, _U32.pack(mtu))] if mtu else []),
            (_IFLA_LINKINFO, packed((_INFO_KIND, b"bridge\0"))),
        )
        self._ask(_RTM_NEWLINK, _NEW, body, f"make the bridge {name}")
        return self.get(name)

    def make_veth(
        self,
        name: str,
        *,
        master: int,
        peer: str,
        peer_mac: bytes,
        namespace: int,
        mtu: int | None,
    ) -> None:
        """Make a pair of interfaces: *name*, up, on the bridge *master*, and *peer* in another
        *namespace*, a descriptor.  That one cannot be up before it has the other (veth_open()).

        Both at once, so that nobody's death leaves half of it here: veth(4).
        """
        both = [(_IFLA_MTU, _U32.pack(mtu))] if mtu else []
        other = _LINK.pack(0, 0, 0, 0, 0) + packed(
            (_IFLA_IFNAME, _text(peer)),
            (_IFLA_ADDRESS, peer_mac),
            (_IFLA_NET_NS_FD, _INT.pack(namespace)),
            *both,
        )
        info = packed(
            (_INFO_KIND, b"veth\0"),
            (_INFO_DATA, packed((_VETH_INFO_PEER, other))),
        )
        body = _LINK.pack(0, 0, 0, _IFF_UP, _IFF_UP) + packed(
            (_IFLA_IFNAME, _text(name)),
            (_IFLA_MASTER, _INT.pack(master)),
            *both,
            (_IFLA_LINKINFO, info),
        )
        self._ask(_RTM_NEWLINK, _NEW, body, f"make the interfaces {name} and {peer}")

    def reflect(self, name: str) -> None:
        """Let a bridge send out at the port *name* what came in there.

        What a container sends to itself by a published port does so, where br_netfilter redirects
        it below the routing: bridge(8), hairpin.
        """
        port = packed((_BRPORT_MODE, b"\1"))
        info = packed((_INFO_SLAVE_KIND, b"bridge\0"), (_INFO_SLAVE_DATA, port))
        body = _LINK.pack(0, 0, 0, 0, 0) + packed(
            (_IFLA_IFNAME, _text(name)), (_IFLA_LINKINFO, info)
        )
        self._ask(_RTM_NEWLINK, _ACK, body, f"set up the port {name}")

    def remove(self, index: int) -> None:
        """Remove an interface."""
        body = _LINK.pack(0, 0, index, 0, 0)
        self._ask(_RTM_DELLINK, _ACK, body, "remove an interface")

    def add_ip(self, index: int, ip: str, prefix_length: int) -> None:
        """Give an interface an address, which works at once: nobody else has it."""
        family, raw = pack_address(ip)
        which = [(_IFA_LOCAL, raw), (_IFA_ADDRESS, raw)]
        flags = 0
        if family == _socket.AF_INET:
            mask = (1 << (32 - prefix_length)) - 1
            last = int.from_bytes(raw, "big") | mask
            which.append((_IFA_BROADCAST, last.to_bytes(4, "big")))
        else:
            flags = _IFA_F_NODAD
        body = _ADDRESS.pack(family, prefix_length, flags, 0, index) + packed(*which)
        self._ask(_RTM_NEWADDR, _NEW, body, f"add the address {ip}/{prefix_length}")

    def add_default_route(self, gateway: str) -> None:
        """Send by *gateway* what is for nobody near."""
        family, raw = pack_address(gateway)
        head = _ROUTE.pack(
            family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, 0, _RTN_UNICAST, 0
        )  # fmt: skip
        body = head + packed((_RTA_GATEWAY, raw))
        self._ask(_RTM_NEWROUTE, _NEW, body, f"add a route by {gateway}")

    def subnets(self) -> list[tuple[int, int, int]]:
        """What is reached without a gateway or by one, but for by default: (family, first address
        as a number, prefix length)."""
        found = []
        body = _ROUTE.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)
        for data in self._ask(_RTM_GETROUTE, _DUMP, body, "list routes"):
            family, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(data)
            if length == 0 or kind != _RTN_UNICAST or table == _RT_TABLE_LOCAL:
                continue
            raw = dict(attributes(data, _ROUTE.size)).get(_RTA_DST)
            if raw is not None:
                found.append((family, int.from_bytes(raw, "big"), length))
        return found


def _text(name: str) -> bytes:
    return os.fsencode(name) + b"\0"
