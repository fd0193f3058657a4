"""An append-only file that many processes write whole lines to, turned when it is large.

    <directory>/log, log.1, log.2     the newest first

Each line is one write(2) with O_APPEND, so lines of several writers never mix, and begins on a line
of its own whatever a crash of the host left of the one before.  Nobody has to be asked: there is no
daemon, and a writer that is killed leaves a whole line or none.  A turn waits for nobody: who holds
the file shared is writing, and the next writer turns it.  native/notes.c writes lines here too.
"""

from __future__ import annotations

import fcntl
import os

MOST_BYTES = 4 << 20
FILES = 3


class Journal:
    """The lines in one directory, which is made when the first is written."""

    def __init__(self, directory: str, *, most_bytes: int = MOST_BYTES) -> None:
        self.directory = directory
        self._most_bytes = most_bytes

    def append(self, line: str) -> None:
        """Write *line* down.  A full disk or a missing right is no reason to fail."""
        try:
            self._write(f"\n{line}\n".encode())
        except OSError:
            pass

    def make(self) -> None:
        """Make the file, so that somebody can wait for it to grow."""
        os.close(self._open())

    def _open(self) -> int:
        path, flags = f"{self.directory}/log", os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            return os.open(path, flags, 0o600)

    def _write(self, line: bytes) -> None:
        fd = self._open()
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            os.write(fd, line)
            if os.fstat(fd).st_size >= self._most_bytes:
                self._turn(fd)
        finally:
            os.close(fd)

    def _turn(self, fd: int) -> None:
        """``log`` becomes ``log.1``, unless somebody writes or has turned it already."""
        path = f"{self.directory}/log"
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if not os.path.samestat(os.fstat(fd), os.stat(path)):
            return
        for number in range(FILES - 2, -1, -1):
            older = f"{path}.{number}" if number else path
            if os.path.exists(older):
                os.rename(older, f"{path}.{number + 1}")
