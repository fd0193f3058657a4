"""``process.capabilities`` of a runtime config: five sets of names made five masks for the kernel.

Pure.  A name that no kernel has is an error; one that this kernel is too old for is left out, as
the runtime specification lets a runtime do (config.md, Linux Process).
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


def from_oci(untrusted: object, *, pointer: str = POINTER, last: int | None = None) -> Masks:
    """The masks of an OCI capabilities object; none at all where there is no object.

    What is effective must be permitted, for the kernel's EPERM would say less.  What is ambient
    without being permitted and inheritable is left out, for no process can have it:
    capabilities(7).  *last* stands in for this kernel's last one.  Raises SpecError.
    """
    if untrusted is None:
        return Masks()
    if not isinstance(untrusted, dict):
        raise SpecError("must be an object", pointer=pointer)
    known = (1 << (capabilities.last_cap() if last is None else last) + 1) - 1
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
        if not isinstance(name, str) or name not in capabilities.NUMBERS:
            raise SpecError(
                f"{name!r:.100} is not a capability", pointer=f"{pointer}/{index}", hint=_hint(name)
            )
    return capabilities.mask(untrusted)


def _hint(name: object) -> str | None:
    upper = name.upper() if isinstance(name, str) else ""
    spelled = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    return f"a config spells it {spelled}" if spelled in capabilities.NUMBERS else None


def _require(bits: int, within: int, name: str, pointer: str) -> None:
    missing = capabilities.names(bits & ~within)
    if missing:
        raise SpecError(f"{missing[0]} is not {name}", pointer=pointer)
