"""A container's terminal is handed to whoever listens at --console-socket (conmon, a shim), and a
descriptor of its process to who listens at --pidfd-socket.

One message: the terminal's master end as SCM_RIGHTS, with its name as data, as runc sends it
(opencontainers/runc, docs/terminals.md, Detached New Terminal).
"""

from __future__ import annotations

import errno
import os

from newroot.errors import SyscallError, UsageError

_NAME = b"/dev/ptmx"


def send_terminal(fd: int, path: str | None) -> None:
    """Send the terminal *fd* to the socket at *path*, and close it here."""
    try:
        if path is None:
            raise UsageError(
                "cannot allocate tty if newroot-oci will detach without setting console socket"
            )
        _send(fd, _NAME, path, "terminal")
    finally:
        os.close(fd)


def send_pidfd(pid: int, name: str, path: str) -> None:
    """Send a pidfd of *pid* to the socket at *path*; *name* is ``standard``, of exec ``setns``."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return  # it has ended, which a pid file would not say either
    try:
        _send(fd, name.encode(), path, "pidfd")
    finally:
        os.close(fd)


def _send(fd: int, name: bytes, path: str, what: str) -> None:
    import _socket

    try:
        with_directory = os.path.split(os.path.abspath(path))
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        directory = os.open(with_directory[0], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # A socket's name has 108 bytes, and a path may have more: unix(7).
            sock.connect(f"/proc/self/fd/{directory}/{with_directory[1]}")
            rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, "little"))
            sock.sendmsg([name], [rights])
        finally:
            os.close(directory)
            sock.close()
    except OSError as error:
        number = error.errno or 0
        word = errno.errorcode.get(number, str(number))
        raise SyscallError(
            f"send the {what} to {path}: {error.strerror} ({word})",
            errno=number,
            call="connect",
            target=path,
        ) from error
