"""``newroot rm``: containers go, with what they wrote."""

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

    engine = Engine(context.root, run_root=context.run_root)
    force = parsed.is_set("force")

    def remove(name: str) -> None:
        try:
            engine.remove_container(name, force=force, with_volumes=parsed.is_set("volumes"))
        except NotFound:
            if not force:
                raise
            return
        print(name)

    return each(parsed.positionals, remove, debug=context.debug)


REMOVE = Verb(
    name="rm",
    summary=VERBS["rm"][1],
    run=_remove,
    flags=(
        Flag(
            name="force",
            short="f",
            help="Also one that runs, which is killed; do not mind one that is not there",
        ),
        Flag(name="volumes", short="v", help="Take its anonymous volumes along"),
    ),
    positionals=(Positional(name="CONTAINER", repeat=True, completes="container"),),
    details=(
        "CONTAINER is a name, an ID, or its unambiguous beginning. What the container wrote into "
        "its root goes with it; named volumes stay."
    ),
)
