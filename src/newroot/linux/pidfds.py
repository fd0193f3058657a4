"""What a pidfd is good for that Python has no word for: pidfd_getfd(2).

ctypes is imported only when it is needed, for that takes longer than all the rest.
"""

from __future__ import annotations

import os

from newroot.errors import SyscallError

_PIDFD_GETFD = 438  # the same number on every machine


def take_descriptor(pidfd: int, number: int) -> int:
    """A duplicate of the descriptor *number* of the process behind *pidfd*; close-on-exec."""
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).syscall
    fd: int = call(ctypes.c_long(_PIDFD_GETFD), pidfd, number, 0)
    if fd < 0:
        error = ctypes.get_errno()
        raise SyscallError(
            f"take the descriptor {number} of a process: {os.strerror(error)}",
            errno=error,
            call="pidfd_getfd",
            target=str(number),
        )
    return fd
