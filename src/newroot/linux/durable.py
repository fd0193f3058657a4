"""What has been named is still there after a power loss: fsync(2) of directories.

fsync(2): that a file is on the disk does not mean that its name is; for that its directory is
synced too.  Callers make the file first, sync it, name it, and then call this.
"""

from __future__ import annotations

import os


def fsync_directory(path: str) -> None:
    """Wait until the names in the directory *path* are on the disk.  Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
