"""``newroot-oci run``: create a container, start it, and stay with it until it has ended."""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.oci import making
from newroot.cli.oci.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext


def _run(parsed: Parsed, context: OciContext) -> int:
    detach = parsed.is_set("detach")
    container_id, bundle, wishes = making.read(parsed, context, detach=detach)
    if not detach:
        from newroot.container.oci_run import run

        return run(context.root, container_id, bundle, wishes, keep=parsed.is_set("keep"))
    from newroot.container.oci_create import create
    from newroot.container.oci_delete import delete
    from newroot.container.oci_start import start

    terminal = bool(bundle.config["process"].get("terminal"))
    container = create(context.root, container_id, bundle, wishes, making.detached_stdio(terminal))
    try:
        start(container, wishes.notify_socket)
    except BaseException:
        delete(container, force=True, warn=wishes.warn)
        raise
    return 0


RUN = Verb(
    name="run",
    summary=VERBS["run"][1],
    run=_run,
    flags=(
        *making.FLAGS,
        Flag(name="detach", short="d", help="Leave it alone once it is started"),
        Flag(name="keep", help="Keep its state when it has ended"),
        Flag(name="no-subreaper", help="Does nothing here: what is attended has a parent"),
    ),
    positionals=(Positional(name="ID"),),
)
