"""The listener of a seccomp filter is handed to who answers for it: ``seccomp.listenerPath``.

config-linux.md, Seccomp and The Container Process State: one connection, one JSON document, the
descriptor beside it, and the connection is closed.
"""

from __future__ import annotations

from newroot.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FD_NAME = "seccompFd"


def send_listener(seccomp: dict[str, Any], listener: int, pid: int, state: dict[str, Any]) -> None:
    """Send *listener* and the container process state to ``seccomp.listenerPath``.

    *state* is the container's, with its status and *pid*.  Raises SyscallError.
    """
    import _socket
    import os
    from struct import Struct

    from newroot.oci import json

    path = seccomp["listenerPath"]
    document = {
        "ociVersion": state["ociVersion"],
        "fds": [FD_NAME],
        "pid": pid,
        "metadata": seccomp.get("listenerMetadata", ""),
        "state": state,
    }
    data = json.dumps(document).encode()
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, Struct("=i").pack(listener))]
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    try:
        sock.connect(path)
        sent = sock.sendmsg([data], rights)
        sock.sendall(data[sent:])
    except OSError as error:
        words = os.strerror(error.errno or 0)
        raise SyscallError(
            f"/linux/seccomp/listenerPath: hand the listener to {path}: {words}",
            errno=error.errno or 0,
            call="connect",
            target=path,
            hint="whoever answers for the filter must listen there before the container starts",
        ) from error
    finally:
        sock.close()
