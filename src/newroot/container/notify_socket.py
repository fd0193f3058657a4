"""A container whose command says when it is ready: sd_notify(3), for a runtime under systemd.

Who calls us with ``NOTIFY_SOCKET`` wants to hear ``READY=1``.  The container gets a socket of its
own, in a directory of our state that is bound to /run/notify, and what it says there is said again
outside, with the container's first process as ``MAINPID``: systemd hears nobody but its own
service, and the container is not to write to the host's socket.  As runc does (notify_socket.go):
the directory is made by create, the socket by who starts the container and waits.
"""

from __future__ import annotations

import os

from newroot.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.oci_state import OciContainer

VARIABLE = "NOTIFY_SOCKET"
_INSIDE = "/run/notify"
_NAME = "notify.sock"


def with_socket(config: dict[str, Any], directory: str) -> dict[str, Any]:
    """*config* of a container that finds a socket at /run/notify; makes its directory."""
    os.mkdir(f"{directory}/notify", 0o755)
    mount = {
        "destination": _INSIDE,
        "type": "bind",
        "source": f"{directory}/notify",
        "options": ["bind", "nosuid", "noexec", "nodev", "ro"],
    }
    process = config["process"]
    env = [*(process.get("env") or []), f"{VARIABLE}={_INSIDE}/{_NAME}"]
    mounts = [*(config.get("mounts") or []), mount]
    return {**config, "process": {**process, "env": env}, "mounts": mounts}


def has_socket(container: OciContainer) -> bool:
    """Whether the container was created to say that it is ready."""
    return os.path.isdir(f"{container.directory}/notify")


class NotifySocket:
    """The socket that the container writes to, and the one of the host that we write to."""

    def __init__(self, container: OciContainer, host: str) -> None:
        import _socket

        self._host = "\0" + host[1:] if host.startswith("@") else host  # abstract: unix(7)
        flags = _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | flags)
        # A socket's name has 108 bytes, and a path of --root may have more: unix(7).
        where = os.open(f"{container.directory}/notify", os.O_PATH | os.O_CLOEXEC)
        try:
            path = f"/proc/self/fd/{where}/{_NAME}"
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            self._socket.bind(path)
            os.chmod(path, 0o777)  # the command may be any user
        except BaseException:
            self._socket.close()
            raise
        finally:
            os.close(where)

    def pass_on(self, pid: int, main_pid: int) -> None:
        """Wait until the container is ready, or its first process *pid* has ended, and say so.

        *main_pid* is who systemd is to look after from now on; 0 for whom it looks after anyway.
        """
        words = self._wait_ready(pid)
        if words is not None:
            self._send(words + b"\n")
            if main_pid:
                self._send(b"MAINPID=%d\n" % main_pid)

    def _wait_ready(self, pid: int) -> bytes | None:
        import select

        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return self._ready_now()
        try:
            poll.register(pidfd, select.POLLIN)
            while True:
                ended = pidfd in [fd for fd, _ in poll.poll()]
                ready = self._ready_now()  # what it said last it said before it ended
                if ready is not None or ended:
                    return ready
        finally:
            os.close(pidfd)

    def _ready_now(self) -> bytes | None:
        """The line of what has come by now that says that it is ready."""
        while True:
            try:
                datagram = self._socket.recv(4096)
            except BlockingIOError:
                return None
            for line in datagram.split(b"\n"):
                if line.startswith(b"READY="):
                    return line

    def _send(self, words: bytes) -> None:
        import _socket

        sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            sender.sendto(words, self._host)
        except OSError as error:
            raise SyscallError(
                f"say to {VARIABLE} {self._host!r} that the container is ready: {error.strerror}",
                errno=error.errno or 0,
                call="sendto",
                target=self._host,
            ) from error
        finally:
            sender.close()

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()
