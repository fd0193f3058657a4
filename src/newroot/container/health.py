"""Whether a container is well: what is asked, how often, and what came of it.

A detached container's monitor has it asked again and again (native/monitor.c, health_check.py); the
answer is noted beside the container's other files, where ``ps`` and ``inspect`` read it.  The rules
are Docker's (moby, daemon/health.go).

    <root>/containers/<id>/health.json    Docker's State.Health, and of which start it is
"""

from __future__ import annotations

import fcntl
import os

from newroot.errors import UsageError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.settings import Settings
    from newroot.container.storage import ContainerStorage

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
_SECOND = 10**9
_INTERVAL_NS = _TIMEOUT_NS = 30 * _SECOND
_RETRIES = 3
_MOST_ENTRIES = 5
_MOST_OUTPUT = 4096


@record
class Health:
    """What is asked of one container."""

    command: tuple[str, ...]  #: that ends with 0 when it is well
    interval_ns: int = _INTERVAL_NS
    timeout_ns: int = _TIMEOUT_NS
    start_period_ns: int = 0  #: so long after its start, a failure does not count
    retries: int = _RETRIES  #: so many failures on end make it unhealthy


def health_of(settings: Settings, image: dict[str, Any]) -> Health | None:
    """What *settings* and the image's config ask; None where they ask nothing."""
    found = image.get("Healthcheck")
    declared: dict[str, Any] = found if isinstance(found, dict) else {}
    test = settings.health_test if settings.health_test is not None else declared.get("Test")
    words = [str(word) for word in test] if isinstance(test, (list, tuple)) else []
    if len(words) < 2 or words[0] not in ("CMD", "CMD-SHELL"):
        return None  # NONE, or nothing
    shell = image.get("Shell") or ["/bin/sh", "-c"]
    return Health(
        command=tuple(words[1:] if words[0] == "CMD" else [*shell, words[1]]),
        interval_ns=_first(settings.health_interval_ns, declared.get("Interval"), _INTERVAL_NS),
        timeout_ns=_first(settings.health_timeout_ns, declared.get("Timeout"), _TIMEOUT_NS),
        start_period_ns=_first(settings.health_start_period_ns, declared.get("StartPeriod"), 0),
        retries=_first(settings.health_retries, declared.get("Retries"), _RETRIES),
    )


def _first(*values: object) -> int:
    """The first that says something: 0 is the default, as for Docker."""
    return next((value for value in values if isinstance(value, int) and value > 0), 0)


# ── what was found ───────────────────────────────────────────────────────────────────────────


@record
class Answer:
    """What one check came to."""

    started: float  #: seconds since the epoch
    ended: float
    exit_code: int  #: -1: it did not end in time
    output: str


def read_health(storage: ContainerStorage, container_id: str, start_ticks: object) -> Any:
    """Docker's State.Health of the container that began at *start_ticks*: the log's last five."""
    found = storage.health(container_id)
    if not found or found.get("of") != start_ticks:
        return {"Status": STARTING, "FailingStreak": 0, "Log": []}
    return {key: value for key, value in found.items() if key != "of"}


def note_answer(
    storage: ContainerStorage, container_id: str, health: Health, answer: Answer, age_s: float
) -> str:
    """Write down what came of a check; return the status that the container has now.

    *age_s* is how long it runs: in its first time a failure counts only once it has been well.
    """
    directory = os.open(storage.directory(container_id), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)  # whoever else asks at this moment
        ticks = storage.state(container_id).get("startTicks")
        found = read_health(storage, container_id, ticks)
        failed = answer.exit_code != 0
        is_early = found["Status"] == STARTING and age_s * _SECOND < health.start_period_ns
        streak = 0 if not failed else found["FailingStreak"] + (0 if is_early else 1)
        status = found["Status"]
        if not failed:
            status = HEALTHY
        elif streak >= health.retries:
            status = UNHEALTHY
        log = [*found["Log"], _entry(answer)][-_MOST_ENTRIES:]
        document = {"of": ticks, "Status": status, "FailingStreak": streak, "Log": log}
        storage.write(container_id, "health.json", document)
        if status != found["Status"]:
            storage.note(container_id, f"health_status: {status}")
        return str(status)
    finally:
        os.close(directory)


def _entry(answer: Answer) -> dict[str, Any]:
    return {
        "Start": _moment(answer.started),
        "End": _moment(answer.ended),
        "ExitCode": answer.exit_code,
        "Output": answer.output[:_MOST_OUTPUT],
    }


def _moment(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# ── words ────────────────────────────────────────────────────────────────────────────────────


def parse_health_command(value: Any) -> tuple[str, ...]:
    """A line of shell; from Python a list of words too.  ``none`` asks nothing."""
    if isinstance(value, str):
        return ("NONE",) if value == "none" else ("CMD-SHELL", value)
    words = tuple(map(str, value))
    if not words:
        raise UsageError("a health check needs a command")
    return ("CMD", *words)


def parse_health_time(text: str) -> int:
    """``30s`` in nanoseconds; 0 is the default."""
    from newroot.container.moments import parse_duration

    found = 0 if text == "0" else parse_duration(text)
    if found is None or 0 < found < 10**6:
        raise UsageError(f"invalid time {text!r} of a health check", hint="as 30s or 1m30s")
    return found


def parse_retries(text: str) -> int:
    """How many failures on end; 0 is the default."""
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"invalid --health-retries {text!r}", hint="a number")
    return int(text)
