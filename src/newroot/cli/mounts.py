"""``newroot mounts``: what any process or container sees mounted: findmnt's tree, and more."""

from __future__ import annotations

import os

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.output import (
    LIST_FORMATS,
    cut,
    human_size,
    print_fitted,
    print_json,
    printable,
    terminal_width,
)
from newroot.cli.verbs import VERBS
from newroot.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.linux.mountinfo import Mount
    from newroot.observe.difference import Difference
    from newroot.observe.overlay import Layer
    from newroot.observe.table import SeenMount


def _mounts(parsed: Parsed, context: Context) -> int:
    from newroot.cli.known import find_process

    words = parsed.positionals
    modes = [word for word in _MODES if word and parsed.is_set(word)]
    if len(modes) > 1:
        raise UsageError(f"--{modes[0]} does not go with --{modes[1]}")
    if len(words) > 1 and not parsed.is_set("diff"):
        raise UsageError("newroot mounts shows one process", hint="--diff compares two")
    pids = [find_process(context, word) for word in words]
    try:
        return _MODES[modes[0] if modes else ""](pids, parsed, context)
    except (FileNotFoundError, ProcessLookupError):
        raise NotFound(f"no process {' or '.join(words)}: it has ended") from None


#: Options that the lines below an overlay say better.
_OVERLAY = ("lowerdir", "datadir", "upperdir=", "workdir=")

# ── the tree ─────────────────────────────────────────────────────────────────────────────────


def _tree(pids: list[int | str], parsed: Parsed, context: Context) -> int:
    from newroot.cli.known import known_layers, with_layer_files
    from newroot.observe.stores import foreign_layers
    from newroot.observe.table import mounts

    seen = with_layer_files(context, mounts(*pids))
    lowers = [path for mount in seen if mount.overlay for path in mount.overlay.lower]
    layers = {**foreign_layers(lowers), **known_layers(context)} if lowers else {}
    if parsed.text("format") == "json":
        print_json({"filesystems": nested(seen, layers)}, indent=2)
        return 0
    _print_tree(seen, layers, plain=parsed.is_set("plain"))
    return 0


def _print_tree(seen: tuple[SeenMount, ...], layers: dict[str, Layer], *, plain: bool) -> None:
    rows: list[tuple[str, ...] | str] = []
    stems = list(_stems([mount.depth for mount in seen]))
    for mount, (stem, below) in zip(seen, stems, strict=True):
        opened = _OVERLAY if mount.overlay is not None and not plain else ()
        target = stem + printable(mount.mount.mount_point)
        rows.append((target, *_columns(mount.mount, but=opened)))
        if not plain:
            rows += [f"{below}{line}" for line in _notes(mount, layers)]
    headings = ("TARGET", "SOURCE", "FSTYPE", "PROPAGATION", "OPTIONS")
    table = [headings, *(row for row in rows if not isinstance(row, str))]
    widths = [min(max(map(len, column)), 48) for column in zip(*table, strict=True)]
    width = terminal_width()
    for line in (headings, *rows):
        if not isinstance(line, str):
            line = "  ".join(cell.ljust(size) for cell, size in zip(line, widths, strict=True))
        print(cut(line.rstrip(), width))


def _columns(mount: Mount, *, but: tuple[str, ...] = ()) -> tuple[str, str, str, str]:
    source = printable(source_of(mount))
    options = printable(",".join(all_options(mount, but=but)))
    return source, mount.fstype, propagation_of(mount), options


def _notes(seen: SeenMount, layers: dict[str, Layer]) -> Iterator[str]:
    """What the table does not say: the lines below a mount."""
    from newroot.observe.overlay import find_layer

    if seen.hidden:
        yield "  (hidden: another mount lies over it)"
    if seen.origin is not None:
        yield f"  is {printable(seen.origin.path)} of the host{_proof(seen)}"
    if seen.overlay is not None:
        if seen.overlay.upper:
            yield f"  upper  {printable(seen.overlay.upper)}"
        if seen.overlay.work:
            yield f"  work   {printable(seen.overlay.work)}"
        for path in (*seen.overlay.lower, *seen.overlay.data_only):
            layer = find_layer(path, layers)
            yield f"  lower  {_layer_words(layer)}{printable(path)}"


def _layer_words(layer: Layer | None) -> str:
    if layer is None:
        return ""
    return f"{layer.diff_id[:19]}  {', '.join(layer.images) or 'of no image'}  "


def _proof(seen: SeenMount) -> str:
    origin = seen.origin
    assert origin is not None
    if origin.deleted:
        return ", and has been removed there"
    if not origin.proven:
        return ""
    dev = origin.dev or 0
    return f" (device {os.major(dev)}:{os.minor(dev)}, inode {origin.inode} on both sides)"


