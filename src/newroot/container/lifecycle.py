"""A container that stays is started, asked to end, killed, waited for.

What is running is asked of the kernel each time: the lock that a container's holder has, and the
process that its ``pid`` file names.  So nothing here can be misled by a state that nobody updated.
"""

from __future__ import annotations

import errno
import fcntl
import os

from newroot.container import attach
from newroot.container.at_boot import note_stopped
from newroot.errors import WrongStatus
from newroot.linux.processes import send_signal, start_ticks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    Condition = Literal["not-running", "next-exit", "removed"]

    from newroot.container.storage import ContainerStorage

_SIGKILL = 9
_ON_ITS_WAY_S = 5.0
_PAUSE_S = 0.005
_LOOK_AGAIN_S = 0.25


def wait_until_it_ends(storage: ContainerStorage, container_id: str) -> None:
    """Wait until the container's holder has let it go, which is when nothing of it runs."""
    try:
        fd = os.open(
            storage.run_directory(container_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        )
    except FileNotFoundError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def wait_for(storage: ContainerStorage, container_id: str, condition: Condition) -> None:
    """Wait until what *condition* says has come."""
    if condition == "not-running":
        wait_until_it_ends(storage, container_id)
        return
    from newroot.linux.watch import Watch

    ended = storage.exit(container_id)
    with Watch(f"{storage.root}/containers") as watch:
        while container_id in storage.known():
            wait_until_it_ends(storage, container_id)
            if condition == "next-exit" and storage.exit(container_id) not in (ended, {}):
                return
            watch.wait(_LOOK_AGAIN_S)


def kill(storage: ContainerStorage, container_id: str, signal: int) -> None:
    """Send *signal* to the container's first process.

    SIGKILL and the signal that it is stopped by mean that it is not to begin anew.  Raises
    WrongStatus when it does not run.
    """
    if not storage.is_running(container_id):
        raise WrongStatus(
            f"kill container {container_id[:12]}: it is not running",
            status="exited",
            wanted="running",
        )
    if signal in (_SIGKILL, _stopping(storage.record(container_id))[0]):
        note_stopped(storage, container_id)
        attach.tell(storage, container_id, attach.STOP)
    state = storage.state(container_id)
    pid = state.get("pid")
    if isinstance(pid, int):
        send_signal(pid, state.get("startTicks"), signal)
    storage.note(container_id, "kill", signal=str(signal))


def stop(
    storage: ContainerStorage,
    container_id: str,
    *,
    signal: int | None = None,
    seconds: float | None = None,
) -> None:
    """Ask a container to end, and kill it when it has not after so many *seconds*.

    What is None is as the container's settings have it.  A negative number of seconds is for ever.
    It does not begin anew.  Nothing is done when it does not run.
    """
    if not storage.is_running(container_id):
        return
    wanted, patience = _stopping(storage.record(container_id))
    note_stopped(storage, container_id)
    _tell_to_stop(storage, container_id)
    first = _open_first(storage.state(container_id))
    if first is not None:
        try:
            _signal(first, wanted if signal is None else signal)
            if not _ends_within(first, patience if seconds is None else seconds):
                _signal(first, _SIGKILL)
        finally:
            os.close(first)
    wait_until_it_ends(storage, container_id)
    storage.note(container_id, "stop")


def _tell_to_stop(storage: ContainerStorage, container_id: str) -> None:
    """Tell its monitor, and wait for one that is on its way: container/last_act.py, ``again``."""
    from time import monotonic, sleep

    deadline = monotonic() + _ON_ITS_WAY_S
    while not attach.tell(storage, container_id, attach.STOP) and monotonic() < deadline:
        if not storage.state(container_id).get("detached") or not storage.is_running(container_id):
            return
        sleep(_PAUSE_S)  # who becomes a monitor tells nobody but the one who made it


def _stopping(record: dict[str, Any]) -> tuple[int, int]:
    """The signal that asks a container to end, and the seconds that it then has."""
    from newroot.linux.signals import signal_number

    settings, image = record.get("settings") or {}, (record.get("from") or {}).get("image") or {}
    name = settings.get("stop_signal") or image.get("StopSignal") or "SIGTERM"
    return signal_number(name), settings.get("stop_timeout", 10)


def _open_first(state: dict[str, Any]) -> int | None:
    """A pidfd of the container's first process; None when there is none."""
    pid = state.get("pid")
    if not isinstance(pid, int):
        return None
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if start_ticks(pid) == state.get("startTicks"):
        return fd
    os.close(fd)
    return None


def _signal(pidfd: int, signal: int) -> None:
    import _signal as signals

    try:
        signals.pidfd_send_signal(pidfd, signal)
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise


def _ends_within(pidfd: int, seconds: float) -> bool:
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if seconds < 0 else seconds * 1000))
