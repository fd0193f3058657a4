"""``newroot save`` and ``newroot export``: images, or a container's root, into a file."""

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

_OUTPUT = Flag(
    name="output",
    short="o",
    metavar="FILE",
    completes="file",
    help="Write this file, not standard output",
)


def _save(parsed: Parsed, context: Context) -> int:
    from newroot.engine import Engine

    engine = Engine(context.root, run_root=context.run_root)
    format = parsed.text("format") or "docker-archive"
    file = parsed.text("output") or standard_output("newroot save -o FILE")
    engine.save(parsed.positionals, file, format=format)
    return 0


def _export(parsed: Parsed, context: Context) -> int:
    from newroot.engine import Engine

    engine = Engine(context.root, run_root=context.run_root)
    file = parsed.text("output") or standard_output("newroot export -o FILE")
    engine.export(parsed.positionals[0], file)
    return 0


def standard_output(instead: str) -> BinaryIO:
    """Standard output, unless a person looks at it."""
    if sys.stdout is None or sys.stdout.isatty():
        raise UsageError("an archive is not written to a terminal", hint=instead)
    return sys.stdout.buffer


SAVE = Verb(
    name="save",
    summary=VERBS["save"][1],
    run=_save,
    flags=(
        Flag(
            name="format",
            metavar="FORMAT",
            choices=("docker-archive", "oci-archive"),
            help="What to write: a docker-archive, which is an OCI layout too, or an oci-archive",
        ),
        _OUTPUT,
    ),
    positionals=(Positional(name="IMAGE", repeat=True, completes="image"),),
    details=(
        "What several images share is written once, and everything as it is stored, so that all "
        "digests stay. The same images give the same bytes."
    ),
    examples=(
        ("into a file", "newroot save -o images.tar busybox alpine:3.20"),
        ("to another host", "newroot save busybox | ssh host newroot load"),
    ),
)

EXPORT = Verb(
    name="export",
    summary=VERBS["export"][1],
    run=_export,
    flags=(_OUTPUT,),
    positionals=(Positional(name="CONTAINER", completes="container"),),
    details="A flat tar of all that the container shows, but for what is mounted in it.",
    examples=(
        ("a container's root as an image", "newroot export web | newroot import - web:flat"),
    ),
)
