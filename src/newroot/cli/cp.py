"""``newroot cp``: files go into a container and come out of it."""

from __future__ import annotations

import sys

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.verbs import VERBS
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.images.tree_in import Laid


def _copy(parsed: Parsed, context: Context) -> int:
    from newroot.engine import Engine

    words = parsed.positionals
    (at, path), (to, target) = (_split(word) for word in words)
    if at is None and to is None:
        raise UsageError(
            "newroot cp: neither is in a container", hint=r"write CONTAINER:PATH for one of them"
        )
    how = {"archive": parsed.is_set("archive"), "follow": parsed.is_set("follow_link")}
    with Engine(context.root, run_root=context.run_root) as engine:
        if at is not None and to is not None:
            laid: Laid | None = engine.copy_between(at, path, to, target, **how)
        elif to is not None:
            laid = engine.copy_to(sys.stdin.buffer if path == "-" else path, to, target, **how)
        else:
            assert at is not None
            laid = engine.copy_from(at, path, _output() if target == "-" else target, **how)
    if laid is not None:
        _tell(laid, words[1], quiet=parsed.is_set("quiet"))
    return 0


def _output() -> BinaryIO:
    if sys.stdout.isatty():
        raise UsageError(
            "a tar would go to the terminal", hint="redirect it: newroot cp … - | tar -x"
        )
    return sys.stdout.buffer


def _split(word: str) -> tuple[str | None, str]:
    """``CONTAINER:PATH``, or a path of the host: one that begins with ``/`` or ``.``."""
    container, colon, path = word.partition(":")
    if not colon or word.startswith(("/", ".")) or "/" in container:
        return None, word
    if not container:
        raise UsageError(f"newroot cp: {word!r} names no container")
    return container, path


def _tell(laid: Laid, where: str, *, quiet: bool) -> None:
    if laid.left_out:
        from newroot.cli.failures import say

        count = len(laid.left_out)
        what = "a device node was" if count == 1 else f"{count} device nodes were"
        say(f"newroot: warning: {what} left out: {laid.left_out[0]}; -a takes them along")
    # As docker: who reads by a program is not told.
    if not quiet and sys.stdout.isatty():
        from newroot.cli.output import human_size

        print(f"Successfully copied {human_size(laid.size)} to {where}", file=sys.stderr)


COPY = Verb(
    name="cp",
    summary=VERBS["cp"][1],
    run=_copy,
    flags=(
        Flag(name="archive", short="a", help="Keep owners, set-user-ID bits and device nodes"),
        Flag(name="follow-link", short="L", help="Copy what SOURCE leads to when it is a symlink"),
        Flag(name="quiet", short="q", help="Do not say how much was copied"),
    ),
    positionals=(
        Positional(name="SOURCE", completes="container-path"),
        Positional(name="DEST", completes="container-path"),
    ),
    usage="newroot cp [OPTIONS] CONTAINER:PATH (PATH|-) | (PATH|-) CONTAINER:PATH | "
    "CONTAINER:PATH CONTAINER:PATH",
    details=(
        "The container may run or not; its volumes are there, and what the kernel shows in /proc "
        "and /sys is not. A directory goes into DEST, or what is in it when SOURCE ends with /.; "
        "where DEST is not there, it becomes DEST. A file goes into DEST where that is a "
        "directory, else it becomes DEST; a DEST that ends with / must be a directory. - is a tar "
        "on standard input, which goes into DEST, or on standard output.\n\n"
        "What is copied becomes its new place's: the container's root's, or yours. Links in it "
        "stay links. No name in the container leads out of it, whatever it does meanwhile."
    ),
    examples=(
        ("a file into a container", "newroot cp site.conf web:/etc/nginx/conf.d/"),
        ("what is in a directory out of it", "newroot cp web:/var/log/. logs"),
        ("by a pipe", "newroot cp web:/etc - | tar -t"),
    ),
)
