"""A long chain of snapshots becomes one, so that no container stands on too many.

    python -m newroot.container.flatten ROOT RUN_ROOT CONTAINER…

is what an engine starts in the background.  A death at any point leaves either chain whole, and
what is half made is removed with what nobody needs.
"""

from __future__ import annotations

import os
import sys

from newroot.container.branch import collect, standing_on
from newroot.container.snapshots import SnapshotStore
from newroot.container.storage import ContainerStorage
from newroot.container.sweep import take
from newroot.errors import NewrootError
from newroot.rootfs.uppers import merge

DEPTH = 32  #: the kernel takes 500 lowers, and looks into each for a name that is in none


def depth_limit() -> int:
    """How many snapshots a container may stand on before they are made one."""
    text = os.environ.get("NEWROOT_SNAPSHOT_DEPTH", "")
    return max(1, int(text)) if text.isascii() and text.isdigit() else DEPTH


def flatten(storage: ContainerStorage, container_id: str) -> bool:
    """Make the snapshots that a container stands on one; False when it runs, or has not two.

    Those that others stand on, or that have a tag, stay too: files are shared, not copied.  Raises
    NotFound, OSError when the file system cannot.
    """
    store = SnapshotStore(storage.root)
    with store.making():
        claim = take(storage, container_id, visit=True)
        if claim is None:
            return False
        try:
            lower = tuple(map(str, storage.record(container_id).get("lower") or ()))
            ids, base = store.split(lower)
            if len(ids) < 2:
                return False
            made = store.find_merged(ids, base)
            if made is None:
                found = store.new(lower=lower, container=container_id, name=None, merged=ids)
                merge([store.path(each) for each in ids], f"{store.path(found.id)}.new")
                os.rename(f"{store.path(found.id)}.new", store.path(found.id))
                made = found.id
            now_on = (store.path(made), *base)
            storage.change_record(container_id, lambda now: standing_on(now, now_on))
        finally:
            claim.release(remove=False)
    collect(storage)
    return True


def flatten_long_ones(storage: ContainerStorage, container_ids: list[str]) -> None:
    """Start to flatten those of *container_ids* that stand on too many, in the background."""
    store, limit = SnapshotStore(storage.root), depth_limit()
    long = [
        each
        for each in container_ids
        if len(store.split(storage.record(each).get("lower") or ())[0]) > limit
    ]
    if not long or not sys.executable:
        return
    from threading import Thread

    words = [sys.executable, "-m", __name__, storage.root, storage.run_root, *long]
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        streams = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
        pid = os.posix_spawn(sys.executable, words, os.environ, file_actions=streams, setsid=True)
    finally:
        os.close(null)
    # Who lives on until it has ended is its parent, and looks to it that it does not stay.
    Thread(target=os.waitpid, args=(pid, 0), daemon=True).start()


def main(root: str, run_root: str, *container_ids: str) -> None:
    storage = ContainerStorage(root, run_root)
    for container_id in container_ids:
        try:
            flatten(storage, container_id)
        except (NewrootError, OSError):
            continue  # it works as it is; the next command tries again


if __name__ == "__main__":
    main(*sys.argv[1:])
