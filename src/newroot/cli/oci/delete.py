"""``newroot-oci delete``: remove what is left of a container, or of all whose ids match."""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.oci.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext


def _delete(parsed: Parsed, context: OciContext) -> int:
    from newroot.cli.oci.log import warn
    from newroot.container.oci_delete import delete
    from newroot.container.oci_state import load
    from newroot.errors import NotFound

    force = parsed.is_set("force")
    if parsed.is_set("regex"):
        return _delete_matching(parsed.positionals[0], context, force=force)
    try:
        container = load(context.root, parsed.positionals[0])
    except NotFound:
        if force:
            return 0  # what was asked for is so
        raise
    delete(container, force=force, warn=warn)
    return 0


def _delete_matching(pattern: str, context: OciContext, *, force: bool) -> int:
    from newroot.cli.oci.log import warn
    from newroot.cli.oci.matching import matching
    from newroot.container.oci_delete import delete

    for container in matching(context.root, pattern):
        delete(container, force=force, warn=warn)
    return 0


DELETE = Verb(
    name="delete",
    summary=VERBS["delete"][1],
    run=_delete,
    flags=(
        Flag(name="force", short="f", help="Also one that runs, which is killed"),
        Flag(name="regex", short="r", help="ID is a regular expression: remove all that match"),
    ),
    positionals=(Positional(name="ID"),),
)
