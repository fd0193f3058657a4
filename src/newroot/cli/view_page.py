"""What stands on the page of ``newroot view``: all that is read is read here, once."""

from __future__ import annotations

import os
import time
from functools import partial

from newroot.cli.known import find_process, known_layers, own_containers, with_layer_files
from newroot.cli.mounts import all_options, propagation_of, source_of
from newroot.cli.ns import user_name
from newroot.errors import UsageError
from newroot.observe.draw_layers import Slab, draw_layers
from newroot.observe.draw_mounts import draw_mounts
from newroot.observe.draw_namespaces import draw_namespaces, rows_of
from newroot.observe.draw_snapshots import Place, draw_snapshots
from newroot.observe.draw_start import draw_start
from newroot.observe.draw_volumes import Shared, Use, draw_volumes
from newroot.observe.drawing import in_bytes, plural
from newroot.observe.engines import EngineContainer
from newroot.observe.layers import contents
from newroot.observe.overlay import find_layer
from newroot.observe.page import Figure, Fold, Page, Section, Table
from newroot.observe.scan import census
from newroot.observe.stores import foreign_layers
from newroot.observe.table import host_pid, mounts
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from newroot.cli.verbs import Context
    from newroot.container.branch_tree import Branch
    from newroot.container.records import Container
    from newroot.observe.layers import LayerContent
    from newroot.observe.overlay import Layer
    from newroot.observe.scan import Census
    from newroot.observe.table import SeenMount

_MOST_CONTAINERS = 24  #: as many are drawn unless they are named


@record
class Shown:
    """A container that runs, and what it sees."""

    name: str
    engine: str
    about: str
    pid: int
    mounts: tuple[SeenMount, ...]


def compose(context: Context, chosen: tuple[str, ...], timeline: str | None) -> Page:
    """Read the host and lay the page out.  *chosen* are the containers to open, all when empty."""
    own = own_containers(context)
    known = {
        found.pid: EngineContainer(engine="newroot", id=found.id, name=found.name)
        for found in own
        if found.pid is not None
    }
    found = census(known=known)
    shown = tuple(_shown(context, chosen, found, own))
    seen_mounts = [mount for one in shown for mount in one.mounts if mount.overlay]
    lowers = [path for mount in seen_mounts if mount.overlay for path in mount.overlay.lower]
    layers = {**foreign_layers(lowers), **known_layers(context)}
    host = mounts(host_pid())
    seen = _Contents()
    sections = [_namespaces(found)]
    if shown:
        sections.append(_containers(shown, host, layers, seen))
    every = tuple(_shown(context, (), found, own)) if chosen else shown
    sections.append(_volumes(context, every, own))
    sections.append(_snapshots(context))
    if timeline is not None:
        sections.append(_start(timeline))
    return Page(
        title=os.uname().nodename,
        about=f"{os.uname().sysname} {os.uname().release}, {time.strftime('%Y-%m-%d %H:%M')}",
        facts=_facts(found, shown, host),
        sections=tuple(sections),
        notes=tuple(_notes(found)),
    )


def _facts(
    found: Census, shown: tuple[Shown, ...], host: tuple[SeenMount, ...]
) -> tuple[tuple[str, str], ...]:
    rows = [row for row in rows_of(found) if row.container]
    return (
        (str(len(rows)), "containers" if len(rows) != 1 else "container"),
        (str(len(found.namespaces)), "namespaces"),
        (str(found.processes), "processes"),
        (str(len(host)), "mounts on the host"),
    )


def _notes(found: Census) -> Iterator[str]:
    if found.unread:
        yield (
            f"The namespaces of {len(found.unread)} of {found.processes} processes were not to be "
            "seen: they belong to others, or may more than who made this page."
        )
    yield "Made by newroot view, from what the kernel says in /proc. Nothing was changed."


# ── namespaces ───────────────────────────────────────────────────────────────────────────────


def _namespaces(found: Census) -> Section:
    table = Table(
        headings=("Namespace", "Type", "Processes", "Users", "Container", "Owner", "Command"),
        rows=tuple(
            (
                str(namespace.id),
                namespace.type,
                str(len(namespace.processes)),
                ", ".join(map(user_name, namespace.users)),
                namespace.container.label if namespace.container else "",
                str(namespace.owner or ""),
                namespace.command,
            )
            for namespace in found.namespaces
        ),
    )
    return Section(
        id="namespaces",
        title="Namespaces",
        intro="What each container has to itself, what it shares, and what is the host's.",
        figures=(Figure(name="namespaces", draw=partial(draw_namespaces, found), table=table),),
    )


