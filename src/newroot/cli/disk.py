"""``newroot system df``: what images, containers and volumes take on the disk."""

from __future__ import annotations

from newroot.cli.end import engine_of
from newroot.cli.flags import Flag, Verb
from newroot.cli.images import split_name
from newroot.cli.output import FORMAT, age_of, human_age, human_size, print_rows, print_table
from newroot.cli.verbs import VERBS
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.engine_disk import DiskUsage

_COLUMNS = {
    "TYPE": "Type",
    "TOTAL": "TotalCount",
    "ACTIVE": "Active",
    "SIZE": "Size",
    "RECLAIMABLE": "Reclaimable",
}


def _df(parsed: Parsed, context: Context) -> int:
    if parsed.is_set("verbose") and parsed.text("format") is not None:
        raise UsageError("--format goes without --verbose")
    usage = engine_of(context).disk_usage()
    if parsed.is_set("verbose"):
        _print_all(usage)
    else:
        print_rows(_COLUMNS, _rows(usage), parsed.text("format"))
    return 0


def _rows(usage: DiskUsage) -> list[dict[str, str]]:
    idle = [use.size for use in usage.containers if not use.container.is_up]
    unused = [use.size for use in usage.volumes if not use.links]
    return [
        _row(
            "Images",
            len(usage.images),
            sum(use.containers > 0 for use in usage.images),
            usage.images_size,
            usage.images_reclaimable,
        ),
        _row(
            "Containers",
            len(usage.containers),
            len(usage.containers) - len(idle),
            sum(use.size for use in usage.containers),
            sum(idle),
        ),
        _row(
            "Local Volumes",
            len(usage.volumes),
            len(usage.volumes) - len(unused),
            sum(use.size for use in usage.volumes),
            sum(unused),
        ),
    ]


def _row(kind: str, count: int, active: int, size: int, reclaimable: int) -> dict[str, str]:
    share = f" ({100 * reclaimable // size}%)" if size else ""
    return {
        "Type": kind,
        "TotalCount": str(count),
        "Active": str(active),
        "Size": human_size(size),
        "Reclaimable": f"{human_size(reclaimable)}{share}",
    }


def _print_all(usage: DiskUsage) -> None:
    from time import time

    print("Images space usage:\n")
    print_table(
        ("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE",
         "CONTAINERS"),
        [
            (*split_name(u.image.reference), u.image.digest[7:19], age_of(u.image.created or ""),
             human_size(u.size), human_size(u.shared), human_size(u.size - u.shared),
             str(u.containers))
            for u in usage.images
        ],
    )  # fmt: skip
    print("\nContainers space usage:\n")
    print_table(
        ("CONTAINER ID", "IMAGE", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"),
        [
            (c.id[:12], c.source, str(sum(kind == "volume" for kind, _, _ in c.mounts)),
             human_size(u.size), f"{human_age(max(time() - c.created, 0))} ago", c.status,
             c.name or "")
            for u in usage.containers for c in (u.container,)
        ],
    )  # fmt: skip
    print("\nLocal Volumes space usage:\n")
    print_table(
        ("VOLUME NAME", "LINKS", "SIZE"),
        [(u.volume.name, str(u.links), human_size(u.size)) for u in usage.volumes],
    )


DF = Verb(
    name="system df",
    summary=VERBS["system df"][1],
    run=_df,
    flags=(FORMAT, Flag(name="verbose", short="v", help="Show each thing by itself")),
    details=(
        "Layers that images share are counted once. A container takes what it has written and its "
        "log."
    ),
)
