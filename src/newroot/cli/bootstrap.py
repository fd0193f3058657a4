"""``newroot image bootstrap``: images made of what the host has, without a registry."""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context


def _busybox(parsed: Parsed, context: Context) -> int:
    from newroot.images.bootstrap import bootstrap_busybox
    from newroot.images.reference import familiar
    from newroot.images.store import ImageStore

    name = parsed.positionals[0] if parsed.positionals else "busybox"
    program = parsed.text("busybox") or "/bin/busybox"
    image = bootstrap_busybox(ImageStore(context.root), name, program)
    print(familiar(image.reference))
    return 0


BUSYBOX = Verb(
    name="image bootstrap busybox",
    summary=VERBS["image bootstrap busybox"][1],
    run=_busybox,
    flags=(
        Flag(
            name="busybox",
            metavar="FILE",
            completes="file",
            help="Take this program, not /bin/busybox",
        ),
    ),
    positionals=(Positional(name="NAME", optional=True, completes="image"),),
    details="The package busybox-static of Debian and Ubuntu has one.",
)