# ── containers ───────────────────────────────────────────────────────────────────────────────


def _shown(
    context: Context, chosen: tuple[str, ...], found: Census, own: tuple[Container, ...]
) -> Iterator[Shown]:
    images = {c.pid: c.source for c in own if c.pid is not None}
    named = {n.pid: n.container for n in found.namespaces if n.type == "mnt" and n.container}
    if chosen:
        pids = [_number(find_process(context, word)) for word in chosen]
    else:
        pids = [pid for pid in named if pid is not None][:_MOST_CONTAINERS]
    for pid in pids:
        container = named.get(pid)
        try:
            table = mounts(pid)
        except OSError:
            continue  # it has ended meanwhile
        engine = container.engine if container else ""
        yield Shown(
            name=container.label if container else f"process {pid}",
            engine=engine,
            about=" · ".join(filter(None, (engine, images.get(pid, ""), f"process {pid}"))),
            pid=pid,
            mounts=with_layer_files(context, table),
        )


def _number(pid: int | str) -> int:
    return os.getpid() if pid == "self" else int(pid)


class _Contents:
    """What layers hold, each stack looked through once: many containers stand on one."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], tuple[LayerContent, ...]] = {}

    def of(self, directories: tuple[str, ...]) -> tuple[LayerContent, ...]:
        if directories not in self._known:
            self._known[directories] = contents(directories)
        return self._known[directories]


def _containers(
    shown: tuple[Shown, ...],
    host: tuple[SeenMount, ...],
    layers: dict[str, Layer],
    seen: _Contents,
) -> Section:
    folds = tuple(
        Fold(
            title=one.name,
            about=one.about,
            open=number == 0,
            figures=(*_layers(one, layers, seen), _mounts(one, host)),
        )
        for number, one in enumerate(shown)
    )
    return Section(
        id="containers",
        title="Containers",
        intro="The root of each as a stack of layers, and its mounts beside the host's.",
        folds=folds,
    )


def _layers(one: Shown, layers: dict[str, Layer], seen: _Contents) -> Iterator[Figure]:
    top = next((mount for mount in one.mounts if mount.mount.mount_point == "/"), None)
    if top is None or top.overlay is None:
        return
    overlay = top.overlay
    below = seen.of(overlay.lower)
    slabs = [Slab(role="lower", content=c, layer=find_layer(c.path, layers)) for c in below]
    if overlay.upper is not None:
        # An upper in the container's own memory is reached by no path of the host.
        upper = contents((overlay.upper, *overlay.lower))[0]
        slabs.insert(0, Slab(role="upper", content=upper))
    rows = tuple(
        (
            slab.role,
            slab.layer.diff_id if slab.layer else slab.content.path,
            in_bytes(slab.content.size_bytes),
            *map(str, (slab.content.added, slab.content.replaced)),
            *map(str, (slab.content.deleted, slab.content.hidden)),
        )
        for slab in slabs
    )
    headings = ("Layer", "What", "Size", "Adds", "Replaces", "Deletes", "Hides")
    yield Figure(
        name="layers",
        draw=partial(draw_layers, one.name, tuple(slabs)),
        caption="Its root, layer by layer",
        table=Table(headings=headings, rows=rows),
    )


def _mounts(one: Shown, host: tuple[SeenMount, ...]) -> Figure:
    rows = tuple(
        (
            mount.mount.mount_point,
            source_of(mount.mount),
            mount.mount.fstype,
            propagation_of(mount.mount),
            mount.origin.path if mount.origin else "",
            ",".join(all_options(mount.mount)),
        )
        for mount in one.mounts
    )
    headings = ("Target", "Source", "Type", "Propagation", "On the host", "Options")
    return Figure(
        name="mounts",
        draw=partial(draw_mounts, one.name, host, one.mounts),
        caption="Its mounts beside the host's",
        table=Table(headings=headings, rows=rows),
    )


# ── snapshots ────────────────────────────────────────────────────────────────────────────────


def _snapshots(context: Context) -> Section:
    from newroot.container.branch_tree import branches
    from newroot.container.storage import ContainerStorage

    roots = tuple(map(_place, branches(ContainerStorage(context.root, context.run_root))))
    rows = tuple(
        (place.kind, place.name, place.about)
        for root in roots
        for place in root.walk()
        if place.kind != "image"
    )
    return Section(
        id="snapshots",
        title="Snapshots",
        intro="States of roots that were kept, and the containers that go on from them.",
        figures=(
            Figure(
                name="snapshots",
                draw=partial(draw_snapshots, roots),
                table=Table(headings=("Kind", "Name", "About"), rows=rows),
            ),
        ),
    )


def _place(node: Branch) -> Place:
    tags = ", ".join(f"{container}:{tag}" for container, tag in node.tags)
    about = [node.id[:12]] if node.id else []
    if node.kind == "snapshot":
        about += [f"{node.merged} in one"] if node.merged else []
        about.append(time.strftime("%Y-%m-%d %H:%M", time.localtime(node.created)))
    elif node.status:
        about.append(node.status)
    return Place(
        kind=node.kind,
        name=node.name if node.kind != "snapshot" else tags or f"of {node.name}",
        about=" · ".join(about),
        tagged=bool(tags),
        running=node.status in ("running", "paused", "restarting"),
        children=tuple(map(_place, node.children)),
    )


# ── volumes ──────────────────────────────────────────────────────────────────────────────────

#: What every container has of the host, which says nothing of it.
_USUAL = ("/dev/", "/proc/", "/sys/")


def _volumes(context: Context, shown: tuple[Shown, ...], own: tuple[Container, ...]) -> Section:
    from newroot.rootfs.volumes import VolumeStore

    paths = {v.mountpoint: v.name for v in VolumeStore(context.root).list()}
    uses: dict[str, list[Use]] = {path: [] for path in paths}
    for one in shown:
        for mount in one.mounts:
            path = _shared_path(mount)
            if path is not None:
                use = Use(
                    container=one.name,
                    target=mount.mount.mount_point,
                    readonly="ro" in mount.mount.options,
                )
                uses.setdefault(path, []).append(use)
    for found in own:
        if found.pid is None:
            for path, use in _ended(context, found):
                uses.setdefault(path, []).append(use)
    shared = tuple(
        Shared(
            name=paths.get(path) or os.path.basename(path) or path,
            kind="volume" if path in paths else "bind",
            path=path,
            uses=tuple(users),
        )
        for path, users in sorted(uses.items(), key=lambda item: (item[0] not in paths, item[0]))
    )
    rows = tuple(
        (s.name, s.kind, s.path, use.container, use.target, "ro" if use.readonly else "rw")
        for s in shared
        for use in s.uses
    )
    headings = ("Name", "Kind", "Path", "Container", "Target", "Mode")
    return Section(
        id="volumes",
        title="Volumes",
        intro="Directories that outlive containers, and who mounts them where.",
        figures=(
            Figure(
                name="volumes",
                draw=partial(draw_volumes, shared),
                table=Table(headings=headings, rows=rows),
            ),
        ),
    )


def _shared_path(mount: SeenMount) -> str | None:
    origin = mount.origin
    if origin is None or mount.overlay is not None or origin.deleted:
        return None
    if mount.mount.mount_point.startswith(_USUAL) or mount.mount.mount_point == "/":
        return None
    return None if origin.path.startswith(_USUAL) else origin.path


def _ended(context: Context, found: Container) -> Iterator[tuple[str, Use]]:
    """What a container that does not run would mount: its config.json says."""
    from newroot.oci import json

    name = found.name or found.id[:12]
    try:
        with open(f"{context.root}/containers/{found.id}/config.json", "rb") as file:
            config = json.loads(file.read(), what="config.json")
    except (OSError, UsageError):
        return
    for mount in config.get("mounts") or () if isinstance(config, dict) else ():
        source = str(mount.get("source", ""))
        options = mount.get("options") or ()
        bound = mount.get("type") == "bind" or "bind" in options or "rbind" in options
        usual = source.startswith((*_USUAL, f"{context.root}/mnt"))
        if bound and source.startswith("/") and not usual:
            use = Use(
                container=name,
                target=str(mount.get("destination", "")),
                readonly="ro" in options,
                running=False,
            )
            yield source, use


# ── a start ──────────────────────────────────────────────────────────────────────────────────


def _start(path: str) -> Section:
    import json

    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        times = tuple((str(s["words"]), int(s["duration_ns"])) for s in document["steps"])
        command = tuple(map(str, document["command"]))
    except (ValueError, TypeError, KeyError):
        raise UsageError(
            f"{path} is no timeline", hint="newroot run --timeline FILE.json … writes one"
        ) from None
    total = sum(took for _, took in times)
    return Section(
        id="timeline",
        title="A start",
        intro=f"{' '.join(command)}: {plural(len(times), 'step')} in {total / 1e6:.2f} ms.",
        figures=(
            Figure(
                name="timeline",
                draw=partial(draw_start, times, command),
                caption="Orange: a twentieth of the whole or more.",
            ),
        ),
    )
