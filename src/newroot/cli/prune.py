"""``newroot container prune`` and ``system prune``: what nobody needs is found and removed."""

from __future__ import annotations

import sys

from newroot.cli.end import engine_of
from newroot.cli.flags import Flag, Verb
from newroot.cli.output import confirm, human_size
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context


def _containers(parsed: Parsed, context: Context) -> int:
    if not _may(parsed, "This removes all containers that do not run."):
        return 0
    gone = engine_of(context).prune_containers(parsed.texts("filter"))
    _list("Deleted Containers", gone.ids)
    print(f"Total reclaimed space: {human_size(gone.reclaimed)}")
    return 0


def _system(parsed: Parsed, context: Context) -> int:
    what = ["all containers that do not run"]
    what += ["all anonymous volumes that no container uses"] if parsed.is_set("volumes") else []
    every = parsed.is_set("all")
    what += ["all images that no container stands on" if every else "all images without a name"]
    if not _may(parsed, f"This removes {', '.join(what)}."):
        return 0
    gone = engine_of(context).prune_system(
        all=every, volumes=parsed.is_set("volumes"), filters=parsed.texts("filter")
    )
    _list("Deleted Containers", gone.containers)
    _list("Deleted Volumes", gone.volumes)
    _list("Deleted Images", gone.images)
    print(f"Total reclaimed space: {human_size(gone.reclaimed)}")
    return 0


def _may(parsed: Parsed, question: str) -> bool:
    if parsed.is_set("force") or confirm(question):
        return True
    print("Nothing was removed.", file=sys.stderr)
    return False


def _list(heading: str, names: Sequence[str]) -> None:
    if names:
        print(f"{heading}:", *names, "", sep="\n")


_FILTER = Flag(
    name="filter",
    metavar="NAME=VALUE",
    repeat=True,
    help="Only what until=TIME or label[!]=NAME[=VALUE] lets through",
)
_FORCE = Flag(name="force", short="f", help="Do not ask")

CONTAINERS = Verb(
    name="container prune",
    summary=VERBS["container prune"][1],
    run=_containers,
    flags=(_FILTER, _FORCE),
    details="What was only created goes too. Volumes stay.",
)

SYSTEM = Verb(
    name="system prune",
    summary=VERBS["system prune"][1],
    run=_system,
    flags=(
        Flag(name="all", short="a", help="Also images that have a name"),
        _FILTER,
        _FORCE,
        Flag(name="volumes", help="Also the anonymous volumes that no container uses"),
    ),
)
