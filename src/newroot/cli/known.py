"""What newroot's own files say of what the kernel shows: names for containers, layers, volumes.

The room ``observe`` reads the kernel and knows no store; here the two meet.
"""

from __future__ import annotations

import os

from newroot.errors import NotFound, UsageError
from newroot.linux.paths import EROFS_SUFFIX
from newroot.observe.engines import Containers, EngineContainer
from newroot.observe.overlay import Layer
from newroot.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.verbs import Context
    from newroot.container.records import Container
    from newroot.observe.table import SeenMount


def own_containers(context: Context) -> tuple[Container, ...]:
    """newroot's containers, running or not."""
    from newroot.container.records import containers
    from newroot.container.storage import ContainerStorage

    return containers(ContainerStorage(context.root, context.run_root))


def first_processes(context: Context) -> dict[int, EngineContainer]:
    """The first process of each of newroot's containers that run."""
    return {
        found.pid: EngineContainer(engine="newroot", id=found.id, name=found.name)
        for found in own_containers(context)
        if found.pid is not None
    }


def known_layers(context: Context) -> dict[str, Layer]:
    """Every unpacked layer, by its directory, with the images that it is part of."""
    from newroot.images.reference import familiar
    from newroot.images.store import ImageStore

    names: dict[str, list[str]] = {}
    for image in ImageStore(context.root).list():
        for path in image.layers:
            own = names.setdefault(path, [])
            if image.reference:
                own.append(familiar(image.reference))
    layers = {
        path: Layer(
            diff_id=f"sha256:{os.path.basename(path).removesuffix(EROFS_SUFFIX)}",
            images=tuple(images),
        )
        for path, images in names.items()
    }
    return {**layers, **{os.path.realpath(path): layer for path, layer in layers.items()}}


def with_layer_files(context: Context, seen: tuple[SeenMount, ...]) -> tuple[SeenMount, ...]:
    """The same mounts, where lower directories that are layers as EROFS are the layers' files.

    They are mounted out of everybody's sight (rootfs/root.py), but for their names.
    """
    from newroot.container.storage import ContainerStorage

    mounted = f"{ContainerStorage(context.root, context.run_root).mount_point}/erofs/"

    def file_of(path: str) -> str:
        if not path.startswith(mounted):
            return path
        return f"{context.root}/layers/{path.removeprefix(mounted)}{EROFS_SUFFIX}"

    return tuple(
        replace(one, overlay=replace(one.overlay, lower=tuple(map(file_of, one.overlay.lower))))
        if one.overlay is not None
        else one
        for one in seen
    )


def find_process(context: Context, word: str) -> int | str:
    """The process that *word* means: a number, ``host``, ``self``, or a container's first one.

    A container may be newroot's, or one of another engine's that the kernel shows.
    """
    from newroot.observe.table import host_pid

    if word == "host":
        return host_pid()
    if word == "self":
        return "self"
    if word.isascii() and word.isdigit() and os.path.exists(f"/proc/{word}"):
        return int(word)
    pid = _own_process(context, word)
    if pid is None:
        pid = _foreign_process(word)
    if pid is None:
        raise NotFound(
            f"no process or running container {word!r}",
            hint="newroot ns and newroot ps show what runs",
        )
    return pid


def _own_process(context: Context, word: str) -> int | None:
    from newroot.container.storage import ContainerStorage

    try:
        container_id = ContainerStorage(context.root, context.run_root).resolve(word)
    except NotFound:
        return None
    found = next((c for c in own_containers(context) if c.id == container_id), None)
    if found is None:
        return None
    if found.pid is None:
        raise UsageError(f"container {word} does not run, so the kernel has nothing of it to show")
    return found.pid


def _foreign_process(word: str) -> int | None:
    containers = Containers()
    first: dict[str, int] = {}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        found = containers.of(pid)
        if found is not None and (found.name == word or found.id.startswith(word)):
            first.setdefault(found.id, pid)
    if len(first) > 1 and word not in first:
        raise NotFound(f"{word} is the beginning of {len(first)} container ids")
    return first.get(word) or next(iter(first.values()), None)
