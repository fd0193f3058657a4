"""``--subnet``, ``--gateway`` and ``--ip-range``, which belong together by what they are in."""

from __future__ import annotations

from newroot.errors import UsageError
from newroot.network.addresses import normal, read_block, to_number, to_text
from newroot.network.definitions import Subnet
from newroot.record import replace


def read_subnets(
    subnets: tuple[str, ...], gateways: tuple[str, ...], ip_ranges: tuple[str, ...]
) -> tuple[Subnet, ...]:
    """Raises UsageError, also for a gateway or a range that is in none of the subnets."""
    found = [Subnet(subnet=str(read_block(text))) for text in subnets]
    for text in gateways:
        at = _index(found, to_number(text), ":" in text, f"the gateway {text}")
        found[at] = replace(found[at], gateway=normal(text))
    for text in ip_ranges:
        block = read_block(text)
        at = _index(found, block.first, ":" in text, f"the range {text}")
        first = to_text(block.family, block.first + (block.first == found[at].block.first))
        last = to_text(block.family, block.last - (block.last == found[at].block.last))
        found[at] = replace(found[at], first=first, last=last)
    return tuple(found)


def _index(found: list[Subnet], number: int, six: bool, what: str) -> int:
    for at, subnet in enumerate(found):
        if (":" in subnet.subnet) == six and subnet.block.holds(number):
            return at
    raise UsageError(f"{what} is in no subnet that was given", hint="--subnet goes with it")
