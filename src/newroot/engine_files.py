"""Where a container's files become an image or an archive.

What a container shows is its upper on its layers.  Nothing is mounted to read them: linux/
merged_tree.py walks them by descriptor, so what the container wrote cannot lead anybody out.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager

from newroot.container.snapshots import SnapshotStore
from newroot.errors import ImageError, NotFound, StateError, UsageError
from newroot.images.commit import Commit, commit_image
from newroot.images.flat import source_date_epoch, timestamp
from newroot.images.instructions import changed
from newroot.images.pack import Packer, gathered
from newroot.linux.merged_tree import walk
from newroot.oci import json
from newroot.record import record
from newroot.rootfs.diff import DELETED, changes, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, BinaryIO

    from newroot.container.records import Container
    from newroot.container.storage import ContainerStorage
    from newroot.images.store import Image, ImageStore
    from newroot.rootfs.diff import Change

#: What newroot itself says in a container's environment: not the image's to keep.
_OWN_ENV = ("HOSTNAME", "HOME", "TERM")


@record
class Files:
    """Where a container's files are."""

    found: Container
    uppers: tuple[str, ...]  #: its own, and the sealed ones that it stands on; topmost first
    lower: tuple[str, ...]  #: the image's files, topmost first
    layers: tuple[str, ...]  #: its layers, which those are, or of which they are a copy
    config: dict[str, Any]  #: its config.json; empty when it has none
    ids: Callable[[int, int], tuple[int, int]] | None = None  #: owners, as the container has them

    @property
    def made(self) -> frozenset[bytes]:
        """Where something is mounted in it, from its root, without a slash before it."""
        mounts = self.config.get("mounts")
        targets = [m.get("destination") for m in mounts if isinstance(m, dict)] if mounts else []
        names = [os.fsencode(t.strip("/")) for t in targets if isinstance(t, str)]
        return frozenset(name for name in names if name)


def files_of(storage: ContainerStorage, name: str) -> Files:
    """Find a container's files.  Raises NotFound, and StateError when they are not on a disk."""
    from newroot.container.branch import settled
    from newroot.container.records import container

    container_id = storage.resolve(name)
    settled(storage, container_id)
    found = container(storage, container_id)
    if found is None:
        raise NotFound(f"no container {name}", hint="newroot ps -a shows all")
    directory = storage.directory(found.id)
    store = SnapshotStore(storage.root)
    sealed, base = store.split(found.lower)
    if found.status == "created":
        _make_upper(storage, found)
    if not found.lower or not os.path.isdir(f"{directory}/upper"):
        raise StateError(
            f"read the files of container {name}: it has no upper on the disk",
            hint="one that is thrown away at its end keeps what it writes in memory, and --rootfs "
            "DIR writes into DIR itself",
        )
    config = _config(f"{directory}/config.json")
    shifted = (storage.record(found.id).get("from") or {}).get("shifted")
    return Files(
        found=found,
        uppers=(f"{directory}/upper", *map(store.path, sealed)),
        lower=(str(shifted[-1]),) if shifted else base,
        layers=base,
        config=config,
        ids=_as_inside(config) if shifted else None,
    )


def _as_inside(config: dict[str, Any]) -> Callable[[int, int], tuple[int, int]]:
    """Owners of files that were shifted, as the container knows them."""
    from newroot.linux import idmap

    linux = config.get("linux") or {}
    uids, gids = (
        idmap.from_oci(linux.get(key), pointer=f"/linux/{key}")
        for key in ("uidMappings", "gidMappings")
    )

    def back(uid: int, gid: int) -> tuple[int, int]:
        found = idmap.to_container(uids, uid), idmap.to_container(gids, gid)
        return found[0] or 0, found[1] or 0

    return back


def _make_upper(storage: ContainerStorage, found: Container) -> None:
    """What was never started has changed nothing yet; its first start makes the same directory."""
    settings = storage.record(found.id).get("settings") or {}
    if found.lower and settings.get("upper") == "disk":
        os.makedirs(f"{storage.directory(found.id)}/upper", mode=0o755, exist_ok=True)


