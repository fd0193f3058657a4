"""The command line as tables: what a verb takes, and how words are read by such a table.

The manners are those of GNU and of Docker (spf13/pflag): ``-it`` bundles, ``-v/a:/b`` and
``-v=/a:/b``, ``--flag VALUE`` and ``--flag=VALUE``, ``--switch=false``, ``--`` ends the flags.
The same tables give the help (help.py) and will give the completions and manual pages.
Why not argparse or click: docs/decisions/0004-own-command-line-parser.md.
"""

from __future__ import annotations

from newroot.errors import UsageError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


@record
class Flag:
    """One flag of a verb."""

    name: str  #: without the dashes
    help: str
    short: str = ""  #: one letter
    metavar: str = ""  #: what its value is; empty: it is a switch and takes none
    repeat: bool = False  #: may be given many times; its value is a list
    choices: tuple[str, ...] = ()  #: the only values it may have
    completes: str = ""  #: what a value names, for completion: file, directory, image, volume
    group: str = "Options"  #: the heading it stands under in the help

    @property
    def word(self) -> str:
        """The key of its value in ``Parsed.flags``."""
        return self.name.replace("-", "_")


@record
class Positional:
    """One argument of a verb that is not a flag, or the last, which may be many."""

    name: str  #: in capitals, as the help shows it
    optional: bool = False
    repeat: bool = False
    completes: str = ""


@record
class Verb:
    """One verb: all that the parser, the help and the completions need to know."""

    name: str  #: as typed, ``run`` or ``volume create``
    summary: str  #: one line, an imperative
    run: Callable[[Parsed, Any], int]  #: told its own words, and what all verbs are told
    flags: tuple[Flag, ...] = ()
    positionals: tuple[Positional, ...] = ()
    usage: str = ""  #: in place of the line that the tables give
    stops_at_positional: bool = False  #: what follows the first positional is not ours to read
    details: str = ""  #: paragraphs under the summary
    examples: tuple[tuple[str, str], ...] = ()  #: (what it does, command)


@record
class Parsed:
    """What was read: every flag's value under its word, and the positionals in order."""

    flags: dict[str, str | bool | list[str] | None]
    positionals: tuple[str, ...]

    def text(self, word: str) -> str | None:
        value = self.flags[word]
        assert value is None or isinstance(value, str)
        return value

    def is_set(self, word: str) -> bool:
        return bool(self.flags[word])

    def texts(self, word: str) -> list[str]:
        value = self.flags[word]
        assert isinstance(value, list)
        return value


HELP = Flag(name="help", help="Show this help and exit")


def parse_words(
    words: list[str],
    flags: Iterable[Flag],
    *,
    where: str,
    stops_at_positional: bool,
) -> Parsed:
    """Read *words* by *flags*; *where* is the command so far, for the messages.

    A switch that was not given is False, a list empty, another flag None.  Raises UsageError.
    """
    reader = _Reader(tuple(flags), where)
    rest = list(reversed(words))
    positionals: list[str] = []
    while rest:
        word = rest.pop()
        if word == "--":
            positionals += reversed(rest)
            break
        if word.startswith("--"):
            reader.long(word, rest)
        elif word.startswith("-") and len(word) > 1:
            reader.bundle(word, rest)
        else:
            positionals.append(word)
            if stops_at_positional:
                positionals += reversed(rest)
                break
    return Parsed(flags=reader.values, positionals=tuple(positionals))


