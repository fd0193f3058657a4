"""``newroot top``: the processes of a container, as ps(1) shows them."""

from __future__ import annotations

from newroot.cli.end import engine_of
from newroot.cli.flags import Positional, Verb
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context


def _top(parsed: Parsed, context: Context) -> int:
    name, *arguments = parsed.positionals
    print("\n".join(engine_of(context).top(name, arguments or ["-ef"])))
    return 0


TOP = Verb(
    name="top",
    summary=VERBS["top"][1],
    run=_top,
    positionals=(
        Positional(name="CONTAINER", completes="container"),
        Positional(name="PS-OPTION", optional=True, repeat=True),
    ),
    usage="newroot top CONTAINER [PS-OPTION...]",
    stops_at_positional=True,
    details=(
        "The options are those of this host's ps, without them -ef; PID must be among the columns. "
        "Process IDs are the host's."
    ),
)
