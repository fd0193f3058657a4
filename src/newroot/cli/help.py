"""The help pages, 80 columns, made from the verbs' tables; and the verb ``newroot help``.

Imported when somebody asks for help or names a verb that is not there, never by a start.
"""

from __future__ import annotations

import sys

from newroot.cli.flags import Flag, Positional, Verb, nearest, usage_line
from newroot.cli.verbs import ALIASES, VERBS, find_verb, group_of, load_verb
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context

_WIDTH = 80
_WIDEST_FLAG = 30  # a flag longer than this has its help on the next line


def print_verb(verb: Verb, program: str = "newroot") -> int:
    """Print the page of one verb."""
    print(verb_page(verb, program), end="")
    return 0


def print_overview(*, asked: bool) -> int:
    """Print all verbs; to stderr when nobody asked for them, as Docker does."""
    return _print(overview_page(), asked=asked)


def print_group(group: str, *, asked: bool) -> int:
    """Print the verbs below ``volume`` and the like."""
    return _print(group_page(group), asked=asked)


def _print(page: str, *, asked: bool) -> int:
    print(page, end="", file=sys.stdout if asked else sys.stderr)
    return 0


def verb_page(verb: Verb, program: str = "newroot") -> str:
    """What ``newroot VERB --help`` prints."""
    parts = [_wrap(f"Usage:  {usage_line(verb, program)}", indent=8), verb.summary]
    parts += [_wrap(paragraph) for paragraph in verb.details.split("\n\n") if paragraph]
    aliases = [f"newroot {alias}" for alias, name in ALIASES.items() if name == verb.name]
    if aliases and program == "newroot":
        parts.append("Aliases:\n" + _wrap(f"  {', '.join((f'newroot {verb.name}', *aliases))}", 2))
    parts += flag_groups(verb.flags)
    if verb.examples:
        lines = (f"  # {what}\n  $ {command}" for what, command in verb.examples)
        parts.append("Examples:\n" + "\n".join(lines))
    taken = ", which a verb takes as well" if program == "newroot" else ""
    parts.append(f"{program} --help shows the global options{taken}.")
    return "\n\n".join(parts) + "\n"


def overview_page() -> str:
    """What ``newroot --help`` prints."""
    from newroot.cli.main import GLOBAL_FLAGS

    headings = dict.fromkeys(heading for _, _, heading in VERBS.values())
    parts = ["Usage:  newroot [GLOBAL OPTIONS] VERB …", "Give any process a new root."]
    for heading in headings:
        rows = [(name, summary) for name, (_, summary, own) in VERBS.items() if own == heading]
        parts.append(f"{heading}:\n{_rows(rows, 24)}")
    parts += flag_groups(GLOBAL_FLAGS)
    parts.append("newroot VERB --help shows a verb's own options.")
    return "\n\n".join(parts) + "\n"


def group_page(group: str) -> str:
    """What ``newroot volume --help`` prints."""
    by_verb: dict[str, str] = {}
    for name in (*VERBS, *ALIASES):
        if name.startswith(f"{group} "):
            by_verb.setdefault(ALIASES.get(name, name), name.removeprefix(f"{group} "))
    rows = [(name, VERBS[verb][1]) for verb, name in by_verb.items()]
    return (
        f"Usage:  newroot {group} VERB …\n\nVerbs:\n{_rows(rows, 24)}\n\n"
        f"newroot {group} VERB --help shows a verb's own options.\n"
    )


def flag_groups(flags: Iterable[Flag]) -> list[str]:
    """One block for each heading, the flags in the order of the table."""
    by_heading: dict[str, list[tuple[str, str]]] = {}
    for flag in flags:
        by_heading.setdefault(flag.group, []).append((_flag_words(flag), _flag_help(flag)))
    every = [words for rows in by_heading.values() for words, _ in rows]
    width = max((len(words) for words in every if len(words) <= _WIDEST_FLAG), default=0)
    return [f"{heading}:\n{_rows(rows, width)}" for heading, rows in by_heading.items()]


def _flag_words(flag: Flag) -> str:
    short = f"-{flag.short}, " if flag.short else "    "
    return f"{short}--{flag.name}" + (f" {flag.metavar}" if flag.metavar else "")


def _flag_help(flag: Flag) -> str:
    choices = f" ({'|'.join(flag.choices)})" if flag.choices else ""
    return flag.help + choices


def _rows(rows: list[tuple[str, str]], width: int) -> str:
    lines = []
    for left, right in rows:
        body = _wrap(" " * (width + 4) + right, indent=width + 4)
        if len(left) > width:
            lines.append(f"  {left}\n{body}")
        else:
            lines.append(f"  {left.ljust(width)}  {body[width + 4 :]}")
    return "\n".join(lines)


def _wrap(text: str, indent: int = 0) -> str:
    from textwrap import TextWrapper

    wrapper = TextWrapper(
        width=_WIDTH,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.fill(text)


def unknown_verb(words: tuple[str, ...], group: str | None) -> UsageError:
    """The error for *words* that name no verb, with the one that was probably meant."""
    depth = len(group.split()) + 1 if group else 1
    typed = " ".join(words[:depth])
    near = nearest(typed, (*VERBS, *ALIASES, *_groups()))
    where = f"newroot {group}" if group else "newroot"
    return UsageError(
        f"unknown verb {typed!r}",
        hint=f"did you mean newroot {near}?" if near else f"see {where} --help",
    )


def _groups() -> set[str]:
    return {name.split(" ")[0] for name in (*VERBS, *ALIASES) if " " in name}


def _help(parsed: Parsed, context: Context) -> int:
    words = parsed.positionals
    found = find_verb(words)
    group = group_of(words)
    if found is not None:
        return print_verb(load_verb(found[0]))
    if group is not None and words == tuple(group.split()):
        return print_group(group, asked=True)
    if words:
        raise unknown_verb(words, group)
    return print_overview(asked=True)


HELP_VERB = Verb(
    name="help",
    summary=VERBS["help"][1],
    run=_help,
    positionals=(Positional(name="VERB", optional=True, repeat=True, completes="verb"),),
)
