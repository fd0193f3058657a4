"""``newroot version``: which newroot, on which Python and which kernel."""

from __future__ import annotations

from newroot.cli.flags import Flag, Verb
from newroot.cli.output import JSON_FORMAT, print_json
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context


def _version(parsed: Parsed, context: Context) -> int:
    import os
    import sys

    from newroot.version import VERSION

    kernel = os.uname()
    facts = {
        "Version": VERSION,
        "Python": ".".join(map(str, sys.version_info[:3])),
        "Kernel": kernel.release,
        "Arch": kernel.machine,
        "Root": context.root,
        "RunRoot": context.run_root,
    }
    if parsed.text("format") == "json":
        print_json(facts)
        return 0
    for name, value in facts.items():
        print(f"{name + ':':<9} {value}")
    return 0


VERSION = Verb(
    name="version",
    summary=VERBS["version"][1],
    run=_version,
    flags=(Flag(name="format", short="f", metavar="FORMAT", choices=JSON_FORMAT, help="How"),),
)
