"""``newroot try``, ``try ls``, ``try diff``, ``try apply`` and ``try drop``: on the host itself."""

from __future__ import annotations

import sys

from newroot.cli.failures import each
from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.output import FORMAT, human_age, print_rows
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.engine_try import Trials

_SHORT = 12


def _try(parsed: Parsed, context: Context) -> int:
    command = parsed.positionals
    with _trials(parsed) as trials:
        tried = trials.run(command, terminal=sys.stdin.isatty() and sys.stdout.isatty())
        _say(tried.changes)
        if not tried.changes:
            print("nothing was changed", file=sys.stderr)
            trials.drop(tried.id)
        elif parsed.is_set("apply") and tried.exit_code == 0:
            print(f"applied {trials.apply(tried.id)} changes", file=sys.stderr)
        else:
            short = tried.id[:_SHORT]
            print(
                f"nothing of this is on the host yet: newroot try apply {short}, "
                f"or newroot try drop {short}",
                file=sys.stderr,
            )
    return tried.exit_code


def _say(changes: Iterable[tuple[str, str]]) -> None:
    """To standard error: standard output is the command's."""
    for kind, path in changes:
        print(
            kind, "".join(c if c.isprintable() else ascii(c)[1:-1] for c in path), file=sys.stderr
        )


def _printable(path: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in path)


def _list(parsed: Parsed, context: Context) -> int:
    from time import time

    now = time()
    with _trials(parsed) as trials:
        rows = [
            {
                "ID": each.id[:_SHORT],
                "Command": " ".join(each.command),
                "CreatedSince": f"{human_age(max(now - each.created, 0))} ago",
                "Changes": "" if each.is_up else str(len(trials.changes(each.id))),
                "State": "running" if each.is_up else "tried",
            }
            for each in trials.tried()
        ]
    columns = {"ID": "ID", "COMMAND": "Command", "CREATED": "CreatedSince", "CHANGES": "Changes",
               "STATE": "State"}  # fmt: skip
    print_rows(columns, rows, parsed.text("format"))
    return 0


def _diff(parsed: Parsed, context: Context) -> int:
    with _trials(parsed) as trials:
        for kind, path in trials.changes(parsed.positionals[0]):
            print(kind, _printable(path))
    return 0


def _apply(parsed: Parsed, context: Context) -> int:
    with _trials(parsed) as trials:

        def apply(tried: str) -> None:
            print(f"{tried}: applied {trials.apply(tried)} changes")

        return each(parsed.positionals, apply, debug=context.debug)


def _drop(parsed: Parsed, context: Context) -> int:
    with _trials(parsed) as trials:

        def drop(tried: str) -> None:
            trials.drop(tried)
            print(tried)

        return each(parsed.positionals, drop, debug=context.debug)


def _trials(parsed: Parsed) -> Trials:
    from newroot.engine_try import Trials

    return Trials(parsed.text("scratch"))


_SCRATCH = Flag(
    name="scratch",
    metavar="DIR",
    completes="file",
    help="Where what it writes is kept: not on the root's own file system (in memory)",
)
_IDS = (Positional(name="ID", repeat=True),)

TRY = Verb(
    name="try",
    summary=VERBS["try"][1],
    run=_try,
    flags=(Flag(name="apply", help="Apply what it changed, if it ends well"), _SCRATCH),
    positionals=(Positional(name="COMMAND", repeat=True),),
    stops_at_positional=True,
    details=(
        "The command sees the host as it is, and what it writes goes into an overlay; afterwards "
        "what it added, changed and deleted is listed on standard error. Other file systems than "
        "the root's are read-only for it, but /proc, /sys, /dev and /run, which are the host's "
        "own: it is no jail. It needs root. The exit code is the command's."
    ),
    examples=(
        ("what would this installer do", "newroot try -- sh ./install.sh"),
        ("and if it ends well, do it", "newroot try --apply -- make install"),
    ),
)

LIST = Verb(
    name="try ls",
    summary=VERBS["try ls"][1],
    run=_list,
    flags=(FORMAT, _SCRATCH),
)

DIFF = Verb(
    name="try diff",
    summary=VERBS["try diff"][1],
    run=_diff,
    flags=(_SCRATCH,),
    positionals=(Positional(name="ID"),),
)

APPLY = Verb(
    name="try apply",
    summary=VERBS["try apply"][1],
    run=_apply,
    flags=(_SCRATCH,),
    positionals=_IDS,
    details=(
        "Nothing is applied when something that the command changed has been changed on the host "
        "since. Each file appears under its name whole."
    ),
)

DROP = Verb(
    name="try drop",
    summary=VERBS["try drop"][1],
    run=_drop,
    flags=(_SCRATCH,),
    positionals=_IDS,
)
