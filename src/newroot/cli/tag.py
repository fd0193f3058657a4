"""``newroot tag``: one more name for an image."""

from __future__ import annotations

from newroot.cli.flags import Positional, Verb
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context


def _tag(parsed: Parsed, context: Context) -> int:
    from newroot.images.store import ImageStore

    source, target = parsed.positionals
    ImageStore(context.root).tag(source, target)
    return 0


TAG = Verb(
    name="tag",
    summary=VERBS["tag"][1],
    run=_tag,
    positionals=(
        Positional(name="IMAGE", completes="image"),
        Positional(name="NAME[:TAG]", completes="image"),
    ),
    details="An image that had the name loses it.",
)
