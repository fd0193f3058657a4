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


def _system(parsed: Parsed, context: Context) -> int:
    from newroot.images.reference import familiar
    from newroot.images.store import ImageStore
    from newroot.images.systems import bootstrap_system

    system, *name = parsed.positionals
    image = bootstrap_system(
        ImageStore(context.root),
        system,
        name[0] if name else None,
        mirror=parsed.text("mirror"),
        packages=[word for text in parsed.texts("include") for word in text.split(",") if word],
        variant=parsed.text("variant"),
        keyring=parsed.text("keyring"),
    )
    print(familiar(image.reference))
    return 0


SYSTEM = Verb(
    name="image bootstrap",
    summary=VERBS["image bootstrap"][1],
    run=_system,
    flags=(
        Flag(
            name="include",
            metavar="PACKAGES",
            repeat=True,
            help="Install these: for debian and ubuntu too, for the others instead of the base",
        ),
        Flag(name="keyring", metavar="FILE", completes="file", help="Check signatures with these"),
        Flag(
            name="mirror",
            metavar="URL",
            help="Where the packages are; for alpine a minirootfs file may be named",
        ),
        Flag(name="variant", metavar="NAME", help="What debian's tools make (minbase)"),
    ),
    positionals=(
        Positional(name="SYSTEM[:RELEASE]"),
        Positional(name="NAME", optional=True, completes="image"),
    ),
    details=(
        "SYSTEM is debian or ubuntu (by mmdebstrap or debootstrap), fedora, centos or rocky (by "
        "dnf), alpine (by apk, or of its minirootfs file), or busybox. With SOURCE_DATE_EPOCH set "
        "no time in the image is later."
    ),
    examples=(
        ("Debian", "newroot image bootstrap debian:bookworm"),
        ("a minirootfs", "newroot image bootstrap alpine --mirror alpine-minirootfs.tar.gz"),
    ),
)

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
