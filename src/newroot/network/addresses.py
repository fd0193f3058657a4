"""Addresses and subnets as numbers; ``ipaddress`` costs a start a third of a network's making."""

from __future__ import annotations

import _socket

from newroot.errors import UsageError
from newroot.record import record

AF_INET, AF_INET6 = int(_socket.AF_INET), int(_socket.AF_INET6)


def family_of(text: str) -> int:
    return AF_INET6 if ":" in text else AF_INET


def to_number(text: str) -> int:
    """An address as a number.  Raises UsageError for what is none."""
    try:
        return int.from_bytes(_socket.inet_pton(family_of(text), text), "big")
    except (OSError, ValueError):
        raise UsageError(f"not an IP address: {text!r:.80}") from None


def to_text(family: int, number: int) -> str:
    size = 16 if family == AF_INET6 else 4
    return _socket.inet_ntop(family, number.to_bytes(size, "big"))


def normal(text: str) -> str:
    """The address as the kernel writes it.  Raises UsageError for what is none."""
    return to_text(family_of(text), to_number(text))


@record
class Block:
    """A subnet: its addresses are *first* to *last*."""

    family: int
    first: int
    prefix_length: int

    @property
    def bits(self) -> int:
        return 128 if self.family == AF_INET6 else 32

    @property
    def last(self) -> int:
        return self.first | ((1 << (self.bits - self.prefix_length)) - 1)

    def __str__(self) -> str:
        return f"{to_text(self.family, self.first)}/{self.prefix_length}"

    def holds(self, number: int) -> bool:
        return self.first <= number <= self.last

    def overlaps(self, other: Block) -> bool:
        same = self.family == other.family
        return same and self.first <= other.last and other.first <= self.last


def read_block(text: str) -> Block:
    """``10.1.0.0/16``.  Raises UsageError, also for a host's address in it."""
    address, slash, length = text.partition("/")
    family, number = family_of(address), to_number(address)
    bits = 128 if family == AF_INET6 else 32
    if not slash or not (length.isascii() and length.isdigit()) or int(length) > bits:
        raise UsageError(f"not a subnet: {text!r:.80}", hint="10.1.2.0/24, or fd00:1:2:3::/64")
    block = Block(family=family, first=number, prefix_length=int(length))
    rest = (1 << (bits - int(length))) - 1
    if number & rest:
        first = number & ~rest
        raise UsageError(
            f"not a subnet: {text}: it has the address of a host",
            hint=f"{to_text(family, first)}/{length}",
        )
    return block


def mac_of(ip: str | None) -> bytes:
    """An interface's address, made of its IPv4 address: who had that before had this, too, so what
    neighbours remember is right.  02:42 is Docker's beginning."""
    import os

    if ip is not None and family_of(ip) == AF_INET:
        return b"\x02\x42" + _socket.inet_pton(AF_INET, ip)
    return b"\x02\x42" + os.urandom(4)


def read_mac(text: str) -> bytes:
    """Raises UsageError for what no interface can have: a group's address, or none."""
    try:
        raw = bytes(int(part, 16) for part in text.replace("-", ":").split(":"))
    except ValueError:
        raw = b""
    if len(raw) != 6 or raw[0] & 1 or not any(raw):
        raise UsageError(f"not a MAC address for an interface: {text!r:.40}")
    return raw


def mac_text(raw: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in raw)
