"""``newroot image prune``: images that nobody uses go, and what nobody names."""

from __future__ import annotations

import sys

from newroot.cli.flags import Flag, Verb
from newroot.cli.images import filter_flag
from newroot.cli.output import confirm, human_size
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context


def _prune(parsed: Parsed, context: Context) -> int:
    from newroot.engine import Engine
    from newroot.images.reference import familiar

    every = parsed.is_set("all")
    which = "all images that no container stands on" if every else "all images without a name"
    if not parsed.is_set("force") and not confirm(f"This removes {which}."):
        print("Nothing was removed.", file=sys.stderr)
        return 0
    engine = Engine(context.root, run_root=context.run_root)
    pruned = engine.prune_images(all=every, filters=parsed.texts("filter"))
    if pruned.untagged or pruned.deleted:
        print("Deleted Images:")
    for name in pruned.untagged:
        print(f"untagged: {familiar(name)}")
    for digest in pruned.deleted:
        print(f"deleted: {digest}")
    print(f"Total reclaimed space: {human_size(pruned.reclaimed)}")
    return 0


PRUNE = Verb(
    name="image prune",
    summary=VERBS["image prune"][1],
    run=_prune,
    flags=(
        Flag(name="all", short="a", help="Also those with a name that no container stands on"),
        filter_flag(),
        Flag(name="force", short="f", help="Do not ask"),
    ),
    details="Blobs and layers that no image has any more go too.",
)
