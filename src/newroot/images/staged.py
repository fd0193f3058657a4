"""Files and directories on their way into the store: private, beside it, locked by who makes them.

A staged thing has a name of its own until it is whole and verified; then change.py renames it.  Its
flock says that its maker lives, so what a killed process left is told by a lock that is free.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from contextlib import contextmanager

from newroot.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h; sync_file_range(2)
#: After so many bytes of a large file the disk is told to begin.
_SEND = 32 << 20


class Staged:
    """A file or a directory on its way into the store: private, locked while we live."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd
        self._unsent = 0  # bytes written that nobody has begun to bring to the disk

    @property
    def is_directory(self) -> bool:
        """Whether it is one, not a file."""
        return stat.S_ISDIR(os.fstat(self.fd).st_mode)

    def write(self, data: bytes | bytearray) -> None:
        view = memoryview(data)
        with named_errors("write", self.path):
            while view:
                view = view[os.write(self.fd, view) :]
        self._unsent += len(data)
        if self._unsent >= _SEND:
            self._unsent = 0
            _begin_writing(self.fd)

    def discard(self) -> None:
        """Take it away again; harmless after it was published."""
        if self.fd < 0:
            return
        if self.is_directory:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            unlink(self.path)
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _begin_writing(fd: int) -> None:
    """Have the disk begin now, so that the fsync(2) at the end has little to wait for."""
    from newroot.linux.syscalls import call

    try:
        call("sync_file_range", fd, 0, 0, _SYNC_FILE_RANGE_WRITE)
    except (KeyError, OSError):
        pass  # a hint, no more; 32-bit ARM has another call


class Partial(Staged):
    """What has come of a blob so far: it outlives its maker, for the next one to go on with."""

    @property
    def size(self) -> int:
        """Bytes of it that are here."""
        return os.fstat(self.fd).st_size

    def empty(self) -> None:
        """Throw away what has come."""
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)

    def remove(self) -> None:
        """It is of no use: take it away."""
        super().discard()

    def discard(self) -> None:
        self.close()


class LayerLock:
    """The right to unpack one layer; may be let go and taken again."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def acquire(self) -> None:
        """Wait for it, if need be.  Having it already is fine."""
        while self._fd < 0:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if is_at(fd, self._path):
                self._fd = fd
            else:
                os.close(fd)  # who had it before us has taken it away

    def release(self) -> None:
        """Let it go.  Not having it is fine."""
        if self._fd >= 0:
            unlink(self._path)
            os.close(self._fd)
            self._fd = -1


def make_locked(path: str, *, directory: bool) -> Staged:
    """Make a new file or directory and lock it, even while somebody sweeps."""
    while True:
        if directory:
            os.mkdir(path, 0o700)
        flags = os.O_RDONLY | os.O_DIRECTORY if directory else os.O_RDWR | os.O_CREAT | os.O_EXCL
        try:
            fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        fcntl.flock(fd, fcntl.LOCK_EX)
        if is_at(fd, path):
            return Staged(path, fd)
        os.close(fd)


def unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def is_at(fd: int, path: str) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


@contextmanager
def named_errors(doing: str, target: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, SyscallError):
            raise
        number = error.errno or 0
        code = errno.errorcode.get(number, str(number))
        raise SyscallError(
            f"{doing} at {target}: {os.strerror(number)} ({code})",
            errno=number,
            call=doing,
            target=target,
            hint="the file system of the store is full" if number == errno.ENOSPC else None,
        ) from error
