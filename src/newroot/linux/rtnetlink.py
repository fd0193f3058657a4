"""Network interfaces over rtnetlink(7): find one, move it to another namespace, set it up.

A socket sees the network namespace that it was opened in, whoever uses it later.  So what is to be
done inside a container is done from here, through a socket that was opened there.
"""

from __future__ import annotations

import _socket
import os
from struct import Struct

from newroot.errors import SyscallError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = Struct("=IHHII")  # struct nlmsghdr
_LINK = Struct("=BxHiII")  # struct ifinfomsg
_ADDRESS = Struct("=BBBBi")  # struct ifaddrmsg
_ATTRIBUTE = Struct("=HH")  # struct rtattr
_INT = Struct("=i")

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP = 1, 4, 0x300
_NLM_F_CREATE, _NLM_F_EXCL = 0x400, 0x200
_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 18, 20, 22
_IFLA_IFNAME, _IFLA_NET_NS_PID, _IFLA_NEW_IFINDEX = 3, 19, 49
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFF_UP, _IFF_LOOPBACK = 1, 8
_IFA_F_PERMANENT = 0x80
_KEPT = (_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST)
_ROOM = 1 << 16


@record
class Link:
    """An interface."""

    index: int
    name: str
    is_loopback: bool
    is_up: bool


@record
class Address:
    """An address of an interface: ``struct ifaddrmsg`` and the attributes that set it."""

    family: int
    prefix_length: int
    flags: int
    attributes: tuple[tuple[int, bytes], ...]


class Rtnetlink:
    """A conversation with the kernel about one network namespace.  A context manager."""

    def __init__(self, fd: int | None = None) -> None:
        """Talk through *fd*, which is then ours; by default about our own namespace."""
        if fd is None:
            kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
            self._socket = _socket.socket(_socket.AF_NETLINK, kind, 0)
        else:
            self._socket = _socket.socket(fileno=fd)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Rtnetlink:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def links(self) -> list[Link]:
        """Every interface."""
        body = _LINK.pack(0, 0, 0, 0, 0)
        return [_link(data) for data in self._ask(_RTM_GETLINK, _NLM_F_DUMP, body, "list links")]

    def permanent_addresses(self, index: int) -> list[Address]:
        """The addresses of the interface *index* that were set to stay and are valid anywhere."""
        body = _ADDRESS.pack(0, 0, 0, 0, 0)
        found = []
        for data in self._ask(_RTM_GETADDR, _NLM_F_DUMP, body, "list addresses"):
            family, length, flags, scope, of = _ADDRESS.unpack_from(data)
            said = dict(attributes(data, _ADDRESS.size))
            if _IFA_FLAGS in said:
                flags = int.from_bytes(said[_IFA_FLAGS], "little")
            if of == index and scope == 0 and flags & _IFA_F_PERMANENT:
                kept = tuple((kind, said[kind]) for kind in _KEPT if kind in said)
                found.append(
                    Address(family=family, prefix_length=length, flags=flags, attributes=kept)
                )
        return found

    def move(self, link: Link, pid: int, index: int, name: str) -> None:
        """Move *link* to *pid*'s namespace, where it will be *name* and have the number *index*.

        It is down there, and without addresses.
        """
        body = _LINK.pack(0, 0, link.index, 0, 0) + packed(
            (_IFLA_NET_NS_PID, _INT.pack(pid)),
            (_IFLA_IFNAME, os.fsencode(name) + b"\0"),
            (_IFLA_NEW_IFINDEX, _INT.pack(index)),
        )
        self._ask(_RTM_NEWLINK, _NLM_F_ACK, body, f"move {link.name} to process {pid}")

    def set_up(self, index: int) -> None:
        """Bring the interface *index* up."""
        body = _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP)
        self._ask(_RTM_NEWLINK, _NLM_F_ACK, body, "bring an interface up")

    def add(self, index: int, address: Address) -> None:
        """Give the interface *index* an address."""
        head = _ADDRESS.pack(address.family, address.prefix_length, 0, 0, index)
        flags = (_IFA_FLAGS, address.flags.to_bytes(4, "little"))
        body = head + packed(*address.attributes, flags)
        how = _NLM_F_ACK | _NLM_F_CREATE | _NLM_F_EXCL
        self._ask(_RTM_NEWADDR, how, body, "add an address")

    def _ask(self, kind: int, flags: int, body: bytes, what: str) -> list[bytes]:
        """Send one message; return what is answered.  Raises SyscallError."""
        size = _HEAD.size + len(body)
        self._socket.send(_HEAD.pack(size, kind, flags | _NLM_F_REQUEST, 1, 0) + body)
        found: list[bytes] = []
        while True:
            for kind_, data in _messages(self._socket.recv(_ROOM)):
                if kind_ == _NLMSG_DONE:
                    return found
                if kind_ == _NLMSG_ERROR:
                    error = -_INT.unpack_from(data)[0]
                    if not error:
                        return found
                    raise SyscallError(
                        f"{what}: {os.strerror(error)}", errno=error, call="sendmsg", target=what
                    )
                found.append(data)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEAD.size <= len(data):
        size, kind, _, _, _ = _HEAD.unpack_from(data, at)
        yield kind, data[at + _HEAD.size : at + size]
        at += size + -size % 4


def attributes(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """The attributes of a message, from *at* on."""
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            return
        yield kind, data[at + _ATTRIBUTE.size : at + size]
        at += size + -size % 4


def packed(*pairs: tuple[int, bytes]) -> bytes:
    """Attributes as they stand in a message."""
    parts = []
    for kind, data in pairs:
        size = _ATTRIBUTE.size + len(data)
        parts.append(_ATTRIBUTE.pack(size, kind) + data + b"\0" * (-size % 4))
    return b"".join(parts)


def _link(data: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(data)
    name = dict(attributes(data, _LINK.size)).get(_IFLA_IFNAME, b"").rstrip(b"\0")
    return Link(
        index=index,
        name=os.fsdecode(name),
        is_loopback=bool(flags & _IFF_LOOPBACK),
        is_up=bool(flags & _IFF_UP),
    )
