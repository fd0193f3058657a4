"""``newroot-oci pause`` and ``resume``: stop a container's processes where they are, and let go."""

from __future__ import annotations

from newroot.cli.flags import Positional, Verb
from newroot.cli.oci.verbs import VERBS
from newroot.errors import WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext


def _pause(parsed: Parsed, context: OciContext) -> int:
    from newroot.container.oci_state import CREATED, RUNNING, load

    container = load(context.root, parsed.positionals[0])
    status = container.status()
    if status not in (CREATED, RUNNING):
        raise WrongStatus("container not running", status=status, wanted="created or running")
    container.cgroup().freeze()
    return 0


def _resume(parsed: Parsed, context: OciContext) -> int:
    from newroot.container.oci_state import PAUSED, load

    container = load(context.root, parsed.positionals[0])
    status = container.status()
    if status != PAUSED:
        raise WrongStatus("container not paused", status=status, wanted=PAUSED)
    container.cgroup().thaw()
    return 0


PAUSE = Verb(
    name="pause", summary=VERBS["pause"][1], run=_pause, positionals=(Positional(name="ID"),)
)
RESUME = Verb(
    name="resume", summary=VERBS["resume"][1], run=_resume, positionals=(Positional(name="ID"),)
)
