"""``newroot-oci ps``: a container's processes, as a list of ids or as ps shows them."""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.oci.verbs import VERBS
from newroot.errors import StateError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext


def _ps(parsed: Parsed, context: OciContext) -> int:
    from newroot.container.oci_state import load
    from newroot.oci.json import dumps

    container = load(context.root, parsed.positionals[0])
    if not container.cgroups:
        raise StateError(
            f"list the processes of {container.id}: it has no cgroup to find them by",
            hint="create it without --cgroup-manager disabled",
        )
    # An id that our pid namespace has not is none that a caller could use.
    pids = container.cgroup().processes()
    form = parsed.text("format") or "table"
    if form == "json":
        print(dumps(list(pids)))
        return 0
    if form != "table":
        raise UsageError("invalid format option", hint="there are table and json")
    from newroot.container.top import lines_of, ps

    for line in lines_of(ps(parsed.positionals[1:] or ("-ef",)), set(pids)):
        print(line)
    return 0


PS = Verb(
    name="ps",
    summary=VERBS["ps"][1],
    run=_ps,
    flags=(Flag(name="format", short="f", metavar="FORMAT", help="table or json"),),
    positionals=(Positional(name="ID"), Positional(name="PS-OPTION", optional=True, repeat=True)),
    stops_at_positional=True,
)
