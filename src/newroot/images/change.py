"""Changing the store: everything beside and whole, then one rename of index.json.

    with Change(store) as change:
        blob = change.new_blob(); blob.write(…); change.publish_blob(blob, digest)
        layer = change.new_layer(); …unpack…;    change.publish_layer(layer, diff_id)
        change.commit(lambda entries: give_name(entries, manifest, name))

Blobs and layers are named by their content, so publishing one early harms nobody and lets another
process use it at once; only commit makes an image visible.  A change that fails takes back what it
published, unless an image of somebody else has come to need it, under the same lock that commit
takes; and commit looks, under that lock, whether all that it relies on is still there.

Locks are flock(2): ``images/`` itself while the index changes; every staged file or directory while
its maker lives, so leftovers of a killed process are told by their lock being free; and ``layers/``
shared while a change goes on, so that nobody takes what it has published for an orphan.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import time
from contextlib import contextmanager

from newroot.errors import ImageError, StateError, UsageError
from newroot.images.pairs import Pairs
from newroot.images.staged import (
    LayerLock,
    Partial,
    Staged,
    is_at,
    make_locked,
    named_errors,
    unlink,
)
from newroot.images.store import Removed, descriptor_of, name_of
from newroot.linux.durable import fsync_directory
from newroot.linux.paths import EROFS_SUFFIX
from newroot.oci import json
from newroot.oci.image import (
    INDEX,
    INDEXES,
    LAYOUT_VERSION,
    REF_NAME,
    Descriptor,
    read_diff_ids,
    read_manifest,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from typing import Any, Self

    from newroot.images.store import ImageStore

    Entries = list[dict[str, Any]]

_NEW = ".new-"
_OLD = ".old-"
_LOCK = ".lock-"
_PARTIAL = ".partial-"
_PARTIAL_KEPT_S = 7 * 24 * 3600
#: What the names of things begin with that are on their way, in or out
STAGED = (_NEW, _OLD, _LOCK)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Change:
    """One change to the store, all or nothing."""

    def __init__(self, store: ImageStore, *, sweep: bool = True) -> None:
        self._store = store
        self._sweeps = sweep
        self._staged: list[Staged] = []
        self._published: list[str] = []
        self._relied_on: list[str] = []
        self._committed = False
        self._going_on = -1
        self.pairs = Pairs(store)

    def __enter__(self) -> Self:
        with named_errors("open the image store", self._store.root):
            make_layout(self._store)
            if self._sweeps:
                with locked(self._store.images):
                    _sweep(self._store)
            self._going_on = os.open(self._store.layers, _DIRECTORY)
            fcntl.flock(self._going_on, fcntl.LOCK_SH)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._leave()
        finally:
            os.close(self._going_on)

    def _leave(self) -> None:
        for staged in self._staged:
            staged.discard()
        if self._published and not self._committed:
            with locked(self._store.images):
                self._take_back()

    # ── blobs ────────────────────────────────────────────────────────────────────────────────

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there already; then commit relies on it."""
        path = self._store.blob_path(descriptor.digest)
        try:
            there = os.stat(path).st_size == descriptor.size
        except FileNotFoundError:
            return False
        if there:
            self._relied_on.append(path)
        return there

    def new_blob(self) -> Staged:
        """An empty file to write a blob to."""
        return self._stage(self._store.images, directory=False)

    def partial_blob(self, digest: str) -> Partial:
        """A file to write a blob to that an interrupted maker leaves, standing at its end."""
        path = f"{self._store.images}/{_PARTIAL}{digest[7:]}"
        with named_errors("make room", path):
            while True:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    # Somebody fetches the same for another layer: no waiting with a lock in hand.
                    os.close(fd)
                    path = f"{path}-{secrets.token_hex(8)}"
                    continue
                if is_at(fd, path):
                    break
                os.close(fd)
            os.lseek(fd, 0, os.SEEK_END)
        partial = Partial(path, fd)
        self._staged.append(partial)
        return partial

    def publish_blob(self, blob: Staged, digest: str) -> None:
        """Give a whole, verified blob its name."""
        path = self._store.blob_path(digest)
        with named_errors("write a blob", path):
            os.fchmod(blob.fd, 0o644)
            os.fsync(blob.fd)
            existed = os.path.exists(path)
            os.rename(blob.path, path)
        (self._relied_on if existed else self._published).append(path)
        blob.close()

    def write_blob(self, data: bytes, media_type: str) -> Descriptor:
        """Store a small blob: a config, a manifest."""
        import hashlib

        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        descriptor = Descriptor(media_type=media_type, digest=digest, size=len(data))
        if not self.has_blob(descriptor):
            blob = self.new_blob()
            blob.write(data)
            self.publish_blob(blob, digest)
        return descriptor

    # ── layers ───────────────────────────────────────────────────────────────────────────────

    def has_layer(self, diff_id: str) -> bool:
        """Whether the layer is unpacked already; then commit relies on it."""
        path = self._store.layer_path(diff_id)
        if not os.path.exists(path):
            return False
        self._relied_on.append(path)
        return True

    def new_layer(self, *, like: str | None = None) -> Staged:
        """An empty directory to unpack a layer into, or an empty file to write it to.

        As the store is told, or as the layer at *like* is.
        """
        erofs = _writes_erofs(self._store) if like is None else like.endswith(EROFS_SUFFIX)
        if erofs:
            return self._stage(self._store.layers, directory=False, suffix=EROFS_SUFFIX)
        return self._stage(self._store.layers, directory=True)

    def publish_layer(self, layer: Staged, diff_id: str) -> None:
        """Give a whole, verified layer its name."""
        path = f"{self._store.layers}/{diff_id[7:]}"
        with named_errors("write a layer", path):
            # After a power loss a name must not stand for half a layer.  One syncfs(2) is far
            # cheaper than an fsync(2) of each of 15,000 files.
            if layer.is_directory:
                _syncfs(layer.fd)
            else:
                path += EROFS_SUFFIX
                os.fchmod(layer.fd, 0o644)
                os.fsync(layer.fd)
            if self.has_layer(diff_id):
                layer.discard()
                return
            try:
                os.rename(layer.path, path)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                self._relied_on.append(path)
                layer.discard()
                return
        self._published.append(path)
        layer.close()

    @contextmanager
    def unpacking(self, diff_id: str) -> Iterator[LayerLock]:
        """Hold the right to unpack one layer, so that of many processes one does the work."""
        lock = LayerLock(f"{self._store.layers}/{_LOCK}{diff_id[7:]}")
        lock.acquire()
        try:
            yield lock
        finally:
            lock.release()

    # ── the index ────────────────────────────────────────────────────────────────────────────

    def commit(self, update: Callable[[Entries], None], *, anew: bool = False) -> None:
        """Change the index, and with that make everything visible at once.

        With *anew* the old index is not read.
        """
        with locked(self._store.images):
            relied_on = self._relied_on + self._published
            gone = {path for path in relied_on if not os.path.exists(path)}
            if gone:
                # What is missing may come again, and the commit be tried again.
                self._relied_on = [path for path in self._relied_on if path not in gone]
                self._published = [path for path in self._published if path not in gone]
                raise ImageError(
                    f"change the image store: {min(gone)} was removed by somebody meanwhile",
                    hint="try again",
                )
            with named_errors("write the index", self._store.images):
                if self._published:
                    fsync_directory(f"{self._store.images}/blobs/sha256")
                    fsync_directory(self._store.layers)
                entries = [] if anew else self._store.entries()
                update(entries)
                _write_index(self._store, entries)
            self._committed = True

    def _stage(self, directory_path: str, *, directory: bool, suffix: str = "") -> Staged:
        path = f"{directory_path}/{_NEW}{secrets.token_hex(8)}{suffix}"
        with named_errors("make room", path):
            staged = make_locked(path, directory=directory)
        self._staged.append(staged)
        return staged

    def _take_back(self) -> None:
        needed = reachable(self._store)
        for path in self._published:
            if path not in needed:
                remove_path(path)


