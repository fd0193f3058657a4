"""``newroot-oci checkpoint``: write a running container down, by criu(8)."""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.oci import criu_flags
from newroot.cli.oci.verbs import VERBS
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext


def _checkpoint(parsed: Parsed, context: OciContext) -> int:
    from newroot.cli.oci.log import warn
    from newroot.container.oci_checkpoint import checkpoint
    from newroot.container.oci_delete import delete
    from newroot.container.oci_state import load

    container = load(context.root, parsed.positionals[0])
    pre_dump = parsed.is_set("pre_dump")
    leave_running = parsed.is_set("leave_running")
    fd = parsed.text("status_fd")
    wishes = criu_flags.read(
        parsed,
        pre_dump=pre_dump,
        leave_running=leave_running,
        parent=parsed.text("parent_path"),
        page_server=_page_server(parsed.text("page_server")),
        status_fd=None if fd is None else _number(fd, "--status-fd"),
    )
    checkpoint(container, context.criu, wishes)
    if not (pre_dump or leave_running):
        delete(container, force=True, warn=warn)
    return 0


def _page_server(text: str | None) -> tuple[str, int] | None:
    if not text:
        return None
    address, colon, port = text.rpartition(":")
    if not (colon and address):
        raise UsageError("Use --page-server ADDRESS:PORT to specify page server")
    return address, _number(port, "--page-server")


def _number(text: str, flag: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"invalid value {text!r:.40} for {flag}: not a number")
    return int(text)


CHECKPOINT = Verb(
    name="checkpoint",
    summary=VERBS["checkpoint"][1],
    run=_checkpoint,
    flags=(
        *criu_flags.FLAGS,
        Flag(name="parent-path", metavar="DIR", help="An earlier one's, relative to the images"),
        Flag(name="leave-running", help="Let it run on afterwards"),
        Flag(name="pre-dump", help="Its memory alone, ahead of the whole; it runs on"),
        Flag(name="page-server", metavar="ADDRESS:PORT", help="Send its memory there"),
        Flag(name="status-fd", metavar="FD", help="Write a NUL byte there when lazy pages wait"),
        Flag(name="tcp-skip-in-flight", help="Leave TCP connections out that are not made yet"),
        Flag(name="link-remap", help="Also with files that have lost their names"),
    ),
    positionals=(Positional(name="ID"),),
)
