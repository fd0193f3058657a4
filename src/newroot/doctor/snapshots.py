"""Each container's files are as its record says, and no snapshot is kept that nobody needs."""

from __future__ import annotations

from newroot.container.branch import collect, needed, settled
from newroot.container.snapshots import SnapshotStore
from newroot.doctor.check import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from newroot.doctor.check import Patient


def check_snapshots(patient: Patient) -> Iterator[Finding]:
    """What a killed fork, snapshot or rollback left is finished, or taken away."""
    storage = patient.engine.storage
    for container_id in storage.ids():
        settled(storage, container_id)  # as whoever uses the container would
    store = SnapshotStore(storage.root)
    keep = needed(storage)
    if keep is None:
        yield Finding(state="note", words="not looked for: a container's record cannot be read")
        return
    orphans = store.orphans(keep)
    if not orphans:
        yield Finding(state="note", words=f"{len(store.ids())} snapshots")
        return
    words = f"{len(orphans)} snapshots that no container needs"
    if not patient.repair:
        yield Finding(state="bad", words=words, hint="newroot doctor --repair")
    elif set(orphans) & set(collect(storage)):
        yield Finding(state="mended", words=f"{words}: removed")
    else:
        yield Finding(state="bad", words=f"{words}; somebody is making one", hint="try again")
