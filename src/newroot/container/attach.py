"""Visits to a container's monitor: to see what the container says, to type, to ask it to end.

The monitor's socket is in the container's run directory, and packets keep their borders.  Each
begins with a byte that says what it is: native/wire.h.
"""

from __future__ import annotations

import _socket
import os

from newroot.errors import WrongStatus
from newroot.plan.keep import STOP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.container.storage import ContainerStorage

__all__ = ["STOP", "connect", "connect_at", "listen", "tell"]

_MOST_WAITING = 16


def listen(run_directory: int) -> _socket.socket:
    """The socket that a monitor is visited at."""
    sock = _new_socket()
    try:
        sock.bind(_address(run_directory))
        sock.listen(_MOST_WAITING)
    except BaseException:
        sock.close()
        raise
    return sock


def connect(storage: ContainerStorage, container_id: str) -> _socket.socket:
    """A connection to the container's monitor.

    Raises WrongStatus when there is none: it does not run, or runs in somebody's foreground.
    """
    try:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        directory = os.open(storage.run_directory(container_id), flags)
        try:
            return connect_at(directory)
        finally:
            os.close(directory)
    except OSError as error:
        running = storage.is_running(container_id)
        raise WrongStatus(
            f"attach to container {container_id[:12]}: "
            + ("it runs in the foreground of another command" if running else "it is not running"),
            status="running" if running else "exited",
            wanted="running detached",
        ) from error


def connect_at(run_directory: int) -> _socket.socket:
    """The same, by a descriptor of the run directory.  Raises OSError."""
    sock = _new_socket()
    try:
        sock.connect(_address(run_directory))
    except BaseException:
        sock.close()
        raise
    return sock


def tell(storage: ContainerStorage, container_id: str, packet: bytes) -> bool:
    """Send one packet; False when nobody is there to hear it."""
    try:
        sock = connect(storage, container_id)
    except WrongStatus:
        return False
    try:
        sock.send(packet)  # it is read before the connection is seen to be closed
    except OSError:
        return False
    finally:
        sock.close()
    return True


def _new_socket() -> _socket.socket:
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)


def _address(run_directory: int) -> str:
    # By the descriptor: the path of a run directory may be longer than sun_path, unix(7).
    return f"/proc/self/fd/{run_directory}/attach"
