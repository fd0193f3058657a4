"""Waiting until something changes in a directory: inotify(7)."""

from __future__ import annotations

import os
import select

_IN_MODIFY, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x2, 0x80, 0x100, 0x200


class Watch:
    """Changes in one directory: files written to, made, renamed or removed in it."""

    def __init__(self, directory: str) -> None:
        """Raises OSError; EMFILE or ENOSPC when the user has too many watches."""
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        mask = _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
        if self._fd < 0 or libc.inotify_add_watch(self._fd, os.fsencode(directory), mask) < 0:
            number = ctypes.get_errno()
            self.close()
            raise OSError(number, os.strerror(number), directory)

    def wait(self, seconds: float | None) -> bool:
        """Wait for a change, at most so long; whether there was one.  None is for ever."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if not poll.poll(None if seconds is None else seconds * 1000):
            return False
        os.read(self._fd, 1 << 16)
        return True

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
