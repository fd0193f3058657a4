"""``newroot images``: Docker's columns for what is in the store."""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.output import FORMAT, age_of, human_size, print_rows
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.images.store import Image

_NONE = "<none>"
#: heading -> key of the row, in the order in which docker images has them
_COLUMNS = {
    "REPOSITORY": "Repository",
    "TAG": "Tag",
    "IMAGE ID": "ID",
    "CREATED": "CreatedSince",
    "SIZE": "Size",
}


def _images(parsed: Parsed, context: Context) -> int:
    from newroot.images.filters import chosen, is_meant
    from newroot.images.store import ImageStore

    store = ImageStore(context.root)
    images = chosen(store, store.list(), parsed.texts("filter"))
    patterns = parsed.positionals
    images = [i for i in images if all(is_meant(i, pattern) for pattern in patterns)]
    images.sort(key=lambda image: image.created or "", reverse=True)
    whole = parsed.is_set("no_trunc")
    if parsed.is_set("quiet"):
        # An image with several names has one ID.
        print("".join(f"{line}\n" for line in dict.fromkeys(_id(i, whole) for i in images)), end="")
        return 0
    columns = dict(_COLUMNS)
    if parsed.is_set("digests"):
        columns = {"REPOSITORY": "Repository", "TAG": "Tag", "DIGEST": "Digest", **columns}
    print_rows(columns, [_row(image, whole=whole) for image in images], parsed.text("format"))
    return 0


def _row(image: Image, *, whole: bool) -> dict[str, str]:
    repository, tag = split_name(image.reference)
    return {
        "CreatedAt": image.created or "",
        "CreatedSince": age_of(image.created or ""),
        "Digest": image.digest,
        "ID": _id(image, whole),
        "Repository": repository,
        "Size": human_size(image.size),
        "Tag": tag,
    }


def split_name(reference: str) -> tuple[str, str]:
    """Repository and tag as Docker shows them: ``busybox`` and ``latest``, or ``<none>``."""
    from newroot.images.reference import familiar

    if not reference:
        return _NONE, _NONE
    name = familiar(reference).partition("@")[0]
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, _NONE)


def _id(image: Image, whole: bool) -> str:
    return image.digest if whole else image.digest.partition(":")[2][:12]


_FILTERS = (
    "Only those with dangling=true|false, label[!]=NAME[=VALUE], reference=PATTERN, before=IMAGE, "
    "since=IMAGE, until=TIME"
)


def filter_flag(short: str = "") -> Flag:
    """``--filter``, which Docker gives a letter in some verbs only."""
    return Flag(name="filter", short=short, metavar="NAME=VALUE", repeat=True, help=_FILTERS)


LIST = Verb(
    name="images",
    summary=VERBS["images"][1],
    run=_images,
    flags=(
        Flag(name="all", short="a", help="Taken for Docker's sake: no image is hidden"),
        Flag(name="digests", help="Show the digests in full too"),
        filter_flag("f"),
        FORMAT,
        Flag(name="no-trunc", help="Print the IDs in full"),
        Flag(name="quiet", short="q", help="Print the IDs alone"),
    ),
    positionals=(Positional(name="REPOSITORY[:TAG]", optional=True, completes="image"),),
    details="An ID is the digest of the image's manifest; a size is that of its layers as stored.",
)
