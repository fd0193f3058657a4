"""Resource limits: ``process.rlimits`` of a runtime config, and Docker's ``--ulimit``.  Pure.

A limit is (resource, soft, hard) with the kernel's number of the resource; ``UNLIMITED`` is the
kernel's RLIM_INFINITY: setrlimit(2).
"""

from __future__ import annotations

from newroot.errors import SpecError, UsageError
from newroot.linux import constants

UNLIMITED = 0xFFFF_FFFF_FFFF_FFFF
POINTER = "/process/rlimits"

RESOURCES = {
    name: getattr(constants, name)
    for name in (
        "RLIMIT_AS RLIMIT_CORE RLIMIT_CPU RLIMIT_DATA RLIMIT_FSIZE RLIMIT_LOCKS RLIMIT_MEMLOCK"
        " RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_NOFILE RLIMIT_NPROC RLIMIT_RSS RLIMIT_RTPRIO"
        " RLIMIT_RTTIME RLIMIT_SIGPENDING RLIMIT_STACK"
    ).split()
}


def from_oci(untrusted: object, *, pointer: str = POINTER) -> tuple[tuple[int, int, int], ...]:
    """The limits of an OCI rlimits list.  Raises SpecError below *pointer*."""
    if untrusted is None:
        return ()
    if not isinstance(untrusted, list):
        raise SpecError("must be a list of limits", pointer=pointer)
    limits: dict[str, tuple[int, int, int]] = {}
    for index, item in enumerate(untrusted):
        here = f"{pointer}/{index}"
        if not isinstance(item, dict):
            raise SpecError("must be an object", pointer=here)
        kind = item.get("type")
        if not isinstance(kind, str) or kind not in RESOURCES:
            raise SpecError(f"{kind!r:.100} is not a resource", pointer=f"{here}/type")
        if kind in limits:
            raise SpecError(f"{kind} is limited twice", pointer=f"{here}/type")
        soft, hard = (_limit(item.get(key), f"{here}/{key}") for key in ("soft", "hard"))
        if soft > hard:
            raise SpecError(f"{soft} is above the hard limit {hard}", pointer=f"{here}/soft")
        limits[kind] = RESOURCES[kind], soft, hard
    return tuple(limits.values())


def parse_ulimit(text: str) -> dict[str, object]:
    """Read ``--ulimit NAME=SOFT[:HARD]`` into an OCI rlimit.

    NAME is as in ``nofile``; -1 and ``unlimited`` are no limit; without HARD it is SOFT.  Raises
    UsageError.
    """
    name, equals, values = text.partition("=")
    kind = f"RLIMIT_{name.strip().upper()}"
    if kind not in RESOURCES:
        raise UsageError(f"{name!r} is not a limit", hint=_near(kind))
    soft_text, colon, hard_text = values.partition(":")
    if not equals or not soft_text:
        raise UsageError(f"{text!r} sets no limit", hint=f"write {name}=SOFT or {name}=SOFT:HARD")
    soft = _number(soft_text, text)
    hard = _number(hard_text, text) if colon else soft
    if soft > hard:
        raise UsageError(f"{text!r}: the soft limit is above the hard limit")
    return {"type": kind, "soft": soft, "hard": hard}


def _limit(untrusted: object, pointer: str) -> int:
    if untrusted == -1 and type(untrusted) is int:
        return UNLIMITED  # what people and some generators write for it
    if type(untrusted) is not int or not 0 <= untrusted <= UNLIMITED:
        raise SpecError(f"must be an integer from 0 to {UNLIMITED}", pointer=pointer)
    return untrusted


def _number(text: str, whole: str) -> int:
    stripped = text.strip()
    if stripped in ("-1", "unlimited"):
        return UNLIMITED
    if not (stripped.isascii() and stripped.isdigit()) or len(stripped) > 20:
        raise UsageError(
            f"{whole!r}: {text!r} is not a limit", hint="write a number, unlimited or -1"
        )
    number = int(stripped)
    if number > UNLIMITED:
        raise UsageError(f"{whole!r}: {number} is more than the kernel can count")
    return number


def _near(kind: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(kind, RESOURCES, n=2, cutoff=0.5)
    names = near or sorted(RESOURCES)
    listed = ", ".join(name.removeprefix("RLIMIT_").lower() for name in names)
    return f"did you mean {listed}?" if near else f"one of {listed}"
