"""Signals by name, number, and the spellings that people use.

``SIGTERM``, ``term``, ``15`` and ``SIGRTMIN+3`` are all names of one signal, as in kill(1) and in
``docker kill --signal``.  The ``signal`` module is not imported: it costs an enum.
"""

from __future__ import annotations

from newroot.errors import UsageError
from newroot.linux.constants import SIGNALS, SIGRTMAX, SIGRTMIN

_ALIASES = {"SIGIOT": "SIGABRT", "SIGPOLL": "SIGIO", "SIGCLD": "SIGCHLD"}


def signal_number(untrusted_name: str | int) -> int:
    """The number of a signal that a person named.

    Raises UsageError for a name that is no signal, and for numbers outside 1..64.
    """
    text = str(untrusted_name).strip()
    number = int(text) if _is_number(text) else _by_name(text.upper())
    if number is None or not 1 <= number <= SIGRTMAX:
        raise UsageError(f"{text!r} is not a signal", hint="try TERM, KILL, HUP, or a number")
    return number


def signal_name(number: int) -> str:
    """The name of a signal; ``SIGRTMIN+3`` for a real-time one, the number for no signal."""
    for name, known in SIGNALS.items():
        if known == number:
            return name
    if number == SIGRTMIN:
        return "SIGRTMIN"
    return f"SIGRTMIN+{number - SIGRTMIN}" if SIGRTMIN < number <= SIGRTMAX else str(number)


def _by_name(upper: str) -> int | None:
    name = upper if upper.startswith("SIG") else f"SIG{upper}"
    name = _ALIASES.get(name, name)
    if name.startswith(("SIGRTMIN", "SIGRTMAX")):
        return _real_time(name)
    return SIGNALS.get(name)


def _real_time(name: str) -> int | None:
    base, sign, rest = (SIGRTMIN if name.startswith("SIGRTMIN") else SIGRTMAX), name[8:9], name[9:]
    if not sign:
        return base
    if sign not in "+-" or not _is_number(rest):
        return None
    number = base + int(sign + rest)
    return number if SIGRTMIN <= number <= SIGRTMAX else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
