"""User namespaces that this process itself goes into: user_namespaces(7).

What is here acts on the calling thread's process, and the kernel refuses one with several threads.
Nothing here knows why anybody would.
"""

from __future__ import annotations

import os

from newroot.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CLONE_NEWUSER = 0x10000000  # its file of constants is long, and this one on every start's road
_CAP_SETGID, _CAP_SETUID, _CAP_NET_ADMIN, _CAP_SYS_ADMIN = 1 << 6, 1 << 7, 1 << 12, 1 << 21
_CAP_SETFCAP = 1 << 31
_NS_GET_USERNS = 0xB701


def is_in_user_namespace() -> bool:
    """Whether we are in another user namespace than the host's."""
    return read_map("self", "uid") != ((0, 0, 4294967295),)


def read_map(process: int | str, kind: str) -> tuple[tuple[int, int, int], ...]:
    """The ``uid`` or ``gid`` map of a process, as this process sees it; the host's if unknown."""
    try:
        with open(f"/proc/{process}/{kind}_map", "rb", buffering=0) as file:
            lines = file.read().splitlines()
    except OSError:
        return ((0, 0, 4294967295),)
    return tuple((int(a), int(b), int(c)) for a, b, c in map(bytes.split, lines))


def has_single_id() -> bool:
    """Whether no other user can own anything in this process's namespace."""
    return sum(size for _, _, size in read_map("self", "uid")) == 1


def root_outside() -> int | None:
    """Who root of this namespace is in the one around it; None where it has no root."""
    return next((outside for first, outside, _ in read_map("self", "uid") if first == 0), None)


def may_mount() -> bool:
    """Whether this process is root, and may make all that a container consists of.

    In a container it may well be root and no more: then it needs a namespace like anybody else.
    """
    return os.geteuid() == 0 and _has(_CAP_SYS_ADMIN | _CAP_NET_ADMIN)


def may_unshare() -> bool:
    """Whether this process may make other namespaces than a user namespace: unshare(2)."""
    return _has(_CAP_SYS_ADMIN)


def denies_groups() -> bool:
    """Whether setgroups(2) is denied where this process is; so it is then in all that is below."""
    try:
        with open("/proc/self/setgroups", "rb", buffering=0) as file:
            return file.read().strip() == b"deny"
    except OSError:
        return False


def may_map() -> bool:
    """Whether this process may give another namespace all the ids that its own has."""
    return os.geteuid() == 0 and _has(_CAP_SETUID | _CAP_SETGID | _CAP_SETFCAP)


def _has(wanted: int) -> bool:
    with open("/proc/self/status", "rb", buffering=0) as file:
        text = file.read()
    found = text.partition(b"\nCapEff:")[2].split(None, 1)[0]
    return int(found, 16) & wanted == wanted


def owns(kind: str) -> bool:
    """Whether the namespace of a *kind* (``net``, …) that this process is in belongs to its own
    user namespace: ioctl_ns(2)."""
    from fcntl import ioctl

    fd = os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        owner = ioctl(fd, _NS_GET_USERNS)
    except OSError:  # EPERM: it is out of sight
        return False
    finally:
        os.close(fd)
    try:
        return os.fstat(owner).st_ino == os.stat("/proc/self/ns/user").st_ino
    finally:
        os.close(owner)


def unshare() -> None:
    """Go into a new one, in which nobody has an id yet.  Raises SyscallError."""
    _call("unshare", lambda libc: int(libc.unshare(_CLONE_NEWUSER)), lambda: _os("unshare"))


def join(fd: int) -> None:
    """Go into the one that *fd* is of, with all capabilities there.  Raises SyscallError."""
    _call("setns", lambda libc: int(libc.setns(fd, _CLONE_NEWUSER)), lambda: _os("setns", fd))


def _os(name: str, *words: int) -> None:
    getattr(os, name)(*words, _CLONE_NEWUSER)


def _call(name: str, by_libc: Callable[..., int], by_os: Callable[[], None]) -> None:
    if hasattr(os, name):  # since Python 3.12; importing ctypes costs five milliseconds
        try:
            by_os()
        except OSError as error:
            raise _failed(name, error.errno or 0) from None
        return
    import ctypes

    if by_libc(ctypes.CDLL(None, use_errno=True)) != 0:
        raise _failed(name, ctypes.get_errno())


def _failed(name: str, number: int) -> SyscallError:
    from errno import errorcode

    what = {"unshare": "make a user namespace", "setns": "join a user namespace"}[name]
    return SyscallError(
        f"{what}: {os.strerror(number)} ({errorcode.get(number, str(number))})",
        errno=number,
        call=name,
        target="user namespace",
    )
