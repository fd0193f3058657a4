"""Namespaces as the kernel names them: links below /proc/PID/ns, and ioctl_ns(2) on what they open.

A namespace is known by its type and by its inode in nsfs.  To ask about one takes an open
descriptor of it, so each answer here is about the very namespace that was opened.
"""

from __future__ import annotations

import fcntl
import os
import sys

from newroot.linux.constants import NS_GET_OWNER_UID, NS_GET_PARENT, NS_GET_USERNS

#: All that Linux has: namespaces(7).  In /proc/PID/ns a mount namespace is called ``mnt``.
TYPES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_KNOWN = frozenset(TYPES)

#: Those that nest, and can tell what they are nested in.
NESTING = frozenset(("pid", "user"))


def parse_link(text: str) -> tuple[str, int] | None:
    """``net:[4026531833]`` as (type, id); None for whatever is no namespace."""
    kind, colon, rest = text.partition(":[")
    if not colon or kind not in _KNOWN or not rest.endswith("]"):
        return None
    number = rest[:-1]
    return (kind, int(number)) if number.isascii() and number.isdigit() else None


def types_here() -> tuple[str, ...]:
    """The types that this kernel was built with."""
    # Not listdir(): of a process that has changed its user the directory is root's to read.
    return tuple(kind for kind in TYPES if os.path.lexists(f"/proc/self/ns/{kind}"))


def owner_of(fd: int) -> int | None:
    """A descriptor of the user namespace that owns the one open on *fd*; the caller closes it.

    None where the kernel does not tell: the owner is not within this process's own.
    """
    return _related(fd, NS_GET_USERNS)


def parent_of(fd: int) -> int | None:
    """A descriptor of what a pid or user namespace is nested in; None as ``owner_of``."""
    return _related(fd, NS_GET_PARENT)


def owner_uid(fd: int) -> int | None:
    """Who made the user namespace open on *fd*."""
    answer = bytearray(4)
    try:
        fcntl.ioctl(fd, NS_GET_OWNER_UID, answer)
    except OSError:
        return None
    return int.from_bytes(answer, sys.byteorder)


def _related(fd: int, request: int) -> int | None:
    try:
        found: int = fcntl.ioctl(fd, request)
    except OSError:  # EPERM: out of this process's sight; EINVAL: of a type that does not nest
        return None
    os.set_inheritable(found, False)
    return found
