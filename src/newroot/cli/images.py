"""``newroot images``: Docker's columns for what is in the store."""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.output import LIST_FORMATS, age_of, human_size, print_json, print_table
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.images.store import Image

_NONE = "<none>"


def _images(parsed: Parsed, context: Context) -> int:
    from newroot.images.store import ImageStore

    images = [
        image
        for image in ImageStore(context.root).list()
        if all(_is_meant(image, pattern) for pattern in parsed.positionals)
    ]
    images.sort(key=lambda image: image.created or "", reverse=True)
    whole = parsed.is_set("no_trunc")
    if parsed.text("format") == "json":
        for image in images:
            print_json(_row(image, whole=whole))
    elif parsed.is_set("quiet"):
        # An image with several names has one ID.
        print("".join(f"{line}\n" for line in dict.fromkeys(_id(i, whole) for i in images)), end="")
    else:
        rows = [_row(image, whole=whole) for image in images]
        columns = ("Repository", "Tag", "ID", "CreatedSince", "Size")
        print_table(
            ("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"),
            [[row[column] for column in columns] for row in rows],
        )
    return 0


def _is_meant(image: Image, pattern: str) -> bool:
    """Whether ``REPOSITORY[:TAG]``, in the short or the whole form, means *image*."""
    from fnmatch import fnmatchcase

    from newroot.images.reference import familiar

    names = {image.reference, familiar(image.reference)} if image.reference else set()
    names |= {name.rpartition(":")[0] for name in names}
    return any(fnmatchcase(name, pattern) for name in names)


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


LIST = Verb(
    name="images",
    summary=VERBS["images"][1],
    run=_images,
    flags=(
        Flag(name="format", metavar="FORMAT", choices=LIST_FORMATS, help="How to print the list"),
        Flag(name="no-trunc", help="Print the IDs in full"),
        Flag(name="quiet", short="q", help="Print the IDs alone"),
    ),
    positionals=(Positional(name="REPOSITORY[:TAG]", optional=True, completes="image"),),
    details="An ID is the digest of the image's manifest; a size is that of its layers as stored.",
)
