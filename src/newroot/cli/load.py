"""``newroot load``: images out of a docker-archive, an OCI archive or an OCI layout."""

from __future__ import annotations

import sys

from newroot.cli.flags import Flag, Verb
from newroot.cli.layers_as import LAYERS_FLAG, opened_store
from newroot.cli.verbs import VERBS
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context


def _load(parsed: Parsed, context: Context) -> int:
    from newroot.images.archive import load_archive
    from newroot.images.reference import familiar

    path = parsed.text("input")
    source = path if path is not None else standard_input("newroot load -i FILE")
    with opened_store(parsed, context) as store:
        images = load_archive(store, source)
    for image in images:
        if parsed.is_set("quiet"):
            continue
        if image.reference:
            print(f"Loaded image: {familiar(image.reference)}")
        else:
            print(f"Loaded image ID: {image.digest}")
    return 0


def standard_input(instead: str) -> BinaryIO:
    """Standard input, unless a person sits at it."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("an archive is not read from a terminal", hint=instead)
    return sys.stdin.buffer


LOAD = Verb(
    name="load",
    summary=VERBS["load"][1],
    run=_load,
    flags=(
        Flag(
            name="input",
            short="i",
            metavar="FILE",
            completes="file",
            help="Read this tar or layout directory, not standard input",
        ),
        Flag(name="quiet", short="q", help="Do not print what was loaded"),
        LAYERS_FLAG,
    ),
    details=(
        "Reads what docker save, podman save and skopeo copy write: a docker-archive, an OCI "
        "archive, an OCI layout. All its images come, or none."
    ),
)
