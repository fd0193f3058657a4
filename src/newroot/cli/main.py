"""``newroot``: find the verb, read its words, run it; what goes wrong goes to failures.py.

On the road of every start, so it imports what it needs when it needs it.
"""

from __future__ import annotations

import os
import sys

from newroot.cli.flags import HELP, Flag, check_positionals, parse_words
from newroot.cli.verbs import (
    NEEDS_NO_NAMESPACE,
    WORKS_WITHOUT_NAMESPACE,
    Context,
    find_verb,
    load_verb,
)
from newroot.errors import UnsupportedError, UsageError
from newroot.linux.user_namespaces import may_mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed, Verb

EVERYWHERE = (
    Flag(
        name="root",
        metavar="DIR",
        completes="directory",
        help="Where images, containers and volumes are kept ($NEWROOT_ROOT)",
        group="Global options",
    ),
    Flag(
        name="run-root",
        metavar="DIR",
        completes="directory",
        help="Where the state of what runs is kept ($NEWROOT_RUN_ROOT)",
        group="Global options",
    ),
    Flag(name="debug", help="Show where in newroot an error came from", group="Global options"),
    Flag(name="help", help=HELP.help, group="Global options"),
)
GLOBAL_FLAGS = (
    *EVERYWHERE,
    Flag(name="version", help="Show the version and exit", group="Global options"),
)

AFTER_SIGNAL = 128


def main(argv: list[str] | None = None) -> int:
    """Run ``newroot`` with *argv*, without the program's own name; return the exit code."""
    session = _Session()
    try:
        code = _dispatch(sys.argv[1:] if argv is None else argv, session)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Who read our output has gone; the interpreter's own flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)
        return AFTER_SIGNAL + 13
    except KeyboardInterrupt:
        return AFTER_SIGNAL + 2
    except Exception as error:
        from newroot.cli.failures import explain

        return explain(error, debug=session.debug)


class _Session:
    """What is known when something goes wrong half-way."""

    debug = False


def _dispatch(words: list[str], session: _Session) -> int:
    if words[:1] == ["__complete"]:
        from newroot.cli.complete import main as complete

        return complete(words[1:])
    before = parse_words(words, GLOBAL_FLAGS, where="newroot", stops_at_positional=True)
    session.debug = before.is_set("debug")
    if before.is_set("version"):
        from newroot.version import VERSION

        print(f"newroot {VERSION}")
        return 0
    found = find_verb(before.positionals)
    if found is None:
        return _without_verb(before)
    name, used = found
    verb = load_verb(name)
    parsed = parse_words(
        list(before.positionals[used:]),
        (*verb.flags, *EVERYWHERE),
        where=f"newroot {name}",
        stops_at_positional=verb.stops_at_positional,
    )
    session.debug |= parsed.is_set("debug")
    if before.is_set("help") or parsed.is_set("help"):
        from newroot.cli.help import print_verb

        return print_verb(verb)
    check_positionals(verb, parsed.positionals)
    context = _context(before, parsed)
    if name in NEEDS_NO_NAMESPACE or may_mount():
        return verb.run(parsed, context)
    return _run_rootless(name, verb, parsed, context)


def _run_rootless(name: str, verb: Verb, parsed: Parsed, context: Context) -> int:
    """An ordinary user's command is done as root of a namespace of the user's."""
    from newroot.isolation import rootless

    try:
        stay = rootless.enter(context.run_root)
    except UnsupportedError:
        if name not in WORKS_WITHOUT_NAMESPACE:
            raise
        return verb.run(parsed, context)
    with stay:
        return verb.run(parsed, context)


def _context(before: Parsed, after: Parsed) -> Context:
    from newroot.container.places import default_root, default_run_root

    def chosen(word: str) -> str | None:
        value = after.text(word) if after.text(word) is not None else before.text(word)
        if value == "":
            raise UsageError(f"--{word.replace('_', '-')} needs a directory")
        return None if value is None else os.path.abspath(value)

    uid = os.geteuid()
    root = chosen("root") or default_root(os.environ, uid)
    return Context(
        root=root,
        run_root=chosen("run_root") or default_run_root(os.environ, uid, root),
        debug=before.is_set("debug") or after.is_set("debug"),
    )


def _without_verb(before: Parsed) -> int:
    from newroot.cli import help as pages
    from newroot.cli.verbs import group_of

    words = before.positionals
    group = group_of(words)
    asked = before.is_set("help") or words[-1:] in (("--help",), ("-h",))
    if group is not None and (asked or words == tuple(group.split())):
        return pages.print_group(group, asked=asked)
    if words:
        raise pages.unknown_verb(words, group)
    return pages.print_overview(asked=asked)


if __name__ == "__main__":
    sys.exit(main())
