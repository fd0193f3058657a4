"""Paths inside a root that somebody else has written: resolve them without ever leaving it.

openat2(RESOLVE_IN_ROOT) for Python, whose os module has no openat2 and for which ctypes would cost
more than the walk.  Every step opens one name in a directory that is held by descriptor, with
O_PATH and O_NOFOLLOW; a symlink is read and its text is walked from the root or from where it
lies; ``..`` goes back to a descriptor that we came by, so it cannot climb above the root.  A magic
link of /proc is no more than its text here.  Nothing is opened for real before its kind is known,
so a FIFO or a device in the image neither hangs nor wakes anything.
"""

from __future__ import annotations

import errno
import os
import stat

from newroot.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: As the kernel: path_resolution(7).
MAX_SYMLINKS = 40
#: Each level holds descriptors; a path of PATH_MAX bytes could ask for two thousand.
MAX_DEPTH = 256
#: A layer that is one EROFS file ends so; one that is a directory has no dot in its name.
EROFS_SUFFIX = ".erofs"
#: What ``read_in_root`` reads at most, unless told otherwise: /etc/passwd is never near it.
READ_LIMIT = 1 << 20

_PROBE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Entry:
    """What a path led to, by descriptor.  A merged directory has several, topmost first."""

    __slots__ = ("fds", "mode")

    def __init__(self, fds: tuple[int, ...], mode: int) -> None:
        self.fds = fds
        self.mode = mode

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)


class Walk:
    """One resolution below *root*.  A context manager: leaving it closes what the walk opened.

    *lookup* opens one name in a directory, or returns None when it is not there.
    """

    def __init__(self, root: Entry, lookup: Callable[[Entry, str], Entry | None]) -> None:
        self._root = root
        self._lookup = lookup
        self._stack = [root]
        self._opened: list[int] = []
        self.names: list[str] = []  #: where the last resolution led: a path without links or dots

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *exc: object) -> None:
        for fd in self._opened:
            os.close(fd)
        self._opened.clear()

    def resolve(self, path: str, *, follow: bool = True) -> tuple[Entry, str, Entry | None]:
        """Walk *path*: the directory where it ends, the last name in it, and what is there.

        The last is None when only the last name is missing.  *follow* says what to do when it is
        a symlink.  Raises OSError: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EMFILE.
        """
        links, name = 0, "."
        todo = path.split("/")[::-1]
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                self._up()
                continue
            found = self._enter(name, path)
            if found is None:
                if any(rest not in ("", ".") for rest in todo):
                    raise _error(errno.ENOENT, path)
                self.names.append(name)
                return self._stack[-1], name, None
            if found.is_link and (todo or follow):
                links += 1
                if links > MAX_SYMLINKS:
                    raise _error(errno.ELOOP, path)
                todo += self._read_link(found).split("/")[::-1]
                continue
            self._stack.append(found)
            self.names.append(name)
        return self._stack[max(len(self._stack) - 2, 0)], name, self._stack[-1]

    def _enter(self, name: str, path: str) -> Entry | None:
        if not self._stack[-1].is_dir:
            raise _error(errno.ENOTDIR, path)
        if len(self._stack) > MAX_DEPTH:
            raise _error(errno.ENAMETOOLONG, path)
        if "\0" in name:
            raise _error(errno.ENOENT, path)
        found = self._lookup(self._stack[-1], name)
        if found is not None:
            self._opened += found.fds
        return found

    def _up(self) -> None:
        if len(self._stack) > 1:
            self._forget(self._stack.pop())
            self.names.pop()

    def _read_link(self, link: Entry) -> str:
        """The text of a symlink; an absolute one puts us back at the root."""
        text = os.readlink("", dir_fd=link.fds[0])
        self._forget(link)
        if text.startswith("/"):
            while len(self._stack) > 1:
                self._up()
        return text

    def _forget(self, entry: Entry) -> None:
        for fd in entry.fds:
            self._opened.remove(fd)
            os.close(fd)


def open_in_root(root_fd: int, path: str, flags: int, mode: int = 0o666) -> int:
    """Open *path* as a process whose root is *root_fd* would see it.  The caller closes it.

    Absolute symlinks start at *root_fd*, and nothing leads above it.  O_NOFOLLOW is about
    the last name only, as in open(2); O_CREAT makes the last name.  Without O_NONBLOCK, opening a
    FIFO waits for its other end: look first with O_PATH, or use ``read_in_root``.

    Raises OSError as open(2) does.
    """
    with Walk(Entry((root_fd,), stat.S_IFDIR), look_up) as walk:
        parent, name, found = walk.resolve(path, follow=not flags & os.O_NOFOLLOW)
        if found is None:
            if not flags & os.O_CREAT:
                raise _error(errno.ENOENT, path)
            # O_EXCL: whoever puts something there now loses us the race, and wins nothing.
            create = flags | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(name, create, mode, dir_fd=parent.fds[0])
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise _error(errno.EEXIST, path)
        if flags & os.O_PATH:
            _require_directory(found, flags, path)
            return os.dup(found.fds[0])
        if found.is_link:
            raise _error(errno.ELOOP, path)
        return reopen(found.fds[0], flags & ~(os.O_CREAT | os.O_NOFOLLOW))


def read_in_root(root_fd: int, path: str, *, limit: int = READ_LIMIT) -> bytes | None:
    """The contents of a regular file below *root_fd*; None where there is none.

    A directory, a FIFO, a device, a loop of symlinks are none.  Raises SyscallError (EFBIG) for
    one of more than *limit* bytes, and OSError where the host is at fault.
    """
    with Walk(Entry((root_fd,), stat.S_IFDIR), look_up) as walk:
        return read_found(walk, path, limit)


def read_found(walk: Walk, path: str, limit: int) -> bytes | None:
    """Read the regular file that *walk* finds at *path*; None where there is none."""
    found = resolve_or_none(walk, path)
    if found is None or not found.is_file:
        return None
    fd = reopen(found.fds[0], os.O_RDONLY | os.O_NONBLOCK)
    with open(fd, "rb", buffering=0) as file:
        text = b""
        while chunk := file.read(limit + 1 - len(text)):
            text += chunk
            if len(text) > limit:
                raise SyscallError(
                    f"read {path} of the image: more than {limit} bytes",
                    errno=errno.EFBIG,
                    call="read",
                    target=path,
                )
    return text


def resolve_or_none(walk: Walk, path: str, *, follow: bool = True) -> Entry | None:
    """What *path* leads to, or None where it leads nowhere, whoever's fault it is."""
    nowhere = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
    try:
        return walk.resolve(path, follow=follow)[2]
    except OSError as error:
        if error.errno in nowhere:
            return None
        raise


def look_up(directory: Entry, name: str) -> Entry | None:
    """Open one name in one directory, whatever it is, without touching it."""
    try:
        fd = os.open(name, _PROBE, dir_fd=directory.fds[0])
    except FileNotFoundError:
        return None
    return Entry((fd,), os.fstat(fd).st_mode)


def reopen(path_fd: int, flags: int) -> int:
    """Open for use what *path_fd* (O_PATH) holds: that very file, without looking it up again."""
    return os.open(f"/proc/self/fd/{path_fd}", flags | os.O_CLOEXEC)


def _require_directory(found: Entry, flags: int, path: str) -> None:
    if flags & os.O_DIRECTORY and not found.is_dir:
        raise _error(errno.ENOTDIR, path)


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
