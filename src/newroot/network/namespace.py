"""A network namespace, made before anybody is in it, and how it is talked to from outside.

Only newroot-init ever stands in it: it makes one, or enters one, opens a netlink socket there,
hands that over, and ends.
"""

from __future__ import annotations

import os

from newroot.errors import SyscallError
from newroot.linux.rtnetlink_making import Making
from newroot.plan import encode
from newroot.plan import steps as s
from newroot.plan.launcher import REPORT_FAILED
from newroot.plan.report import step_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.plan.launcher import Launcher

_SHOW = s.MoveInterfaces(interfaces=(), why="it is wired from outside")
_MAKE = s.Plan(
    steps=(
        s.Unshare(namespaces=("net",), why="a container joins it when it is wired"),
        s.LinkUp(interface="lo", why="localhost works"),
        _SHOW,
    )
)
_ENTER = s.Plan(
    steps=(
        s.JoinProcess(namespaces=("net",), fd=0, why="it is there already"),
        _SHOW,
    )
)


class Namespace:
    """A network namespace, held: *fd* is it, *netlink* talks to it.  A context manager."""

    def __init__(self, fd: int, netlink: Making) -> None:
        self.fd = fd
        self.netlink = netlink

    def close(self) -> None:
        self.netlink.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def release(self) -> int:
        """Its descriptor, which is then the caller's; nobody talks to it any more."""
        self.netlink.close()
        fd, self.fd = self.fd, -1
        return fd

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


_made: tuple[bytes, int] | None = None


def make(launcher: Launcher) -> Namespace:
    """A new one, whose loopback is up.  Raises SyscallError, StepError."""
    global _made
    if _made is None:
        _made = encode.encode(_MAKE), encode.clone_flags(("net",))
    return _shown(launcher, _MAKE, *_made, own=())


def enter(launcher: Launcher, fd: int) -> Namespace:
    """Talk to the one that *fd* is; that stays the caller's."""
    return _shown(launcher, _ENTER, encode.encode(_ENTER), 0, own=(fd,))


def _shown(
    launcher: Launcher, plan: s.Plan, data: bytes, flags: int, own: tuple[int, ...]
) -> Namespace:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        launch = launcher.launch(data, flags, (null, null, null), own=own)
    finally:
        os.close(null)
    try:
        launch.read_started(block=True)
        report = launch.next_report()
        if report is not None and report.kind == REPORT_FAILED:
            raise step_error(plan, report)
        if report is None or report.fd is None:
            raise SyscallError(
                "making a network namespace: newroot-init ended before it was there",
                errno=3, call="recvmsg", target="newroot-init",
            )  # fmt: skip
        netlink = Making(report.fd)
        try:
            fd = os.open(f"/proc/{launch.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            netlink.close()
            raise
        return Namespace(fd, netlink)
    finally:
        launch.kill(9)
        launch.close()
