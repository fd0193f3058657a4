"""Moments as people give them: ``--since 10m``, ``--until 2026-11-22T04:36:28Z``, ``1795322188``.

As Docker reads them (moby, api/types/time): a duration is counted back from now, a date without a
zone is this host's.  Moments are nanoseconds since 1970, so that they compare with a log's.
"""

from __future__ import annotations

from newroot.errors import UsageError

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_UNITS["h"] = 3600 * 10**9
_HINT = "2026-11-22T04:36:28Z, 2026-11-22, 1795322188.5, or a time before now: 1h30m"


def parse_moment(text: str, now_ns: int) -> int:
    """Nanoseconds since 1970.  Raises UsageError."""
    back = parse_duration(text)
    if back is not None:
        return now_ns - back
    seconds, _, fraction = text.partition(".")
    if seconds.isascii() and seconds.isdigit() and (not fraction or fraction.isdigit()):
        return int(seconds) * 10**9 + int((fraction + "0" * 9)[:9])
    found = read_time(text)
    if found is None:
        raise UsageError(f"invalid time {text!r}", hint=_HINT)
    return found


def parse_duration(text: str) -> int | None:
    """Nanoseconds of Go's ``1h30m``, ``1.5s``; None when it is no duration."""
    total, rest = 0, text
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        unit = len(rest) - len(rest[digits:].lstrip("nuµmsh"))
        number, name, rest = rest[:digits], rest[digits:unit], rest[unit:]
        if name not in _UNITS or number.count(".") > 1 or not number.strip("."):
            return None
        whole, _, fraction = number.partition(".")
        total += int(whole or 0) * _UNITS[name]
        total += int(fraction or 0) * _UNITS[name] // 10 ** len(fraction)
    return total if text else None


def read_time(text: str) -> int | None:
    """RFC 3339, with or without a zone, a time and nanoseconds; None when it is none."""
    from datetime import datetime

    head, dot, tail = text.partition(".")
    digits = len(tail) - len(tail.lstrip("0123456789"))
    fraction, zone = tail[:digits], tail[digits:]
    try:
        moment = datetime.fromisoformat(head + zone if dot else text)
    except ValueError:
        return None
    if dot and (not fraction or len(fraction) > 9):
        return None
    if moment.tzinfo is None:
        moment = moment.astimezone()
    return int(moment.timestamp()) * 10**9 + int((fraction + "0" * 9)[:9])
