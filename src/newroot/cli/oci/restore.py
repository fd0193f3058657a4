"""``newroot-oci restore``: let a container go on from its checkpoint, by criu(8)."""

from __future__ import annotations

import os

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.oci import criu_flags, making
from newroot.cli.oci.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext


def _restore(parsed: Parsed, context: OciContext) -> int:
    from newroot.cli.oci.log import warn
    from newroot.container.bundle import read_bundle
    from newroot.container.names import check_container_id
    from newroot.container.oci_create import Wishes
    from newroot.container.oci_restore import restore

    detach, socket = parsed.is_set("detach"), parsed.text("console_socket")
    container_id = check_container_id(parsed.positionals[0])
    bundle = read_bundle(parsed.text("bundle") or ".")
    terminal = bool(bundle.config["process"].get("terminal"))
    making.check_terminal(terminal, detach=detach, socket=socket)
    wishes = Wishes(
        cgroup_manager=context.cgroup_manager,
        rootless=context.rootless,
        pid_file=parsed.text("pid_file"),
        console_socket=socket,
        warn=warn,
    )
    how = criu_flags.read(
        parsed,
        lsm_profile=parsed.text("lsm_profile"),
        lsm_mount_context=parsed.text("lsm_mount_context"),
    )
    pid = restore(context.root, container_id, bundle, context.criu, how, wishes)
    return 0 if detach else _attend(pid, context, container_id)


def _attend(pid: int, context: OciContext, container_id: str) -> int:
    """Wait for the first process, which criu made a child of ours; then remove what is left."""
    from newroot.cli.oci.log import warn
    from newroot.container.foreground import Signals
    from newroot.container.oci_delete import delete
    from newroot.container.oci_state import load

    with Signals(lambda number: os.kill(pid, number)):
        _, status = os.waitpid(pid, 0)
    delete(load(context.root, container_id), force=True, warn=warn)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


RESTORE = Verb(
    name="restore",
    summary=VERBS["restore"][1],
    run=_restore,
    flags=(
        making.BUNDLE,
        making.CONSOLE_SOCKET,
        making.PID_FILE,
        *criu_flags.FLAGS,
        Flag(name="detach", short="d", help="Leave it alone once it goes on"),
        Flag(name="tcp-close", help="With its TCP connections closed"),
        Flag(name="lsm-profile", metavar="TYPE:LABEL", help="Another label for its processes"),
        Flag(name="lsm-mount-context", metavar="LABEL", help="Another label for its mounts"),
        Flag(name="no-pivot", help="Does nothing here: criu enters the root"),
        Flag(name="no-subreaper", help="Does nothing here: what is attended has a parent"),
    ),
    positionals=(Positional(name="ID"),),
)
