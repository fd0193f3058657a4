"""``newroot-oci start``: execute the command of a created container."""

from __future__ import annotations

import os

from newroot.cli.flags import Positional, Verb
from newroot.cli.oci.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext


def _start(parsed: Parsed, context: OciContext) -> int:
    from newroot.container.oci_start import start
    from newroot.container.oci_state import load

    start(load(context.root, parsed.positionals[0]), os.environ.get("NOTIFY_SOCKET"))
    return 0


START = Verb(
    name="start", summary=VERBS["start"][1], run=_start, positionals=(Positional(name="ID"),)
)
