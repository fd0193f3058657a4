"""A created container is started: its first process hears so, and becomes the command.

Whoever starts connects to the socket that the process waits at.  The talk ends with exec; a step
that fails before that is told here, in the same words as it would be told to a creator.
"""

from __future__ import annotations

import os

from newroot.container.oci_state import CREATED, STOPPED, OciContainer
from newroot.errors import WrongStatus
from newroot.plan.launcher import REPORT_FAILED, REPORT_WAITING, Launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.parent import Parent
    from newroot.plan.launcher import Report


def start(container: OciContainer, notify_socket: str | None = None) -> None:
    """Execute the command of a created container; with *notify_socket* wait until it is ready.

    Raises WrongStatus when it is not created; StepError, HookError and others when the command
    could not be executed, and then the container is stopped.
    """
    status = container.status()
    if status != CREATED:
        raise _wrong(status)
    if notify_socket is not None:
        from newroot.container.notify_socket import NotifySocket, has_socket

        if has_socket(container):
            with NotifySocket(container, notify_socket) as socket:
                _start(container)
                socket.pass_on(container.pid, container.pid)
            return
    _start(container)


def _start(container: OciContainer) -> None:
    pidfd = os.pidfd_open(container.pid)
    launch = Launch.of_created(_connect(container), container.pid, pidfd)
    try:
        _Talk(container, launch).lead()
    except BaseException:
        launch.end()  # a hook failed, or we gave up: nothing half-started stays
        raise
    finally:
        launch.close()
    _forget_socket(container)


class _Talk:
    """With the first process, from the word that it is to start until exec."""

    def __init__(self, container: OciContainer, launch: Launch) -> None:
        self._container = container
        self._launch = launch
        self._made: Parent | None = None

    def lead(self) -> None:
        self._launch.go_on()
        try:
            while (report := self._launch.next_report()) is not None:
                if report.kind == REPORT_FAILED:
                    self._fail(report)
                elif report.kind == REPORT_WAITING:
                    self._parent().answer(report, self._launch)
            if _has_poststart(self._container):
                self._parent().started(self._container.pid)
        finally:
            if self._made is not None:
                self._made.close()

    def _fail(self, report: Report) -> None:
        from newroot.plan.report import step_error

        parent = self._parent()
        _forget_socket(self._container)
        raise step_error(parent.plan, report, output=parent.output(report))

    def _parent(self) -> Parent:
        """What a creator knows; drawn only where it is needed, for most starts need it not."""
        if self._made is None:
            self._made = _parent_of(self._container)
        return self._made


def _parent_of(container: OciContainer) -> Parent:
    from newroot.container.bundle import Circumstances, as_bundle, draw_again
    from newroot.container.bundle_config import keyring, resource_group
    from newroot.container.parent import Parent
    from newroot.isolation.cgroups.detect import detect

    bundle = as_bundle(container.bundle, container.config())
    around = Circumstances(
        scratch=container.scratch,
        cgroup=container.cgroup() if container.cgroups else None,
        host=detect(),
        switch="move" if container.no_pivot else "pivot",
        awaits_start=True,
        groups=resource_group(bundle.config, container.id),
        keyring=keyring(container.id, wanted=container.new_keyring),
    )
    return Parent(bundle.config, draw_again(bundle, around, 1), bundle.state(container.id))


def _has_poststart(container: OciContainer) -> bool:
    return bool((container.config().get("hooks") or {}).get("poststart"))


def _wrong(status: str) -> WrongStatus:
    words = {STOPPED: "cannot start a container that has stopped"}
    return WrongStatus(
        words.get(status, "cannot start an already running container"),
        status=status,
        wanted=CREATED,
    )


def _connect(container: OciContainer) -> Any:
    import _socket

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    directory = os.open(container.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{directory}/start")
    except (ConnectionRefusedError, FileNotFoundError):
        sock.close()
        # Whoever started it was killed before it could remove the socket.
        _forget_socket(container)
        raise _wrong(container.status()) from None
    finally:
        os.close(directory)
    return sock


def _forget_socket(container: OciContainer) -> None:
    try:
        os.unlink(container.socket)
    except FileNotFoundError:
        pass
