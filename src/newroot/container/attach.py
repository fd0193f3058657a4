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

__all__ = ["STOP", "connect", "tell"]


def connect(storage: ContainerStorage, container_id: str) -> _socket.socket:
    """A connection to the container's monitor.

    Raises WrongStatus when there is none: it does not run, or runs in somebody's foreground.
    """
    path = storage.run_directory(container_id)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # By the descriptor: the path may be longer than sun_path, unix(7).
            sock.connect(f"/proc/self/fd/{directory}/attach")
        finally:
            os.close(directory)
    except OSError as error:
        sock.close()
        running = storage.is_running(container_id)
        raise WrongStatus(
            f"attach to container {container_id[:12]}: "
            + ("it runs in the foreground of another command" if running else "it is not running"),
            status="running" if running else "exited",
            wanted="running detached",
        ) from error
    return sock


def tell(storage: ContainerStorage, container_id: str, packet: bytes) -> bool:
    """Send one packet; False when nobody is there to hear it."""
    try:
        sock = connect(storage, container_id)
    except WrongStatus:
        return False
    try:
        sock.send(packet)
        # It is read before the connection is seen to be closed, for packets keep their order.
    except OSError:
        return False
    finally:
        sock.close()
    return True
