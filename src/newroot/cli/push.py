"""``newroot push``: an image to a registry."""

from __future__ import annotations

from newroot.cli.flags import Flag, Parsed, Positional, Verb
from newroot.cli.pull import CREDS_FLAG, REGISTRY_FLAGS, read_access
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.verbs import Context


def _push(parsed: Parsed, context: Context) -> int:
    from newroot.cli.transfer import Display
    from newroot.images.registry.push import push_image
    from newroot.images.store import ImageStore

    name = parsed.positionals[0]
    destination = parsed.positionals[1] if parsed.positionals[1:] else None
    with Display(destination or name, "Pushing", quiet=parsed.is_set("quiet")) as display:
        pushed = push_image(
            ImageStore(context.root), name, destination, access=read_access(parsed),
            on_progress=display.on_progress,
        )  # fmt: skip
    if not parsed.is_set("quiet"):
        print(f"{pushed.reference}: digest: {pushed.digest} size: {pushed.size}")
    return 0


PUSH = Verb(
    name="push",
    summary=VERBS["push"][1],
    run=_push,
    flags=(Flag(name="quiet", short="q", help="Print nothing"), CREDS_FLAG, *REGISTRY_FLAGS),
    positionals=(
        Positional(name="IMAGE", completes="image"),
        Positional(name="DESTINATION", optional=True),
    ),
    details=(
        "The image goes to where its name says, or to DESTINATION, with the digests that it has "
        "here. What the registry has already is not sent again."
    ),
    examples=(
        ("under its own name", "newroot push quay.io/me/app:1"),
        ("under another", "newroot push app --tls-verify=false localhost:5000/app:1"),
    ),
)
