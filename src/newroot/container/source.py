"""What a container's root is made from: an image's layers, or a directory."""

from __future__ import annotations

import os

from newroot.errors import NotFound, UsageError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@record
class Source:
    """Directories, and what an image says about running them."""

    lower: tuple[str, ...] = ()  #: topmost first, never written to
    shifted: tuple[str, ...] = ()  #: what *lower* shows with other owners; mounted in its place
    directory: str | None = None  #: or one directory, used as it is
    image: dict[str, Any] = {}  # noqa: RUF012  # the ``config`` of an OCI image; never changed
    name: str  #: for people and for records
    key: str  #: the same key: the same source
    own_etc: bool = False  #: its hosts, hostname and resolv.conf are the ones to be used
    throwaway: bool = False  #: what is written on top is to be forgotten

    @property
    def layers(self) -> tuple[str, ...]:
        """The directories that a name in the root may be in, topmost first."""
        return self.shifted or self.lower or ((self.directory,) if self.directory else ())


def stamp(path: str) -> tuple[int, int] | None:
    """What changes whenever the file at *path* does; None while it cannot be looked at."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # a NUL byte; whoever opens it will say so
        return None
    return status.st_ino, status.st_mtime_ns


def directory_source(words: str) -> Source:
    """``--rootfs DIR``, used as it is, or ``DIR:O``, under a throw-away overlay.

    Raises NotFound when there is no such directory, UsageError when it is the host's own root.
    """
    path, overlay = (words[:-2], True) if words.endswith(":O") else (words, False)
    path = os.path.abspath(path)
    if not os.path.isdir(path):
        what = "not a directory" if os.path.lexists(path) else "no such directory"
        raise NotFound(f"--rootfs {path}: {what}")
    if path == "/" and not overlay:
        raise UsageError(
            "--rootfs /: the host's own root cannot be the new root as it is",
            hint="--rootfs /:O runs on a throw-away overlay of it",
        )
    if overlay:
        return Source(lower=(path,), name=path, key=words, throwaway=True)
    return Source(directory=path, name=path, key=words)
