"""``newroot volume create|ls|inspect|rm|prune``, with Docker's flags and output."""

from __future__ import annotations

import sys

from newroot.cli.failures import each
from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.output import JSON_FORMAT, LIST_FORMATS, confirm, print_json, print_table
from newroot.cli.verbs import VERBS
from newroot.container.labels import read_labels
from newroot.rootfs.volumes import VolumeStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.rootfs.volumes import Volume


def _create(parsed: Parsed, context: Context) -> int:
    labels = dict(read_labels((), parsed.texts("label")))
    name = parsed.positionals[0] if parsed.positionals else None
    print(VolumeStore(context.root).create(name, labels=labels).name)
    return 0


def _list(parsed: Parsed, context: Context) -> int:
    volumes = VolumeStore(context.root).list()
    if parsed.text("format") == "json":
        for volume in volumes:
            print_json(_row(volume))
    elif parsed.is_set("quiet"):
        for volume in volumes:
            print(volume.name)
    else:
        print_table(("DRIVER", "VOLUME NAME"), [("local", volume.name) for volume in volumes])
    return 0


def _row(volume: Volume) -> dict[str, str]:
    return {
        "Driver": "local",
        "Labels": ",".join(f"{name}={value}" for name, value in volume.labels),
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": "local",
    }


def _inspect(parsed: Parsed, context: Context) -> int:
    store = VolumeStore(context.root)
    found: list[dict[str, Any]] = []
    code = each(
        parsed.positionals,
        lambda name: found.append(store.get(name).inspect()),
        debug=context.debug,
    )
    print_json(found, indent=None if parsed.text("format") == "json" else 4)
    return code


def _remove(parsed: Parsed, context: Context) -> int:
    store = VolumeStore(context.root)

    def remove(name: str) -> None:
        store.remove(name, missing_ok=parsed.is_set("force"))
        print(name)

    return each(parsed.positionals, remove, debug=context.debug)


def _prune(parsed: Parsed, context: Context) -> int:
    every = parsed.is_set("all")
    which = "all volumes" if every else "all anonymous volumes"
    if not parsed.is_set("force") and not confirm(f"This removes {which} that no container uses."):
        print("Nothing was removed.", file=sys.stderr)
        return 0
    removed = VolumeStore(context.root).prune(every=every)
    if removed:
        print("Deleted Volumes:")
        print("\n".join(removed))
    return 0


_VOLUMES = (Positional(name="VOLUME", repeat=True, completes="volume"),)
_FORMAT_LIST = Flag(
    name="format", metavar="FORMAT", choices=LIST_FORMATS, help="How to print the list"
)

CREATE = Verb(
    name="volume create",
    summary=VERBS["volume create"][1],
    run=_create,
    flags=(Flag(name="label", metavar="NAME=VALUE", repeat=True, help="Note something about it"),),
    positionals=(Positional(name="VOLUME", optional=True),),
    details="Without a name it is an anonymous one. A volume that is there already stays as it is.",
)

LIST = Verb(
    name="volume ls",
    summary=VERBS["volume ls"][1],
    run=_list,
    flags=(_FORMAT_LIST, Flag(name="quiet", short="q", help="Print the names alone")),
)

INSPECT = Verb(
    name="volume inspect",
    summary=VERBS["volume inspect"][1],
    run=_inspect,
    flags=(
        Flag(
            name="format",
            short="f",
            metavar="FORMAT",
            choices=JSON_FORMAT,
            help="Print it on one line",
        ),
    ),
    positionals=_VOLUMES,
)

REMOVE = Verb(
    name="volume rm",
    summary=VERBS["volume rm"][1],
    run=_remove,
    flags=(Flag(name="force", short="f", help="Do not mind a volume that is not there"),),
    positionals=_VOLUMES,
    details="A volume that a container mounts is not removed.",
)

PRUNE = Verb(
    name="volume prune",
    summary=VERBS["volume prune"][1],
    run=_prune,
    flags=(
        Flag(name="all", short="a", help="Also those that somebody named"),
        Flag(name="force", short="f", help="Do not ask"),
    ),
    details="Without --all only anonymous volumes are removed.",
)
