"""The flag that says how new layers are kept, and the store that heeds it."""

from __future__ import annotations

from contextlib import contextmanager

from newroot.cli.flags import Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.images.store import ImageStore

LAYERS_FLAG = Flag(
    name="layers",
    metavar="directories|erofs",
    choices=("directories", "erofs"),
    help="Keep new layers as directories, or each as one EROFS file, which is faster and takes "
    "root and Linux 6.12 ($NEWROOT_LAYERS)",
)


@contextmanager
def opened_store(parsed: Parsed, context: Context) -> Iterator[ImageStore]:
    """The image store, with what was said of layers; says when that cannot be had here."""
    import sys

    from newroot.images.store import ImageStore

    store = ImageStore(context.root, layers_as=parsed.text("layers"))
    try:
        yield store
    finally:
        if store.erofs_refused is not None:
            print(
                f"newroot: warning: new layers are directories: {store.erofs_refused}",
                file=sys.stderr,
            )