def _config(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(), what=path)
    except (OSError, UsageError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def opened(file: str | os.PathLike[str] | BinaryIO) -> Iterator[int]:
    """A descriptor to write an archive to; a path has it only when it is whole."""
    if not isinstance(file, (str, os.PathLike)):
        file.flush()
        yield file.fileno()
        return
    path = os.path.abspath(os.fspath(file))
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        kind = stat.S_IFREG
    if not stat.S_ISREG(kind):  # a fifo, a terminal, /dev/null: nothing to put beside
        with open(path, "wb", buffering=0) as there:
            yield there.fileno()
        return
    beside = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{os.getpid()}.new"
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(f"write {path}: {error.strerror}") from None
    try:
        yield fd
        os.rename(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
    finally:
        os.close(fd)


# ── diff and export ──────────────────────────────────────────────────────────────────────────


def diff(files: Files) -> list[tuple[str, str]]:
    """``A``, ``C`` or ``D``, and an absolute path, for everything the container has changed."""
    found = listed(changes(files.uppers, files.lower, made=files.made))
    return [(kind, "/" + os.fsdecode(path)) for kind, path in found]


def export(files: Files, fd: int) -> None:
    """Write the container's whole root as one flat tar to *fd*, which may be a pipe."""
    packer = Packer(what=f"container {files.found.id[:12]}", ids=files.ids)

    def members() -> Iterator[bytes]:
        for found in walk((*files.uppers, *files.lower)):
            yield from packer.file(found.path, found.parent, found.name, found.status)
        yield packer.end()

    for chunk in gathered(members()):
        view = memoryview(chunk)
        while view:
            view = view[os.write(fd, view) :]


# ── commit ───────────────────────────────────────────────────────────────────────────────────


def commit(
    store: ImageStore,
    files: Files,
    *,
    name: str | None,
    author: str | None,
    message: str | None,
    instructions: Sequence[str],
    paused: AbstractContextManager[object],
) -> Image:
    """See ``Engine.commit``."""
    base = base_image(store, files)
    epoch = source_date_epoch(os.environ)
    said = Commit(
        config=changed(_settings(base, files), instructions),
        created=timestamp(epoch),
        created_by=" ".join(files.found.command),
        author=author,
        message=message,
    )
    with paused:
        found = changes(files.uppers, files.lower, made=files.made)
        parts = layer_of(found, epoch=epoch, ids=files.ids)
        return commit_image(store, base, _reader(gathered(parts)), said, name=name)


def base_image(store: ImageStore, files: Files) -> Image:
    """The image that the container stands on: the one whose layers it has.

    Raises ImageError when it was removed.
    """
    for image in store.list():
        if image.layers == files.layers:
            return image
    raise ImageError(
        f"commit container {files.found.id[:12]}: the image it stands on "
        f"({files.found.source}) is not here any more",
        hint="newroot export CONTAINER | newroot import - NAME makes an image without it",
    )


def _settings(base: Image, files: Files) -> dict[str, Any]:
    """The image's settings with what the container was started with, as Docker keeps it."""
    config = dict(base.config.get("config") or {})
    command, entrypoint = list(files.found.command), list(config.get("Entrypoint") or [])
    if command[: len(entrypoint)] == entrypoint:
        config["Cmd"] = command[len(entrypoint) :]
    else:
        config.pop("Entrypoint", None)
        config["Cmd"] = command
    process = files.config.get("process")
    if isinstance(process, dict):
        env = [pair for pair in process.get("env") or [] if _name(pair) not in _OWN_ENV]
        own = [pair for pair in config.get("Env") or [] if _name(pair) in _OWN_ENV]
        if env or own:
            config["Env"] = env + own
        cwd = process.get("cwd")
        if cwd and cwd != (config.get("WorkingDir") or "/"):
            config["WorkingDir"] = cwd
    return config


def _name(pair: str) -> str:
    return pair.partition("=")[0]


def layer_of(
    found: Iterable[Change],
    *,
    epoch: int | None,
    ids: Callable[[int, int], tuple[int, int]] | None = None,
) -> Iterator[bytes]:
    """The tar of a layer that makes these changes."""
    packer = Packer(what="the container's changes", epoch=epoch, ids=ids)
    for change in found:
        if change.kind == DELETED:
            if not change.opaque:  # else its directory's mark hides it
                yield packer.whiteout(change.path)
            continue
        now = change.found
        if now.name.startswith(b".wh."):
            # It would be read as a mark that hides another file: image-spec, layer.md.
            raise ImageError(
                f"commit: {os.fsdecode(b'/' + now.path)!r}: no layer can hold a file whose name "
                "begins with '.wh.'",
                hint="rename or remove it in the container, or newroot export the container",
            )
        if change.anew:
            # Who unpacks over what is there would leave the old directory's attributes on it.
            yield packer.whiteout(change.path)
        yield from packer.file(now.path, now.parent, now.name, now.status)
        if change.opaque:
            yield packer.opaque(now.path)
    yield packer.end()


def _reader(chunks: Iterator[bytes]) -> Callable[[], bytes]:
    return lambda: next(chunks, b"")