class _Reader:
    """The values so far, and the two forms in which a flag may come."""

    def __init__(self, flags: tuple[Flag, ...], where: str) -> None:
        self.where = where
        self.by_name = {flag.name: flag for flag in flags}
        self.by_short = {flag.short: flag for flag in flags if flag.short}
        if "h" not in self.by_short and "help" in self.by_name:
            self.by_short["h"] = self.by_name["help"]
        self.values: dict[str, str | bool | list[str] | None] = {}
        for flag in flags:
            self.values[flag.word] = [] if flag.repeat else None if flag.metavar else False

    def long(self, word: str, rest: list[str]) -> None:
        """Take ``--flag``, ``--flag=VALUE``, or ``--flag`` and the word after it."""
        name, has_value, value = word[2:].partition("=")
        flag = self.by_name.get(name)
        if flag is None:
            raise self._unknown(f"--{name}")
        self._take(flag, f"--{name}", value if has_value else None, rest)

    def bundle(self, word: str, rest: list[str]) -> None:
        """Take ``-it``, ``-vVALUE``, ``-v=VALUE``, or ``-v`` and the word after it."""
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self.by_short.get(letter)
            if flag is None:
                raise self._unknown_letter(letter, word)
            value = None
            if letters.startswith("="):
                value, letters = letters[1:], ""
            elif flag.metavar and letters:
                value, letters = letters, ""
            self._take(flag, f"-{letter}", value, rest)

    def _take(self, flag: Flag, typed: str, value: str | None, rest: list[str]) -> None:
        if not flag.metavar:
            self.values[flag.word] = True if value is None else self._truth(typed, value)
            return
        if value is None:
            if not rest:
                raise self._wrong(f"{typed} needs a value: {typed} {flag.metavar}")
            value = rest.pop()
        if flag.choices and value not in flag.choices:
            raise self._wrong(
                f"invalid value {value!r} for {typed}", hint=f"one of {', '.join(flag.choices)}"
            )
        held = self.values[flag.word]
        if isinstance(held, list):
            held.append(value)
        else:
            self.values[flag.word] = value

    def _truth(self, typed: str, value: str) -> bool:
        # Go's strconv.ParseBool, which pflag asks.
        if value in ("1", "t", "T", "true", "TRUE", "True"):
            return True
        if value in ("0", "f", "F", "false", "FALSE", "False"):
            return False
        raise self._wrong(f"invalid value {value!r} for {typed}", hint="true or false")

    def _unknown(self, typed: str) -> UsageError:
        near = nearest(typed, [f"--{known}" for known in self.by_name])
        return self._wrong(f"unknown flag {typed}", hint=near and f"did you mean {near}?")

    def _unknown_letter(self, letter: str, word: str) -> UsageError:
        if len(word) == 2:
            return self._wrong(f"unknown flag {word}")
        # -name is a slip for --name more often than a bundle of four.
        meant = word[1:].partition("=")[0]
        return self._wrong(
            f"unknown flag -{letter} in {word}",
            hint=f"did you mean --{meant}?" if meant in self.by_name else None,
        )

    def _wrong(self, message: str, hint: str | None = None) -> UsageError:
        return UsageError(message, hint=hint or f"see {self.where} --help")


def check_positionals(verb: Verb, given: tuple[str, ...], program: str = "newroot") -> None:
    """Raise UsageError unless *verb* takes as many positionals as were given."""
    least = sum(not positional.optional for positional in verb.positionals)
    endless = any(positional.repeat for positional in verb.positionals)
    hint = f"usage: {usage_line(verb, program)}"
    if len(given) < least:
        missing = [p.name for p in verb.positionals if not p.optional][len(given)]
        raise UsageError(f"{program} {verb.name} needs {missing}", hint=hint)
    if not endless and len(given) > len(verb.positionals):
        surplus = given[len(verb.positionals)]
        raise UsageError(f"{program} {verb.name} does not take {surplus!r}", hint=hint)


def usage_line(verb: Verb, program: str = "newroot") -> str:
    """``newroot volume rm [OPTIONS] VOLUME [VOLUME...]``"""
    if verb.usage:
        return verb.usage
    words = [program, verb.name]
    if verb.flags:
        words.append("[OPTIONS]")
    for positional in verb.positionals:
        name = positional.name
        if positional.repeat:
            words.append(f"[{name}...]" if positional.optional else f"{name} [{name}...]")
        else:
            words.append(f"[{name}]" if positional.optional else name)
    return " ".join(words)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of *known* that *word* was probably meant to be."""
    # difflib imports re; only who has erred waits for it.
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1, cutoff=0.65)
    return near[0] if near else None