def give_name(
    entries: Entries,
    descriptor: Descriptor,
    name: str | None,
    *,
    annotations: Mapping[str, str] | None = None,
) -> None:
    """Let *name* mean *descriptor*; an image that had the name stays, without it.

    *annotations*, when given, are what else is written beside the name.
    """
    digest = descriptor.digest
    if name is not None:
        for entry in [e for e in entries if name_of(e) == name]:
            if entry.get("digest") == digest:
                if annotations is not None:
                    entry["annotations"] = {**annotations, REF_NAME: name}
                return
            named_elsewhere = [
                e for e in entries if e is not entry and e.get("digest") == entry.get("digest")
            ]
            if named_elsewhere:
                entries.remove(entry)
            else:
                del entry["annotations"][REF_NAME]
    same = [e for e in entries if e.get("digest") == digest]
    if name is None and same:
        return
    nameless = [e for e in same if name_of(e) is None]
    entry = nameless[0] if nameless else descriptor.document()
    if name is not None:
        kept = (entry.get("annotations") or {}) if annotations is None else annotations
        entry["annotations"] = {**kept, REF_NAME: name}
    if not nameless:
        entries.append(entry)


def remove_image(store: ImageStore, name: str, *, keep_layers: Collection[str]) -> Removed:
    """See ``ImageStore.remove``."""
    if not os.path.isdir(store.images):
        raise store.not_found(name)
    with locked(store.images), named_errors("remove an image", store.images):
        entries = store.entries()
        entry = store.find_entry(entries, name)
        if entry is None:
            raise store.not_found(name)
        same = [e for e in entries if e.get("digest") == entry.get("digest")]
        names = [found for e in same if (found := name_of(e)) is not None]
        if len(names) > 1 and _is_id(name, entry):
            raise StateError(
                f"remove image {name!r}: it has several names: {', '.join(names)}",
                hint="remove it by its names",
            )
        entries.remove(entry)
        untagged = tuple(n for n in [name_of(entry)] if n)
        if len(same) > 1:
            _write_index(store, entries)
            return Removed(untagged=untagged, deleted=())
        ours = _parts(store, entry)
        _write_index(store, entries)
        doomed = ours - reachable(store) - {os.path.abspath(path) for path in keep_layers}
        # Out of the way under the lock, which is quick; taken apart after it, which may not be.
        old = [moved for path in sorted(doomed) if (moved := move_away(path))]
    for path in old:
        remove_path(path)
    return Removed(untagged=untagged, deleted=(str(entry.get("digest")),))


