"""``process.capabilities`` of a runtime config: five sets of names made five masks for the kernel.

Pure.  What cannot be given is left out, and ``left_out()`` says what that is, for a warning: names
that no kernel or not this one has, and what newroot itself may not do (config.md, Linux Process).
"""

from __future__ import annotations

from newroot.errors import SpecError
from newroot.linux import capabilities
from newroot.record import record

POINTER = "/process/capabilities"

SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


@record
class Masks:
    """The five sets of a process, a bit for each capability: capabilities(7)."""

    bounding: int = 0
    effective: int = 0
    inheritable: int = 0
    permitted: int = 0
    ambient: int = 0


def from_oci(
    untrusted: object,
    *,
    pointer: str = POINTER,
    last: int | None = None,
    available: int | None = None,
) -> Masks:
    """The masks of an OCI capabilities object; none at all where there is no object.

    What is effective must be permitted, for the kernel's EPERM would say less.  What is ambient
    without being permitted and inheritable is left out, for no process can have it:
    capabilities(7).  *last* stands in for this kernel's last one; *available* is a mask of those
    that there are to give.  Raises SpecError.
    """
    if untrusted is None:
        return Masks()
    if not isinstance(untrusted, dict):
        raise SpecError("must be an object", pointer=pointer)
    known = (1 << (capabilities.last_cap() if last is None else last) + 1) - 1
    if available is not None:
        known &= available
    bits = {name: _mask(untrusted.get(name), f"{pointer}/{name}") & known for name in SETS}
    _require(bits["effective"], bits["permitted"], "permitted", f"{pointer}/effective")
    bits["ambient"] &= bits["permitted"] & bits["inheritable"]
    return Masks(**bits)


def to_oci(names: tuple[str, ...], *, inheritable: bool = False) -> dict[str, list[str]]:
    """The capabilities object of a container that may do *names*, as Docker writes it.

    Inheritable ones are given no more since CVE-2022-24769.
    """
    given = list(names)
    found = {"bounding": given, "effective": given, "permitted": given}
    return {**found, "inheritable": given} if inheritable else found


def _mask(untrusted: object, pointer: str) -> int:
    if untrusted is None:
        return 0
    if not isinstance(untrusted, list):
        raise SpecError("must be a list of names", pointer=pointer)
    for index, name in enumerate(untrusted):
        if not isinstance(name, str):
            raise SpecError(f"{name!r:.100} is not a capability", pointer=f"{pointer}/{index}")
    return capabilities.mask(name for name in untrusted if name in capabilities.NUMBERS)


def left_out(untrusted: object, available: int | None) -> tuple[str, ...]:
    """The names in an OCI capabilities object that cannot be given, each once, in their order.

    *available* as for ``from_oci()``.
    """
    sets = untrusted if isinstance(untrusted, dict) else {}
    asked = dict.fromkeys(name for kind in SETS for name in sets.get(kind) or ())
    numbers = capabilities.NUMBERS
    known = (1 << capabilities.last_cap() + 1) - 1
    given = known if available is None else known & available
    return tuple(n for n in asked if n not in numbers or not given >> numbers[n] & 1)


def _require(bits: int, within: int, name: str, pointer: str) -> None:
    missing = capabilities.names(bits & ~within)
    if missing:
        raise SpecError(f"{missing[0]} is not {name}", pointer=pointer)
