"""``newroot import``: an image of one layer out of a flat tar."""

from __future__ import annotations

import os
import sys

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.layers_as import LAYERS_FLAG, opened_store
from newroot.cli.verbs import VERBS
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context


def _import(parsed: Parsed, context: Context) -> int:
    from newroot.cli.load import standard_input
    from newroot.images.flat import import_tar, source_date_epoch, timestamp

    file, *rest = parsed.positionals
    name = rest[0] if rest else name_from_file(file)
    source = standard_input("newroot import FILE") if file == "-" else file
    epoch = source_date_epoch(os.environ)
    with opened_store(parsed, context) as store:
        image = import_tar(
            store,
            source,
            name,
            changes=parsed.texts("change"),
            message=parsed.text("message"),
            created=None if epoch is None else timestamp(epoch),
        )
    print(image.digest)
    if not rest:
        print(f"newroot: the image is called {name}", file=sys.stderr)
    return 0


def name_from_file(path: str) -> str:
    """``alpine-minirootfs-3.20`` for ``…/Alpine-minirootfs-3.20.tar.gz``."""
    base = path.rstrip("/").rpartition("/")[2].lower()
    for suffix in (".gz", ".xz", ".zst", ".bz2", ".tgz", ".txz", ".tar"):
        base = base.removesuffix(suffix)
    name = ""
    for character in base:
        if character.isascii() and character.isalnum():
            name += character
        elif name[-1:].isalnum():  # a name may have one divider between letters and digits
            name += character if character in "._-" else "-"
    name = name.rstrip("._-")
    if not name:
        raise UsageError(f"no name for the image of {path!r}", hint="newroot import FILE NAME")
    return name


IMPORT = Verb(
    name="import",
    summary=VERBS["import"][1],
    run=_import,
    flags=(
        Flag(
            name="change",
            short="c",
            metavar="INSTRUCTION",
            repeat=True,
            help="Set something as a Dockerfile would, as 'CMD [\"sh\"]'",
        ),
        Flag(name="message", short="m", metavar="TEXT", help="What the history says of it"),
        LAYERS_FLAG,
    ),
    positionals=(
        Positional(name="FILE", completes="file"),
        Positional(name="NAME", optional=True, completes="image"),
    ),
    details=(
        "FILE is a tar of a root file system, plain or compressed with gzip, zstd, xz or bzip2, "
        "as docker export and distributions make it; - is standard input. Without NAME the image "
        "is called after the file."
    ),
    examples=(
        ("a distribution's root", "newroot import alpine-minirootfs-3.20.2-x86_64.tar.gz alpine"),
        ("a container of docker's", "docker export web | newroot import - web:copy"),
    ),
)
