"""``newroot-oci create``: make a container of a bundle, all but for its command."""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.oci import making
from newroot.cli.oci.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext


def _create(parsed: Parsed, context: OciContext) -> int:
    from newroot.container.oci_create import create

    container_id, bundle, wishes = making.read(parsed, context, detach=True)
    terminal = bool(bundle.config["process"].get("terminal"))
    create(context.root, container_id, bundle, wishes, making.detached_stdio(terminal))
    return 0


CREATE = Verb(
    name="create",
    summary=VERBS["create"][1],
    run=_create,
    flags=(*making.FLAGS, Flag(name="no-subreaper", help="Does nothing here, as with crun")),
    positionals=(Positional(name="ID"),),
)
