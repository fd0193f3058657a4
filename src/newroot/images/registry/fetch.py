"""The layers of one image, several at a time: downloaded, verified and unpacked in one pass each.

Of many processes that want one layer, the one that has its lock does the work
(``Change.unpacking``), and the others find it done.  A layer may have to wait for those below it
before it is whole (images/below.py); whoever waits so for another process's work lets go of its
own lock first, so nobody waits in a circle.
"""

from __future__ import annotations

import os
import threading

from newroot.errors import DigestMismatch, ImageError, SizeMismatch
from newroot.images.layers import Expected, read_layer
from newroot.images.registry.crew import Crew
from newroot.images.registry.progress import DONE, DOWNLOADING, EXISTS, UNPACKING, WAITING
from newroot.images.stream import fd_chunks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from newroot.images.change import Change
    from newroot.images.limits import Limits
    from newroot.images.registry.client import Repository
    from newroot.images.registry.progress import Teller
    from newroot.images.staged import LayerLock, Partial, Staged
    from newroot.images.store import ImageStore
    from newroot.oci.image import Descriptor

#: As many as Docker fetches at once; more connections do not make a link wider.
AT_ONCE = 3
#: How long a layer that waits for another process keeps its own lock.
_PATIENCE_S = 20


class _Job:
    """One layer to be had, and whether it is."""

    def __init__(self, blob: Descriptor, diff_id: str, number: int) -> None:
        self.blob = blob
        self.diff_id = diff_id
        self.number = number  #: from the bottom, 0 first
        self.done = threading.Event()
        self.waits_for_lock = False


class Fetcher:
    """Brings the layers of one image into the store."""

    def __init__(
        self,
        store: ImageStore,
        change: Change,
        repository: Repository,
        blobs: Sequence[Descriptor],
        diff_ids: Sequence[str],
        *,
        teller: Teller,
        limits: Limits,
    ) -> None:
        self._store = store
        self._change = change
        self._repository = repository
        self._diff_ids = diff_ids
        self._teller = teller
        self._limits = limits
        self._jobs = _jobs(blobs, diff_ids)

    def run(self) -> None:
        """Return when every layer is in the store.  Raises what the first failure raised."""
        missing = []
        for job in self._jobs:
            if self._is_here(job):
                self._change.pairs.check(job.blob, job.diff_id)
                self._teller.tell(EXISTS, job.blob.digest, job.blob.size, job.blob.size)
                job.done.set()
            else:
                self._teller.tell(WAITING, job.blob.digest, 0, job.blob.size)
                missing.append(job)
        # The lowest first: the others may wait for it.
        crew = Crew(missing, self._layer, at_once=AT_ONCE, stop=self._stop, name="pull")
        crew.run(is_stuck=lambda: any(job.waits_for_lock for job in self._jobs))

    def _is_here(self, job: _Job) -> bool:
        return self._change.has_blob(job.blob) and self._change.has_layer(job.diff_id)

    def _stop(self) -> None:
        self._repository.http.stop()
        for job in self._jobs:
            job.done.set()

    # ── one layer ────────────────────────────────────────────────────────────────────────────

    def _layer(self, job: _Job) -> None:
        job.waits_for_lock = True
        with self._change.unpacking(job.diff_id) as lock:
            job.waits_for_lock = False
            self._repository.http.check_stopped()
            unpacked = self._change.has_layer(job.diff_id)
            phase = EXISTS
            if unpacked and self._change.has_blob(job.blob):
                self._change.pairs.check(job.blob, job.diff_id)
            elif not (self._change.has_blob(job.blob) and self._from_store(job, lock)):
                self._download(job, lock, unpack=not unpacked)
                phase = DONE
            self._teller.tell(phase, job.blob.digest, job.blob.size, job.blob.size)
        job.done.set()

    def _from_store(self, job: _Job, lock: LayerLock) -> bool:
        """Unpack a blob that is here already; False when it is damaged."""
        path = self._store.blob_path(job.blob.digest)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            self._read(job, lock, fd_chunks(fd), unpack=True)
        except (DigestMismatch, SizeMismatch):
            return False
        finally:
            os.close(fd)
        return True

    def _download(self, job: _Job, lock: LayerLock, *, unpack: bool) -> None:
        partial = self._change.partial_blob(job.blob.digest)
        resumed = partial.size
        try:
            try:
                self._from_registry(job, lock, partial, unpack=unpack)
            except ImageError:
                if not resumed:
                    raise
                # What an earlier pull left may be damaged: once more, without it.
                partial.empty()
                self._from_registry(job, lock, partial, unpack=unpack)
        except ImageError:
            partial.remove()
            raise

    def _from_registry(self, job: _Job, lock: LayerLock, partial: Partial, *, unpack: bool) -> None:
        come = partial.size

        def on_bytes(count: int) -> None:
            nonlocal come
            come += count
            self._repository.http.check_stopped()
            phase = DOWNLOADING if come < job.blob.size else UNPACKING
            self._teller.tell(phase, job.blob.digest, come, job.blob.size)

        download = self._repository.blob(job.blob, offset=partial.size, on_bytes=on_bytes)
        chunks = _Joined(partial, download) if partial.size else download
        try:
            self._read(job, lock, chunks, unpack=unpack, blob=partial, already=partial.size)
        finally:
            download.close()

    def _read(
        self,
        job: _Job,
        lock: LayerLock,
        chunks: Callable[[], bytes],
        *,
        unpack: bool,
        blob: Staged | None = None,
        already: int = 0,
    ) -> None:
        expected = Expected(
            diff_id=job.diff_id, blob=job.blob, below=lambda: self._below(job, lock)
        )
        read_layer(
            self._change,
            chunks,
            expected,
            unpack=unpack,
            blob=blob,
            already=already,
            what=f"layer {job.blob.digest} of {self._repository}",
            limits=self._limits,
        )

    def _below(self, job: _Job, lock: LayerLock) -> Sequence[str]:
        """The layers below, when they are all there."""
        let_go = False
        for lower in self._jobs:
            if lower.number >= job.number:
                break
            while not lower.done.wait(None if let_go else _PATIENCE_S):
                if lower.waits_for_lock:
                    lock.release()
                    let_go = True
        self._repository.http.check_stopped()
        if let_go:
            lock.acquire()
        below = self._diff_ids[: job.number]
        return tuple(self._store.layer_path(diff_id) for diff_id in reversed(below))


class _Joined:
    """What is on disk of a blob, then what comes of it."""

    def __init__(self, partial: Partial, rest: Callable[[], bytes]) -> None:
        self._have = fd_chunks(partial.fd, offset=0, size=partial.size)
        self._rest = rest

    def __call__(self) -> bytes:
        return self._have() or self._rest()


def _jobs(blobs: Sequence[Descriptor], diff_ids: Sequence[str]) -> list[_Job]:
    """A layer that stands in an image twice is fetched once, as the lower of the two."""
    found: dict[tuple[str, str], _Job] = {}
    for number, (blob, diff_id) in enumerate(zip(blobs, diff_ids, strict=True)):
        found.setdefault((blob.digest, diff_id), _Job(blob, diff_id, number))
    return list(found.values())
