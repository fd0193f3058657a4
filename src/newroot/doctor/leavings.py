"""What nobody names any more: orphans of images, what killed processes left, half containers."""

from __future__ import annotations

import fcntl
import os

from newroot.doctor.check import Finding
from newroot.errors import ImageError, NewrootError
from newroot.images.change import STAGED, Change
from newroot.images.prune import disk_size, find_orphans, remove_orphans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from newroot.doctor.check import Patient

_SHOWN = 10


def check_orphans(patient: Patient) -> Iterator[Finding]:
    """No blob and no layer is stored that neither an image nor a container needs."""
    store, keep = patient.images, patient.engine.layers_in_use()
    try:
        found = find_orphans(store, keep_layers=keep)
    except ImageError:  # blobs.py has said so
        yield Finding(state="note", words="not looked for: nobody knows what damaged images need")
        return
    if not found:
        return
    words = f"{len(found)} blobs and layers that nobody names: {_some(found)}"
    if not patient.repair:
        size = sum(map(disk_size, found))
        yield Finding(state="bad", words=f"{words}, {size} bytes", hint="newroot doctor --repair")
        return
    removed = remove_orphans(store, keep_layers=keep)
    if removed is None:
        yield Finding(
            state="bad", words=f"{words}; somebody is changing the store", hint="try again"
        )
    else:
        yield Finding(state="mended", words=f"{words}, {removed.size} bytes: removed")


def check_staged(patient: Patient) -> Iterator[Finding]:
    """Nothing lies in the store that a killed process was making."""
    store = patient.images
    found = [
        f"{directory}/{name}"
        for directory in (store.images, store.layers)
        if os.path.isdir(directory)
        for name in sorted(os.listdir(directory))
        if name.startswith(STAGED) and _is_free(f"{directory}/{name}")
    ]
    if not found:
        return
    words = f"{len(found)} files that killed processes left: {_some(found)}"
    if patient.repair:
        with Change(store):
            pass  # it begins with sweeping
        yield Finding(state="mended", words=f"{words}: removed")
    else:
        yield Finding(state="bad", words=words, hint="newroot doctor --repair, or the next change")


def check_containers(patient: Patient) -> Iterator[Finding]:
    """Every container that has files has a record, and the layers that it stands on."""
    engine = patient.engine
    known = engine.containers()
    for container_id in sorted(set(engine.storage.ids()) - {found.id for found in known}):
        words = f"container {container_id[:12]} has files and no record"
        if not patient.repair:
            yield Finding(state="bad", words=words, hint="newroot doctor --repair")
            continue
        try:
            engine.remove_container(container_id)
        except NewrootError as error:
            yield Finding(state="bad", words=f"{words}: {error}", hint=error.hint)
        else:
            yield Finding(state="mended", words=f"{words}: removed")
    for container in known:
        gone = [layer for layer in container.lower if not os.path.exists(layer)]
        if gone:
            called = container.name or container.id[:12]
            yield Finding(
                state="lost",
                words=f"container {called} stands on layers that are gone: {_some(gone)}",
                hint=f"load or pull {container.source} again",
            )
    yield Finding(state="note", words=f"{len(known)} containers")


def check_runs(patient: Patient) -> Iterator[Finding]:
    """What the keepers of containers left when they were killed; every command clears it away."""
    from newroot.container.sweep import sweep

    count = sweep(patient.engine.storage, patient.engine.volumes)
    if count:
        yield Finding(state="mended", words=f"{count} containers ended with nobody to say so")


def _is_free(path: str) -> bool:
    """Whether its maker is dead."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _some(paths: tuple[str, ...] | list[str]) -> str:
    names = [os.path.basename(path)[:12] for path in paths]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