def reachable(store: ImageStore) -> set[str]:
    """Paths of every blob and layer that some image needs."""
    found: set[str] = set()
    for entry in store.entries():
        found |= _parts(store, entry)
    return found


def _parts(store: ImageStore, entry: dict[str, Any]) -> set[str]:
    """Paths that one image needs, as far as it can be read."""
    from newroot.errors import NewrootError

    found: set[str] = set()
    try:
        descriptor = descriptor_of(entry)
        found.add(store.blob_path(descriptor.digest))
        document = store.document(descriptor, "an image")
        if descriptor.media_type in INDEXES:
            for child in document.get("manifests") or []:
                found |= _parts(store, child)
            return found
        manifest = read_manifest(document)
        found.add(store.blob_path(manifest.config.digest))
        found.update(store.blob_path(layer.digest) for layer in manifest.layers)
        config = store.document(manifest.config, "an image's config")
        found.update(store.layer_path(diff_id) for diff_id in read_diff_ids(config))
    except (NewrootError, AttributeError):
        pass  # what cannot be read names nothing
    return found


def _is_id(name: str, entry: dict[str, Any]) -> bool:
    found = name_of(entry)
    digits = name.removeprefix("sha256:")
    return found is None or str(entry.get("digest")).startswith(f"sha256:{digits}")


# ── files ────────────────────────────────────────────────────────────────────────────────────


def make_layout(store: ImageStore) -> None:
    """Make an empty store where there is none."""
    if os.path.exists(f"{store.images}/index.json") and os.path.isdir(store.layers):
        return
    os.makedirs(f"{store.images}/blobs/sha256", exist_ok=True)
    # Below are set-user-ID programs that belong to images, not to this host's users:
    # CVE-2021-41091.
    os.makedirs(store.layers, mode=0o700, exist_ok=True)
    with locked(store.images):
        if not os.path.exists(f"{store.images}/oci-layout"):
            layout = json.dumps({"imageLayoutVersion": LAYOUT_VERSION})
            _write_beside(f"{store.images}/oci-layout", layout.encode())
        if not os.path.exists(f"{store.images}/index.json"):
            _write_index(store, [])


def _writes_erofs(store: ImageStore) -> bool:
    """Whether new layers are EROFS files: asked for, and seen to work here."""
    if store.layers_as not in ("directories", "erofs"):
        raise UsageError(
            f"keep layers as {store.layers_as!r}: they are directories or erofs",
            hint="--layers and NEWROOT_LAYERS say which",
        )
    if store.layers_as == "directories" or store.erofs_refused is not None:
        return False
    from newroot.linux.erofs import why_not

    store.erofs_refused = why_not(store.layers)
    return store.erofs_refused is None


def _write_index(store: ImageStore, entries: Entries) -> None:
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    _write_beside(f"{store.images}/index.json", json.dumps(document).encode())


def _write_beside(path: str, data: bytes) -> None:
    """Replace a file by a whole new one, for good."""
    directory = os.path.dirname(path)
    staged = make_locked(f"{directory}/{_NEW}{secrets.token_hex(8)}", directory=False)
    try:
        staged.write(data)
        os.fchmod(staged.fd, 0o644)
        os.fsync(staged.fd)
        os.rename(staged.path, path)
    except BaseException:
        staged.discard()
        raise
    staged.close()
    fsync_directory(directory)


def _sweep(store: ImageStore) -> None:
    """Remove what killed processes left: everything staged whose lock is free."""
    for directory in (store.images, store.layers):
        for name in os.listdir(directory):
            if name.startswith((_NEW, _OLD, _LOCK)):
                _sweep_one(f"{directory}/{name}")
            elif name.startswith(_PARTIAL) and _is_old(f"{directory}/{name}"):
                _sweep_one(f"{directory}/{name}")


def _is_old(path: str) -> bool:
    try:
        return time.time() - os.stat(path).st_mtime > _PARTIAL_KEPT_S
    except FileNotFoundError:
        return False


def _sweep_one(path: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_at(fd, path):
            remove_path(path)
    except BlockingIOError:
        pass  # its maker lives
    finally:
        os.close(fd)


def move_away(path: str) -> str | None:
    directory = os.path.dirname(path)
    if os.path.basename(directory) == "sha256":
        directory = os.path.dirname(os.path.dirname(directory))
    moved = f"{directory}/{_OLD}{secrets.token_hex(8)}"
    try:
        os.rename(path, moved)
    except FileNotFoundError:
        return None
    return moved


def remove_path(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        unlink(path)


@contextmanager
def locked(directory: str) -> Iterator[None]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _syncfs(fd: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(fd) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