def _stems(depths: list[int]) -> Iterator[tuple[str, str]]:
    """The lines that lead to each row, and those that go on below it."""
    going_on: list[bool] = []  # at each depth from 1: does another of the same parent follow?
    follows = _follows(depths)
    for number, depth in enumerate(depths):
        below = "│" if number + 1 < len(depths) and depths[number + 1] > depth else " "
        if depth == 0:
            going_on = []
            yield "", below
            continue
        del going_on[depth - 1 :]
        above = "".join("│ " if more else "  " for more in going_on)
        yield (
            above + ("├─" if follows[number] else "└─"),
            above + ("│ " if follows[number] else "  ") + below,
        )
        going_on.append(follows[number])


def _follows(depths: list[int]) -> list[bool]:
    """Of each row, whether a later one has the same parent."""
    follows = []
    later: set[int] = set()
    for depth in reversed(depths):
        follows.append(depth in later)
        later = {other for other in later if other < depth} | {depth}
    return follows[::-1]


# ── what findmnt says of a mount, in its words ───────────────────────────────────────────────


def source_of(mount: Mount) -> str:
    """``/dev/sda1[/sub]``, as findmnt writes a mount of a part of a file system."""
    return mount.source + (f"[{mount.root}]" if mount.root != "/" else "")


def all_options(mount: Mount, *, but: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Those of the mount and of its file system as findmnt joins them: ``ro`` in one is ``ro``.

    Those that begin with one of *but* are left out.
    """
    both = (*mount.options, *mount.super_options)
    rest = (
        word for word in both if word not in ("ro", "rw") and not (but and word.startswith(but))
    )
    return ("ro" if mount.readonly else "rw", *rest)


def propagation_of(mount: Mount) -> str:
    """``shared:5,slave:2``: the kind, with the peer groups that make it so."""
    parts = []
    if mount.shared is not None:
        parts.append(f"shared:{mount.shared}")
    if mount.master is not None:
        parts.append(f"slave:{mount.master}")
    if mount.propagate_from is not None:
        parts.append(f"from:{mount.propagate_from}")
    return ",".join(parts) or mount.propagation


def nested(seen: tuple[SeenMount, ...], layers: dict[str, Layer]) -> list[dict[str, Any]]:
    """The tree in the form of ``findmnt --json``, with what we know beyond."""
    tops: list[dict[str, Any]] = []
    path: list[dict[str, Any]] = []
    for mount in seen:
        entry = as_json(mount, layers)
        del path[mount.depth :]
        if path:
            path[-1].setdefault("children", []).append(entry)
        else:
            tops.append(entry)
        path.append(entry)
    return tops


def as_json(seen: SeenMount, layers: dict[str, Layer]) -> dict[str, Any]:
    """One mount as ``--format json`` has it."""
    mount = seen.mount
    entry: dict[str, Any] = {
        "target": mount.mount_point,
        "source": source_of(mount),
        "fstype": mount.fstype,
        "options": ",".join(all_options(mount)),
        "propagation": mount.propagation,
        "id": mount.id,
        "parent": mount.parent,
        "device": f"{mount.dev[0]}:{mount.dev[1]}",
        "root": mount.root,
        "peerGroup": mount.shared,
        "receivesFrom": mount.master,
        "hidden": seen.hidden,
    }
    if seen.origin is not None:
        entry["hostPath"] = seen.origin.path
        entry["proven"] = seen.origin.proven
        entry["deleted"] = seen.origin.deleted
        entry["inode"] = seen.origin.inode
    if seen.overlay is not None:
        entry["overlay"] = {
            "upper": seen.overlay.upper,
            "work": seen.overlay.work,
            "lower": [_layer_json(path, layers) for path in seen.overlay.lower],
            "data": list(seen.overlay.data_only),
        }
    return entry


def _layer_json(path: str, layers: dict[str, Layer]) -> dict[str, Any]:
    from newroot.observe.overlay import find_layer

    layer = find_layer(path, layers)
    known = {"diffId": layer.diff_id, "images": list(layer.images)} if layer else {}
    return {"path": path, **known}


# ── the other views ──────────────────────────────────────────────────────────────────────────

_MARKS = {"a": "-", "b": "+", "differs": "~"}


def _diff(pids: list[int | str], parsed: Parsed, context: Context) -> int:
    from newroot.observe.difference import diff
    from newroot.observe.table import host_pid

    # One process is looked at from the host: what it has more is "+".
    a, b = pids if len(pids) == 2 else (host_pid(), pids[0] if pids else "self")
    found = diff(a, b)
    if parsed.text("format") == "json":
        print_json([_difference_json(entry) for entry in found], indent=2)
        return 0
    rows = [(_MARKS[entry.kind], entry.path, *_sides(entry)) for entry in found]
    names = tuple(parsed.positionals) if len(pids) == 2 else ("host", *parsed.positionals, "self")
    print_fitted(("", "TARGET", "FSTYPE", "SOURCE", f"- {names[0]}  + {names[1]}"), rows)
    return 0


def _sides(entry: Difference) -> tuple[str, str, str]:
    mount = entry.b or entry.a
    assert mount is not None
    if entry.a is None or entry.b is None:
        return mount.fstype, source_of(mount), ",".join(all_options(mount))
    words = []
    for field in entry.fields:
        was, now = (_field(side, field) for side in (entry.a, entry.b))
        words.append(f"{field}: {was} → {now}" if was != now else f"{field} differ")
    return mount.fstype, source_of(mount), "; ".join(words)


def _field(mount: Mount, field: str) -> str:
    values = {
        "files": f"{mount.dev[0]}:{mount.dev[1]}{mount.root}",
        "type": mount.fstype,
        "source": mount.source,
        "options": ",".join(mount.options),
        "file system options": ",".join(mount.super_options),
        "propagation": mount.propagation,
    }
    return values[field]


def _difference_json(entry: Difference) -> dict[str, Any]:
    from newroot.linux.mountinfo import format_mount

    return {
        "target": entry.path,
        "kind": entry.kind,
        "fields": list(entry.fields),
        "a": None if entry.a is None else format_mount(entry.a),
        "b": None if entry.b is None else format_mount(entry.b),
    }


def _df(pids: list[int | str], parsed: Parsed, context: Context) -> int:
    from newroot.observe.sizes import sizes

    found = sizes(pids[0] if pids else "self")
    if parsed.text("format") == "json":
        print_json([_size_json(mount, size) for mount, size in found], indent=2)
        return 0
    rows = [
        (
            source_of(mount),
            mount.fstype,
            *map(human_size, size[:3]),
            _percent(size),
            mount.mount_point,
        )
        for mount, size in found
    ]
    print_fitted(("SOURCE", "FSTYPE", "SIZE", "USED", "AVAIL", "USE%", "TARGET"), rows)
    return 0


def _percent(size: tuple[int, int, int]) -> str:
    """As df(1): of what is used and what may still be, rounded up."""
    _, used, available = size
    whole = used + available
    return f"{-(-100 * used // whole)}%" if whole else "-"


def _size_json(mount: Mount, size: tuple[int, int, int]) -> dict[str, Any]:
    names = ("size", "used", "avail")
    return {
        "target": mount.mount_point,
        "source": source_of(mount),
        "fstype": mount.fstype,
        **dict(zip(names, size, strict=True)),
    }


def _watch(pids: list[int | str], parsed: Parsed, context: Context) -> int:
    import sys

    from newroot.observe.follow import follow

    pid = pids[0] if pids else "self"
    os.stat(f"/proc/{pid}/mountinfo")  # before it is said that it is followed
    limit = parsed.text("timeout")
    timeout_s = None if limit is None else _seconds(limit)
    as_lines = parsed.text("format") == "json"
    for event in follow(pid, timeout_s=timeout_s):
        if as_lines:
            moved = {"before": event.before.mount_point} if event.action == "move" else {}  # type: ignore[union-attr]
            mount = event.mount
            print_json(
                {
                    "action": event.action,
                    "target": mount.mount_point,
                    "source": source_of(mount),
                    "fstype": mount.fstype,
                    "options": ",".join(all_options(mount)),
                    "propagation": mount.propagation,
                    **moved,
                }
            )
        else:
            words = (
                event.action.ljust(11),
                printable(event.mount.mount_point),
                *_columns(event.mount),
            )
            print("  ".join(words))
        sys.stdout.flush()
    return 0


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise UsageError(f"--timeout {text}: this is no number of seconds")
    return value


_MODES: dict[str, Callable[[list[int | str], Parsed, Context], int]] = {
    "": _tree,
    "diff": _diff,
    "df": _df,
    "watch": _watch,
}

MOUNTS = Verb(
    name="mounts",
    summary=VERBS["mounts"][1],
    run=_mounts,
    flags=(
        Flag(name="diff", help="Show only what two see differently: the host and one, or two"),
        Flag(name="df", help="Show how large each file system is and how full"),
        Flag(name="watch", short="w", help="Follow what is mounted, unmounted, moved, live"),
        Flag(name="timeout", metavar="SECONDS", help="End --watch when so long nothing changes"),
        Flag(name="plain", help="Only the table: open no overlay, trace no bind"),
        Flag(name="format", metavar="FORMAT", choices=LIST_FORMATS, help="How to print it"),
    ),
    positionals=(Positional(name="PID|CONTAINER", optional=True, repeat=True,
                            completes="container"),),
    usage="newroot mounts [OPTIONS] [PID|CONTAINER] | --diff [PID|CONTAINER|host]...",
    details=(
        "The mount table of a process, by default of this one, as a tree: each mount below the one "
        "it stands on. Below an overlay its upper, work and lower directories, and the image layer "
        "that each is; below a bind the path of the host that it shows, with the device and inode "
        "that prove it. PROPAGATION has the peer groups: mounts made in one member of shared:5 "
        "appear in all of it and in each slave:5.\n\n"
        "A container may be newroot's or another engine's; host is process 1. With --diff, - is "
        "what only the first has, + what only the second has, ~ what both have differently."
    ),
    examples=(
        ("what a container sees", "newroot mounts web"),
        ("what it sees that the host does not", "newroot mounts web --diff host"),
        ("what comes and goes on this host", "newroot mounts --watch"),
    ),
)  # fmt: skip
