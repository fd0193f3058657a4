"""The mounts of an OCI config become steps: runtime-spec, config.md, Mounts.

The options of one mount are of four kinds: attributes of the mount (nosuid, and rnosuid for all
mounts below), propagation, words of mount(8) that choose the way (bind), and what is left belongs
to the file system.
"""

from __future__ import annotations

import os

from newroot.errors import SpecError, UsageError
from newroot.plan import steps as s
from newroot.plan.mountflags import ATTRIBUTES, PROPAGATIONS
from newroot.record import record

#: Options of a superblock: a bind, which shows one that is there, has no say in them: mount(2).
_SUPERBLOCK = frozenset(("sync", "dirsync", "lazytime", "mand", "acl", "noacl", "remount"))
#: The default of each; saying it changes nothing.
_NOTHING = frozenset(
    ("defaults", "async", "nomand", "noiversion", "iversion", "nolazytime", "loud", "silent")
)
#: File systems that show the kernel's state: where one of these goes, no symlink may lead.
_KERNEL = frozenset(("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"))
#: What a container may have in the place of the kernel's: files that tell of the machine, which
#: lxcfs and its like tell of the container instead.  runc, libcontainer/rootfs_linux.go.
_IN_PROC = frozenset(
    "/proc/" + name
    for name in (
        *("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo"),
        *("net/dev", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"),
    )
)
COPY_UP = "tmpcopyup"  #: of a tmpfs: it begins with what the root has at its place
_MOST_HELD = 64  #: plan.h, MAX_TREES
_PROPAGATIONS = frozenset((*PROPAGATIONS, *("r" + name for name in PROPAGATIONS)))
_RECURSIVE_ATTRIBUTES = {"r" + name: name for name in ATTRIBUTES}

_WHY = {
    "proc": "the processes of the new pid namespace, and nobody else's",
    "sysfs": "the devices of the new network namespace",
    "devpts": "terminals of its own",
    "mqueue": "the message queues of the new ipc namespace",
    "cgroup2": "its own cgroup, seen as the top",
    "cgroup": "its own cgroup, seen as the top",
    "tmpfs": "memory of its own, forgotten at the end",
}


@record
class Options:
    """A mount's options, told apart."""

    flags: tuple[str, ...] = ()
    recursive_flags: tuple[str, ...] = ()
    propagation: str | None = None
    bind: str | None = None  #: ``bind`` or ``rbind``
    idmap: str | None = None  #: ``idmap`` or ``ridmap``
    copy_up: bool = False
    data: tuple[str, ...] = ()


def option_names() -> tuple[str, ...]:
    """Every option that does not belong to a file system: what ``features`` tells of."""
    ways = {"bind", "rbind", "idmap", "ridmap", COPY_UP}
    flags = {*ATTRIBUTES, *_RECURSIVE_ATTRIBUTES, *_PROPAGATIONS}
    return tuple(sorted({*ways, *flags, *_SUPERBLOCK, *_NOTHING}))


def hold_steps(mounts: list[dict[str, object]]) -> tuple[s.Step, ...]:
    """What must be done before any mount is made a slave of the host's: hold the shared binds."""
    if len(shared_binds(mounts)) > _MOST_HELD:
        raise UsageError(f"more than {_MOST_HELD} mounts with the option shared")
    return tuple(
        s.HoldTree(
            source=str(mount.get("source")),
            place=place,
            recursive="bind" not in _strings(mount.get("options")),
            why="mounts made below it are to be seen on both sides",
        )
        for place, mount in enumerate(shared_binds(mounts))
    )


def shared_binds(mounts: list[dict[str, object]]) -> list[dict[str, object]]:
    """The binds with the option ``shared`` or ``rshared``."""
    found = []
    for mount in mounts:
        options = split_options(_strings(mount.get("options")))
        is_bind = options.bind is not None or mount.get("type") == "bind"
        if is_bind and options.propagation in ("shared", "rshared"):
            found.append(mount)
    return found


def _strings(options: object) -> list[str]:
    return [o for o in options if isinstance(o, str)] if isinstance(options, list) else []


def split_options(options: list[str]) -> Options:
    """Tell the kinds of *options* apart; later ones win."""
    flags: list[str] = []
    recursive: list[str] = []
    data: list[str] = []
    propagation = bind = idmap = None
    copy_up = False
    for option in options:
        if option in ("bind", "rbind"):
            bind = option
        elif option in ("idmap", "ridmap"):
            idmap = option
        elif option in _PROPAGATIONS:
            propagation = option
        elif option in ATTRIBUTES:
            flags.append(option)
        elif option in _RECURSIVE_ATTRIBUTES:
            recursive.append(_RECURSIVE_ATTRIBUTES[option])
        elif option == COPY_UP:
            copy_up = True
        elif option not in _NOTHING:
            data.append(option)
    return Options(
        flags=tuple(flags),
        recursive_flags=tuple(recursive),
        propagation=propagation,
        bind=bind,
        idmap=idmap,
        copy_up=copy_up,
        data=tuple(data),
    )


def mount_steps(
    mount: dict[str, object],
    pointer: str,
    bundle: str,
    scratch: str,
    place: int | None = None,
    idmap: str | None = None,
) -> tuple[s.Step, ...]:
    """The steps for one entry of ``mounts``.

    *bundle* is what a relative source is relative to; *scratch* the directory that vanishes with
    the container; *place* where ``hold_steps`` holds a shared bind's source; *idmap* a user
    namespace that its ids are mapped by.

    Raises SpecError with *pointer* when the entry is not what the specification allows.
    """
    target = destination(mount, pointer)
    options = split_options(_options(mount, pointer))
    type_ = str(mount.get("type") or ("bind" if options.bind else ""))
    source = str(mount.get("source") or type_)
    why = _WHY.get(type_, "")
    if options.bind or type_ == "bind":
        return _bind_steps(options, source, target, pointer, bundle, place, idmap)
    if idmap is not None or options.idmap:
        raise SpecError("only a bind mount has an id map", pointer=f"{pointer}/options")
    place_in_proc = _place_in_proc(target)
    if place_in_proc == "/proc" and type_ != "proc":
        raise SpecError(
            f"a mount of {type_} would stand in for what the kernel says of processes",
            pointer=f"{pointer}/destination",
        )
    if type_ == "overlay":
        return _overlay_steps(options, target, pointer, f"{scratch}/{pointer.rsplit('/', 1)[-1]}")
    if not type_:
        raise SpecError("a mount needs a type, or the option bind", pointer=f"{pointer}/type")
    like_target = type_ == "tmpfs" and not any(o.startswith("mode=") for o in options.data)
    made = s.MountFs(
        type=type_,
        source=source,
        target=target,
        options=(*options.data, "mode=1777") if like_target else options.data,
        in_proc=place_in_proc is not None,
        like_target=like_target,
        copy_up=options.copy_up and type_ == "tmpfs",
        # Nothing is below what is new: so these are set before it is put anywhere.
        flags=_at_first(target, options.flags + options.recursive_flags),
        make_target=True,
        no_symlinks=type_ in _KERNEL,
        why=why,
    )
    return (made, *_after(options, target))


def destination(mount: dict[str, object], pointer: str) -> str:
    """Where it goes; a relative path is below ``/``: config.md, Mounts."""
    return "/" + _text(mount, "destination", pointer).lstrip("/")


def _at_first(target: str, flags: tuple[str, ...]) -> tuple[str, ...]:
    """/dev is written to until all its nodes are made."""
    return tuple(flag for flag in flags if flag != "ro") if target == "/dev" else flags


def _place_in_proc(target: str) -> str | None:
    """/proc, or one of the files below it that may be hidden; None for any other target."""
    place = os.path.normpath(target)
    return place if place == "/proc" or place in _IN_PROC else None


def _bind_steps(
    options: Options,
    source: str,
    target: str,
    pointer: str,
    bundle: str,
    place: int | None,
    idmap: str | None,
) -> tuple[s.Step, ...]:
    if options.idmap and idmap is None:
        raise SpecError(f"the option {options.idmap} without a map", pointer=f"{pointer}/options")
    unknown = [option for option in options.data if option not in _SUPERBLOCK]
    if unknown:
        raise SpecError(f"a bind mount has no option {unknown[0]!r}", pointer=f"{pointer}/options")
    place_in_proc = _place_in_proc(target)
    bind = s.BindMount(
        source=source if source.startswith("/") else f"{bundle}/{source}",
        target=target,
        recursive=options.bind != "bind",
        flags=options.flags,
        recursive_flags=options.recursive_flags,
        propagation=options.propagation,
        make_target=True,
        place=place,
        idmap=idmap,
        recursive_idmap=options.idmap == "ridmap",
        in_proc=place_in_proc is not None,
        of_proc=place_in_proc == "/proc",
        why="what is bound before the old root goes, stays",
    )
    return (bind,)


def _overlay_steps(options: Options, target: str, pointer: str, scratch: str) -> tuple[s.Step, ...]:
    """An overlay of directories of the host, put together aside and then bound.

    Without an upper directory it is read-only; or, with x-newroot.throwaway, what is written is
    forgotten with the container.
    """
    layers = _Layers(options.data)
    if not layers.lower:
        raise SpecError("an overlay needs a lowerdir", pointer=f"{pointer}/options")
    upper, work = layers.upper, layers.work
    if layers.is_throwaway:
        upper, work = f"{scratch}/upper", f"{scratch}/work"
    made = (f"{scratch}/mount", *((upper, work) if layers.is_throwaway else ()))
    return (
        s.MakeDir(target=scratch, on_host=True, why="an overlay is put together here"),
        *(s.MakeDir(target=str(path), on_host=True) for path in made),
        s.MountOverlay(
            lower=layers.lower,
            upper=upper,
            work=work,
            target=f"{scratch}/mount",
            options=layers.others,
        ),
        s.BindMount(
            source=f"{scratch}/mount",
            target=target,
            flags=options.flags,
            propagation=options.propagation,
            make_target=True,
            why="the overlay, at its place in the root",
        ),
    )


THROWAWAY = "x-newroot.throwaway"  #: mount(8): what begins with x- is a comment for programs


class _Layers:
    """An overlay's options, told apart: Documentation/filesystems/overlayfs.rst."""

    def __init__(self, data: tuple[str, ...]) -> None:
        named = [option.partition("=") for option in data if option != THROWAWAY]
        lower = [value for key, _, value in named if key == "lowerdir"]
        self.lower = tuple(layer for value in lower for layer in _split_layers(value))
        self.upper = next((value for key, _, value in named if key == "upperdir"), None)
        self.work = next((value for key, _, value in named if key == "workdir"), None)
        self.is_throwaway = THROWAWAY in data and self.upper is None
        mine = ("lowerdir", "upperdir", "workdir")
        self.others = tuple(key + is_ + value for key, is_, value in named if key not in mine)


def _split_layers(value: str) -> list[str]:
    """The paths that colons divide; a backslash takes a colon's meaning away."""
    layers = [""]
    escaped = False
    for char in value:
        if escaped or char not in "\\:":
            layers[-1] += char
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            layers.append("")
    return [layer for layer in layers if layer]


def _after(options: Options, target: str) -> tuple[s.Step, ...]:
    propagation = options.propagation
    return (s.SetPropagation(target=target, propagation=propagation),) if propagation else ()


def _text(mount: dict[str, object], key: str, pointer: str) -> str:
    value = mount.get(key)
    if not isinstance(value, str) or not value:
        raise SpecError("expected a path", pointer=f"{pointer}/{key}")
    return value


def _options(mount: dict[str, object], pointer: str) -> list[str]:
    options = mount.get("options") or []
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise SpecError("expected a list of strings", pointer=f"{pointer}/options")
    return options
