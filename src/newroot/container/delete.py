"""A container is removed: its files, its name, and if asked its anonymous volumes.

Whoever removes holds the container's lock, so nobody starts it meanwhile.  What is to be removed
is said before it is: a removal that was killed half-way is finished by the next command's sweep.
"""

from __future__ import annotations

from time import monotonic, sleep

from newroot.container import attach
from newroot.container.branch import collect_below
from newroot.container.sweep import remove_anonymous
from newroot.errors import WrongStatus
from newroot.linux.processes import send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.container.storage import Claim, ContainerStorage
    from newroot.rootfs.volumes import VolumeStore

_SIGKILL = 9
_PATIENCE_S = 10.0  #: from SIGKILL until its holder has let go: it may have a large tree to remove
_PAUSE_S = 0.005


def delete(
    storage: ContainerStorage,
    volumes: VolumeStore,
    container_id: str,
    *,
    force: bool = False,
    with_volumes: bool = False,
) -> None:
    """Remove a container; with *force* also one that runs, which is killed.

    Raises WrongStatus when it runs and *force* was not given, or when its holder does not let go.
    """
    record = storage.record(container_id)
    claim = storage.hold(container_id) or _take(storage, container_id, force=force)
    networks = storage.state(container_id).get("networks")
    claim.write_state(name=record.get("name"), remove=True, networks=networks)
    if networks is not None:  # a monitor ended with the container, and nobody came since
        from newroot.container.networking import release

        release(storage, container_id, networks)
    claim.release(remove=True)
    collect_below(storage, record)
    if with_volumes:
        remove_anonymous(volumes, record)


def _take(storage: ContainerStorage, container_id: str, *, force: bool) -> Claim:
    """The lock of a container that somebody has; who only looks at it lets go at once."""
    deadline = monotonic() + _PATIENCE_S
    while monotonic() < deadline:
        if storage.state(container_id).get("owner") is not None:
            if not force:
                raise _running(container_id)
            _kill(storage, container_id)
        sleep(_PAUSE_S)  # flock(2) cannot wait for a time; whoever holds it tells nobody
        claim = storage.hold(container_id)
        if claim is not None:
            return claim
    raise WrongStatus(
        f"remove container {container_id[:12]}: it was killed, and after {_PATIENCE_S:.0f} "
        "seconds its holder has not let go",
        status="running",
        wanted="exited",
        hint=f"is process {storage.state(container_id).get('owner')} stopped?",
    )


def _running(container_id: str) -> WrongStatus:
    return WrongStatus(
        f"remove container {container_id[:12]}: it is running",
        status="running",
        wanted="exited",
        hint="end it first, or newroot rm -f, which kills it",
    )


def _kill(storage: ContainerStorage, container_id: str) -> None:
    attach.tell(storage, container_id, attach.STOP)
    state = storage.state(container_id)
    pid = state.get("pid")  # not there yet while it is being started
    if isinstance(pid, int):
        send_signal(pid, state.get("startTicks"), _SIGKILL)
