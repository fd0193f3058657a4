"""Make files as somebody else: setfsuid(2), setfsgid(2).

On a mount with mapped ids only who has an id there can make anything (EOVERFLOW: mount_setattr(2),
"ID-mapped mounts"), and the host's root has none on a container's.  So what is made is made as the
container's root, with all the rights of ours.  It is the calling thread's alone.

ctypes is imported only when it is needed, for that takes longer than all the rest.
"""

from __future__ import annotations

import os

from newroot.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Outcome = TypeVar("Outcome")

_PR_GET_SECUREBITS, _PR_SET_SECUREBITS = 27, 28
#: Else the rights over files go with fsuid 0: capabilities(7), "Effect of user ID changes".
_NO_SETUID_FIXUP = 1 << 2


def making_as(uid: int, gid: int, act: Callable[[], Outcome]) -> Outcome:
    """Do *act* with these ids for what it makes; needs root."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    before = libc.prctl(_PR_GET_SECUREBITS)
    if libc.prctl(_PR_SET_SECUREBITS, before | _NO_SETUID_FIXUP) < 0:
        number = ctypes.get_errno()
        raise SyscallError(
            f"keep the rights over files as uid {uid}: {os.strerror(number)}",
            errno=number,
            call="prctl",
            target="PR_SET_SECUREBITS",
        )
    old_gid, old_uid = libc.setfsgid(gid), libc.setfsuid(uid)
    try:
        return act()
    finally:
        libc.setfsuid(old_uid)
        libc.setfsgid(old_gid)
        libc.prctl(_PR_SET_SECUREBITS, before)
