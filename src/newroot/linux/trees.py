"""Remove a directory tree whose contents are somebody else's.

Every step is by descriptor and follows no link, so nothing outside the tree can be reached
through it, whatever is swapped meanwhile.  (shutil.rmtree does the same; importing shutil costs
5 ms, half of what it costs to start a container.)
"""

from __future__ import annotations

import errno
import os

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove *path* and all below it.  What is gone already is no error.  Raises OSError."""
    parent = os.open(os.path.dirname(path) or ".", _DIRECTORY)
    try:
        _remove(parent, os.path.basename(path))
    finally:
        os.close(parent)


def remove_at(parent: int, name: str) -> None:
    """Remove *name* of the directory open as *parent*, and all below it.  Errors as above."""
    _remove(parent, name)


def _remove(parent: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        _remove_directory(parent, name)


def _remove_directory(parent: int, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        fd = _open(parent, name)
        try:
            for entry in os.listdir(fd):
                _remove(fd, entry)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=parent)


def _open(parent: int, name: str) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except PermissionError:
        # Without root, a directory that a container closed to its owner is its owner's to open.
        os.chmod(name, 0o700, dir_fd=parent)
        return os.open(name, _DIRECTORY, dir_fd=parent)
