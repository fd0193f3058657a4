"""What becomes of a container when nobody waits for it: Docker's words for restarts and logs."""

from __future__ import annotations

from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

POLICIES = ("no", "on-failure", "always", "unless-stopped")
LOG_DRIVERS = {"json-file": "json-file", "plain": "plain", "k8s-file": "plain", "none": "none"}
_MOST_FILES = 99  # as native/log.c


def parse_restart(text: str) -> tuple[str, int]:
    """``always``, ``on-failure:3``: the policy, and how often at most; 0 is no limit."""
    policy, colon, most = text.partition(":")
    if policy not in POLICIES:
        raise UsageError(f"invalid restart policy {text!r}", hint=", ".join(POLICIES))
    if not colon:
        return policy, 0
    if policy != "on-failure" or not most.isdecimal() or not most.isascii():
        raise UsageError(
            f"invalid restart policy {text!r}", hint="only on-failure has a number: on-failure:3"
        )
    return policy, int(most)


def parse_log_driver(text: str) -> str:
    """``json-file``, ``plain`` (also called k8s-file) or ``none``."""
    if text not in LOG_DRIVERS:
        raise UsageError(f"unknown log driver {text!r}", hint=", ".join(LOG_DRIVERS))
    return LOG_DRIVERS[text]


def parse_log_options(options: Sequence[str]) -> dict[str, Any]:
    """``max-size=10m`` and ``max-file=3`` as fields of ``Settings``."""
    from newroot.container.resources import parse_size

    fields: dict[str, Any] = {}
    for option in options:
        key, _, value = option.partition("=")
        if key == "max-size":
            fields["log_bytes"] = 0 if value == "-1" else parse_size(value)
        elif key == "max-file" and value.isdecimal() and 1 <= int(value) <= _MOST_FILES:
            fields["log_files"] = int(value)
        elif key == "max-file":
            raise UsageError(f"invalid log option {option!r}", hint=f"1 to {_MOST_FILES} files")
        else:
            raise UsageError(f"unknown log option {option!r}", hint="max-size=10m, max-file=3")
    return fields


def parse_stop_timeout(text: str) -> int:
    """Seconds between the signal that asks a container to end and SIGKILL; -1: for ever."""
    try:
        seconds = int(text)
    except ValueError:
        seconds = -2
    if seconds < -1:
        raise UsageError(f"invalid stop timeout {text!r}", hint="seconds, or -1 for no end")
    return seconds
