"""``newroot healthcheck run``: ask now whether a container is well, as its monitor does."""

from __future__ import annotations

from newroot.cli.flags import Positional, Verb
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context


def _run(parsed: Parsed, context: Context) -> int:
    from newroot.engine import Engine

    with Engine(context.root, run_root=context.run_root) as engine:
        if engine.check_health(parsed.positionals[0]):
            return 0
    print("unhealthy")
    return 1


HEALTHCHECK = Verb(
    name="healthcheck run",
    summary=VERBS["healthcheck run"][1],
    run=_run,
    positionals=(Positional(name="CONTAINER", completes="container"),),
    details=(
        "Its own command is run in it, that of newroot run --health-cmd or of its image, and what "
        "came of it is noted: newroot inspect shows the last five. The exit code is 0 when it was "
        "well and 1 when not. A detached container is asked so by its monitor, at its interval."
    ),
)
