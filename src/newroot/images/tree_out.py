"""A tree of files below a descriptor becomes a tar: what ``cp`` and ``volume export`` send.

Whoever owns the tree may change it meanwhile, and may mean harm.  Each name is opened on its
directory's descriptor, and no link is followed; what is gone when its turn comes is left out.
"""

from __future__ import annotations

import errno
import os
import stat

from newroot.errors import UnsafeEntry
from newroot.images.tree import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from newroot.images.pack import Packer

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)
#: Each level holds a descriptor; linux/paths.py has the same bound.
_DEEPEST = 256


def pack_tree(
    packer: Packer,
    parent: int,
    name: bytes,
    called: bytes,
    *,
    closed: frozenset[int] = frozenset(),
) -> Iterator[bytes]:
    """The members for *name* in the directory *parent* and all below it, *called* so in the tar.

    A directory on one of the devices *closed* goes in empty.  The end of the archive is the
    caller's to add.  Raises UnsafeEntry for a tree that is deeper than 256 directories.
    """
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        if error.errno in _GONE:
            return
        raise
    yield from packer.file(called, parent, name, status)
    if not stat.S_ISDIR(status.st_mode) or status.st_dev in closed:
        return
    if called.count(b"/") >= _DEEPEST:
        raise UnsafeEntry(f"pack {show(called)}: it lies deeper than {_DEEPEST} directories")
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError as error:
        if error.errno in _GONE:
            return
        raise
    try:
        # What was opened, and what was looked at, may be two things.
        if os.fstat(fd).st_dev in closed:
            return
        for child in sorted(map(os.fsencode, os.listdir(fd))):
            yield from pack_tree(packer, fd, child, called + b"/" + child, closed=closed)
    finally:
        os.close(fd)
