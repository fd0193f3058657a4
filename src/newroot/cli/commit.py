"""``newroot commit`` and ``newroot diff``: what a container has changed, kept and listed."""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.output import FORMAT, print_rows
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context


def _commit(parsed: Parsed, context: Context) -> int:
    from newroot.engine import Engine

    engine = Engine(context.root, run_root=context.run_root)
    container, *name = parsed.positionals
    image = engine.commit(
        container,
        name[0] if name else None,
        author=parsed.text("author"),
        message=parsed.text("message"),
        changes=parsed.texts("change"),
        pause=parsed.text("pause") != "false",
    )
    print(image.digest)
    return 0


def _diff(parsed: Parsed, context: Context) -> int:
    from newroot.engine import Engine

    engine = Engine(context.root, run_root=context.run_root)
    found = engine.diff(parsed.positionals[0])
    if parsed.text("format") in (None, "table"):
        # A path may hold a new line; escaped it stays one line, and cannot pass for another.
        print("".join(f"{kind} {_printable(path)}\n" for kind, path in found), end="")
    else:
        rows = [{"Path": path, "Type": kind} for kind, path in found]
        print_rows({}, rows, parsed.text("format"))
    return 0


def _printable(path: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in path)


COMMIT = Verb(
    name="commit",
    summary=VERBS["commit"][1],
    run=_commit,
    flags=(
        Flag(name="author", short="a", metavar="TEXT", help="Who made the image"),
        Flag(
            name="change",
            short="c",
            metavar="INSTRUCTION",
            repeat=True,
            help="Set something as a Dockerfile would, as 'CMD [\"sh\"]'",
        ),
        Flag(name="message", short="m", metavar="TEXT", help="What the history says of it"),
        Flag(
            name="pause",
            short="p",
            metavar="true|false",
            choices=("true", "false"),
            help="Freeze a container that runs meanwhile, if it has a cgroup (true)",
        ),
    ),
    positionals=(
        Positional(name="CONTAINER", completes="container"),
        Positional(name="NAME[:TAG]", optional=True, completes="image"),
    ),
    details=(
        "The image has the container's command and environment, as with Docker; --change sets "
        "others. What is mounted in the container is not in it. With SOURCE_DATE_EPOCH set, the "
        "same changes give the same image."
    ),
    examples=(("keep what was installed", 'newroot commit -c \'CMD ["httpd", "-f"]\' web web:1'),),
)

DIFF = Verb(
    name="diff",
    summary=VERBS["diff"][1],
    run=_diff,
    flags=(FORMAT,),
    positionals=(Positional(name="CONTAINER", completes="container"),),
    details="A is added, C changed, D deleted; a directory is changed when something in it is.",
)
