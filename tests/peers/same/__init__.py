"""The same commands given to newroot and to a peer: what comes out, made comparable.

Ids, digests, times and ages are no engine's own; what is left must be the same.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

Done = subprocess.CompletedProcess[str]
Engine = Callable[[list[str]], Done]

_MASKS = (
    (r"sha256:[0-9a-f]{64}", "DIGEST"),
    (r"\b[0-9a-f]{64}\b", "ID"),
    (r"\b[0-9a-f]{12}\b", "ID"),
    (r"(Less than a second|About a minute|About an hour|\d+ (second|minute)s?)( ago)?", "AGE"),
    (r" {2,}", "  "),  # columns are as wide as what stands in them
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*( [+-]\d{4} \S+)?", "TIME"),
)


@dataclass(frozen=True)
class Result:
    """What a command came to."""

    code: int
    out: str

    @classmethod
    def of(cls, done: Done) -> Result:
        out = done.stdout
        for pattern, word in _MASKS:
            out = re.sub(pattern, word, out)
        return cls(done.returncode, "\n".join(sorted(line.rstrip() for line in out.splitlines())))


@dataclass(frozen=True)
class Difference:
    """A command of the table of which something is not the same, and why."""

    command: str  #: with " (2)" after it where it is meant the second time
    what: str  #: code, out, or both
    why: str


def read_table(text: str) -> list[tuple[str, bool]]:
    """The commands of a table, and whether what they print is compared: not after a tilde."""
    lines = (line.strip() for line in text.splitlines())
    return [(line.lstrip("~ "), line[0] != "~") for line in lines if line and line[0] != "#"]


def words_of(command: str, image: str) -> list[str]:
    return [word.replace("IMAGE", image) for word in shlex.split(command)]


def differences(
    table: Iterable[tuple[str, bool]], ours: Engine, theirs: Engine, image: str
) -> dict[str, str]:
    """Run every command with both, one after the other; what differs, by command."""
    found: dict[str, str] = {}
    told: list[str] = []
    times: dict[str, int] = {}
    with ThreadPoolExecutor(2) as pool:
        for command, compared in table:
            words = words_of(command, image)
            times[command] = times.get(command, 0) + 1
            key = command if times[command] == 1 else f"{command} ({times[command]})"
            both = [pool.submit(engine, words) for engine in (ours, theirs)]
            own, other = (Result.of(future.result()) for future in both)
            what = []
            if own.code != other.code:
                what.append("code")
            if compared and own.out != other.out:
                what.append("out")
            if what:
                found[key] = " ".join(what)
                told.append(f"{key}\n    ours:   {own}\n    theirs: {other}")
    print("\n".join(told))  # shown where the test fails
    return found
