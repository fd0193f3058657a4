"""``newroot rmi``: take names away, and images with their last name."""

from __future__ import annotations

from newroot.cli.failures import each
from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.verbs import VERBS
from newroot.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context


def _remove(parsed: Parsed, context: Context) -> int:
    from newroot.engine import Engine
    from newroot.images.reference import familiar

    engine = Engine(context.root, run_root=context.run_root)
    force = parsed.is_set("force")

    def remove(name: str) -> None:
        try:
            removed = engine.remove_image(name, force=force)
        except NotFound:
            if force:
                return
            raise
        for untagged in removed.untagged:
            print(f"Untagged: {familiar(untagged)}")
        for digest in removed.deleted:
            print(f"Deleted: {digest}")

    return each(parsed.positionals, remove, debug=context.debug)


REMOVE = Verb(
    name="rmi",
    summary=VERBS["rmi"][1],
    run=_remove,
    flags=(
        Flag(
            name="force",
            short="f",
            help="Also an image that containers stand on, whose layers then stay for them; do not "
            "mind one that is not there",
        ),
    ),
    positionals=(Positional(name="IMAGE", repeat=True, completes="image"),),
)
