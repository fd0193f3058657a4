"""The responder of a network: started with its first container, ends with its last.

Its sockets and its lock are opened here and handed to it, so that nobody waits for it: a question
that comes before it is up waits in the socket.  Whoever finds the lock free finds it dead, and
starts it anew.

    <run_root>/networks/<name>/names.lock   held by the responder as long as it lives
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os

from newroot.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.network.definitions import Network
    from newroot.network.leases import Leases

PORT = 53
_FIRST_FD = 3


def have_responder(leases: Leases, network: Network) -> None:
    """Start the network's responder unless it runs.  The network's lock is held, its bridge there.

    Raises SyscallError when somebody else answers at its addresses.
    """
    lock = os.open(f"{leases.place}/names.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    sockets: list[_socket.socket] = []
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for subnet in network.subnets:
            if subnet.gateway is not None:
                _open(sockets, network, subnet.gateway)
        _start(leases, network, lock, sockets)
    finally:
        os.close(lock)
        for sock in sockets:
            sock.close()


def _open(sockets: list[_socket.socket], network: Network, address: str) -> None:
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    for kind in (_socket.SOCK_DGRAM, _socket.SOCK_STREAM):
        sock = _socket.socket(family, kind | _socket.SOCK_CLOEXEC, 0)
        sockets.append(sock)
        try:
            if kind == _socket.SOCK_STREAM:
                sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            sock.bind((address, PORT))
            if kind == _socket.SOCK_STREAM:
                sock.listen(64)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise SyscallError(
                f"answer for names at {address}, port {PORT}: {error.strerror}",
                errno=error.errno or 0,
                call="bind",
                target=address,
                hint="a name server of the host's has every address: have it leave out "
                f"{network.interface}, or newroot network create --disable-dns"
                if taken
                else None,
            ) from error


def _start(leases: Leases, network: Network, lock: int, sockets: list[_socket.socket]) -> None:
    from newroot.network.processes import python_argv, spawn

    fds = [lock, *(sock.fileno() for sock in sockets)]
    # Away from the numbers that they are given: one could be another's.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in fds]
    try:
        internal = "internal" if network.internal else "open"
        argv = python_argv(
            "newroot.network.responder", leases.place, network.name, internal, str(len(sockets))
        )
        spawn(argv, {_FIRST_FD + n: fd for n, fd in enumerate(high)}, apart=True)
    finally:
        for fd in high:
            os.close(fd)
