"""How much a container may use, as Docker writes it: sizes, CPUs, CPU lists, counts, ulimits.

Pure.  Whether the host has as much, the cgroup will say.
"""

from __future__ import annotations

from newroot.errors import UsageError

#: Docker's smallest memory limit (moby, daemon/daemon_unix.go, linuxMinMemory).
MIN_MEMORY_BYTES = 6 << 20

_POWERS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_DIGITS = frozenset("0123456789")


def parse_size(text: str) -> int:
    """Bytes: ``64m``, ``1.5GiB``, ``512 kb``, ``1024``.  Units are powers of 1024."""
    rest = text.lower().removesuffix("b")
    rest = rest.removesuffix("i")
    unit = rest[-1:] if rest[-1:] in "kmgtp" else ""
    number = rest.removesuffix(unit).removesuffix(" ") if unit or rest != text else rest
    whole, dot, fraction = number.partition(".")
    if not _is_digits(whole) or (dot and not _is_digits(fraction)):
        raise UsageError(f"invalid size {text!r}", hint="a number and b, k, m or g, as 64m")
    scale = 1 << _POWERS[unit]
    divisor: int = 10 ** len(fraction)
    return int(whole + fraction) * scale // divisor


def parse_memory(text: str) -> int | None:
    """A memory limit in bytes; None for 0, which sets none."""
    size = parse_size(text)
    if 0 < size < MIN_MEMORY_BYTES:
        raise UsageError(f"memory limit {text!r} is below the least allowed, 6m")
    if size >= 1 << 63:
        raise UsageError(f"memory limit {text!r} is more than the kernel can count")
    return size or None


def parse_cpus(text: str) -> float | None:
    """A number of CPUs, at least 0.01; None for 0, which sets none."""
    whole, dot, fraction = text.partition(".")
    if not _is_digits(whole + fraction) or (dot and len(fraction) > 9) or len(whole) > 6:
        raise UsageError(f"invalid number of CPUs {text!r}", hint="a decimal number, as 1.5")
    cpus = float(text)
    if 0 < cpus < 0.01:
        raise UsageError(f"{text} CPUs are below the least allowed, 0.01")
    return cpus or None


def parse_cpuset(text: str) -> str | None:
    """A list of CPUs as cpuset(7) has it: ``0-3,6``.  None for an empty one."""
    for part in text.split(",") if text else ():
        low, dash, high = part.partition("-")
        ends_ok = _is_digits(low) and (not dash or _is_digits(high))
        if not ends_ok or len(part) > 13 or (dash and int(low) > int(high)):
            raise UsageError(f"invalid list of CPUs {text!r}", hint="as 0-3,6")
    return text or None


def parse_pids_limit(text: str) -> int | None:
    """How many processes; None for -1 and 0, which set no limit."""
    digits = text.removeprefix("-")
    if not _is_digits(digits) or len(digits) > 18:
        raise UsageError(f"invalid number of processes {text!r}", hint="-1 sets no limit")
    limit = int(text)
    if limit < -1:
        raise UsageError(f"invalid number of processes {text!r}", hint="-1 sets no limit")
    return limit if limit > 0 else None


def parse_ulimit(text: str) -> tuple[str, int, int]:
    """Read ``NAME=SOFT[:HARD]``; -1 is no limit."""
    from newroot.isolation import limits

    limit = limits.parse_ulimit(text)
    soft, hard = (-1 if limit[end] == limits.UNLIMITED else limit[end] for end in ("soft", "hard"))
    assert isinstance(soft, int)
    assert isinstance(hard, int)
    return str(limit["type"]).removeprefix("RLIMIT_").lower(), soft, hard


def _is_digits(text: str) -> bool:
    # str.isdigit is also true of other scripts' digits and of superscripts.
    return bool(text) and _DIGITS.issuperset(text)
