"""What the layers below have at a path, for a directory that a layer implies without naming it.

``tmp/x`` in a layer without ``tmp`` must not make the image's /tmp 0755: in an overlay the upper
directory's owner and mode are the ones that count.  umoci writes such layers, and so do several
builders.  Layers are shared by diff ID, so where two images put one such layer on different
layers, the first that brought it decides.
"""

from __future__ import annotations

import errno
import os

from newroot.linux.erofs import open_layer
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


@record
class Attributes:
    """A directory's own metadata."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[str, bytes], ...] = ()


#: Where no layer has the directory either.
PLAIN = Attributes(mode=0o755, uid=0, gid=0, mtime_ns=0)


def attributes_below(layers: Sequence[str], real: bytes) -> Attributes:
    """What the stack *layers*, topmost first, shows at the real path *real*."""
    for layer in layers:
        try:
            found, more = _look(open_layer(layer, _DIRECTORY), real.split(b"/") if real else [])
        except OSError:
            continue
        if found is not None:
            return found
        if not more:
            break
    return PLAIN


def _look(fd: int, parts: list[bytes]) -> tuple[Attributes | None, bool]:
    """What one layer has, and whether the layers below it may be asked; closes *fd*."""
    try:
        for part in parts:
            try:
                child = os.open(part, _DIRECTORY, dir_fd=fd)
            except OSError as error:
                # Anything else stands in the way here, such as a whiteout: nothing below shows.
                return None, error.errno == errno.ENOENT and not _is_opaque(fd)
            os.close(fd)
            fd = child
        return _attributes(fd), False
    finally:
        os.close(fd)


def _is_opaque(fd: int) -> bool:
    return any(key in _OPAQUE for key in os.listxattr(fd))


def _attributes(fd: int) -> Attributes:
    status = os.fstat(fd)
    return Attributes(
        mode=status.st_mode & 0o7777,
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        xattrs=tuple(
            (key, os.getxattr(fd, key))
            for key in os.listxattr(fd)
            if not key.startswith(("trusted.overlay.", "user.overlay."))
        ),
    )
