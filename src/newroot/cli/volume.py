"""``newroot volume create|ls|inspect|rm|prune|export|import``: Docker's flags and output; the last
two are podman's."""

from __future__ import annotations

import sys

from newroot.cli.failures import each
from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.output import FORMAT, confirm, print_facts, print_rows
from newroot.cli.verbs import VERBS
from newroot.container.labels import read_labels
from newroot.errors import UsageError
from newroot.rootfs.volume_filters import FOR_PRUNE, chosen
from newroot.rootfs.volumes import VolumeStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.rootfs.volumes import Volume


def _create(parsed: Parsed, context: Context) -> int:
    from newroot.rootfs.volume_options import parse_options

    if parsed.text("driver") not in (None, "local"):
        raise UsageError(f"unknown volume driver {parsed.text('driver')!r}", hint="there is local")
    name = parsed.positionals[0] if parsed.positionals else parsed.text("name")
    volume = VolumeStore(context.root).create(
        name,
        labels=dict(read_labels((), parsed.texts("label"))),
        options=parse_options(parsed.texts("opt")),
    )
    print(volume.name)
    return 0


def _list(parsed: Parsed, context: Context) -> int:
    store = VolumeStore(context.root)
    is_chosen = chosen(store, parsed.texts("filter"))
    volumes = [volume for volume in store.list() if is_chosen(volume)]
    if parsed.is_set("quiet"):
        for volume in volumes:
            print(volume.name)
    else:
        columns = {"DRIVER": "Driver", "VOLUME NAME": "Name"}
        print_rows(columns, [_row(volume) for volume in volumes], parsed.text("format"))
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
    print_facts(found, parsed.text("format"))
    return code


def _remove(parsed: Parsed, context: Context) -> int:
    store = VolumeStore(context.root)

    def remove(name: str) -> None:
        store.remove(name, missing_ok=parsed.is_set("force"))
        print(name)

    return each(parsed.positionals, remove, debug=context.debug)


def _prune(parsed: Parsed, context: Context) -> int:
    every = parsed.is_set("all")
    store = VolumeStore(context.root)
    is_chosen = chosen(store, parsed.texts("filter"), allowed=FOR_PRUNE)
    which = "all volumes" if every else "all anonymous volumes"
    if not parsed.is_set("force") and not confirm(f"This removes {which} that no container uses."):
        print("Nothing was removed.", file=sys.stderr)
        return 0
    removed = store.prune(every=every, chosen=is_chosen)
    if removed:
        print("Deleted Volumes:")
        print("\n".join(removed))
    return 0


def _export(parsed: Parsed, context: Context) -> int:
    from newroot.engine import Engine

    engine, path = Engine(context.root, run_root=context.run_root), parsed.text("output")
    if path in (None, "-"):
        if sys.stdout.isatty():
            raise UsageError("a tar would go to the terminal", hint="name a file: -o FILE")
        engine.export_volume(parsed.positionals[0], sys.stdout.buffer)
    else:
        engine.export_volume(parsed.positionals[0], str(path))
    return 0


def _import(parsed: Parsed, context: Context) -> int:
    from newroot.engine import Engine

    name, *source = parsed.positionals
    engine = Engine(context.root, run_root=context.run_root)
    engine.import_volume(name, source[0] if source and source[0] != "-" else sys.stdin.buffer)
    return 0


_VOLUMES = (Positional(name="VOLUME", repeat=True, completes="volume"),)
_FILTER = Flag(
    name="filter",
    short="f",
    metavar="NAME=VALUE",
    repeat=True,
    help="Show only those with this: name=, label=, label!=, dangling=true|false, driver=",
)

CREATE = Verb(
    name="volume create",
    summary=VERBS["volume create"][1],
    run=_create,
    flags=(
        Flag(name="label", metavar="NAME=VALUE", repeat=True, help="Note something about it"),
        Flag(
            name="opt",
            short="o",
            metavar="NAME=VALUE",
            repeat=True,
            help="Have it be something else than a directory: type=, device=, o=, size=",
        ),
        Flag(name="driver", short="d", metavar="NAME", help="Which driver; there is local"),
        Flag(name="name", metavar="VOLUME", help="Its name, as the argument says it"),
    ),
    positionals=(Positional(name="VOLUME", optional=True),),
    details=(
        "Without a name it is an anonymous one. A volume that is there already stays as it is.\n\n"
        "The options are those of docker's local driver, and of mount(8). What they name is "
        "mounted in each container that has the volume; so a tmpfs is each container's own."
    ),
    examples=(
        ("a tmpfs", "newroot volume create -o type=tmpfs -o size=64m cache"),
        (
            "a directory of the host",
            "newroot volume create -o type=none,device=/srv/www,o=bind www",
        ),
        (
            "a directory of a server",
            "newroot volume create -o type=nfs,device=:/export,o=addr=nas data",
        ),
    ),
)

LIST = Verb(
    name="volume ls",
    summary=VERBS["volume ls"][1],
    run=_list,
    flags=(_FILTER, FORMAT, Flag(name="quiet", short="q", help="Print the names alone")),
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
            help="Print json on one line, or a line for each, as '{Name} {Mountpoint}'",
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
    details="A volume that a container has is not removed, whether it runs or not.",
)

PRUNE = Verb(
    name="volume prune",
    summary=VERBS["volume prune"][1],
    run=_prune,
    flags=(
        Flag(name="all", short="a", help="Also those that somebody named"),
        Flag(
            name="filter",
            metavar="NAME=VALUE",
            repeat=True,
            help="Remove only those with this: label=, label!=",
        ),
        Flag(name="force", short="f", help="Do not ask"),
    ),
    details="Without --all only anonymous volumes are removed.",
)

EXPORT = Verb(
    name="volume export",
    summary=VERBS["volume export"][1],
    run=_export,
    flags=(
        Flag(
            name="output",
            short="o",
            metavar="FILE",
            completes="file",
            help="Write it there, not to standard output",
        ),
    ),
    positionals=(Positional(name="VOLUME", completes="volume"),),
)

IMPORT = Verb(
    name="volume import",
    summary=VERBS["volume import"][1],
    run=_import,
    positionals=(
        Positional(name="VOLUME", completes="volume"),
        Positional(name="FILE", optional=True, completes="file"),
    ),
    details=(
        "From standard input without FILE, or with -; plain or compressed. What is in the volume "
        "stays, but for what the tar has too. Owners are the tar's."
    ),
    examples=(("copy a volume", "newroot volume export old | newroot volume import new"),),
)
