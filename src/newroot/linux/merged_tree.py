"""Walk the tree that an overlay of layers would show, without mounting it.

merged.py answers for one path; here a whole tree is gone through, each directory opened once, on
its parent's descriptor and never through a link, so what is in the layers cannot lead out of them.
What is found is named by the descriptor of the directory that holds it and its name there: good
until the walk goes on.

Whiteouts and opaque directories as there.  A layer may change while it is walked (a container
runs): then what is gone meanwhile is passed over.
"""

from __future__ import annotations

import errno
import os
import stat

from newroot.linux.erofs import open_layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


class Found:
    """One file of the tree: where it is, and what lstat(2) says of it."""

    __slots__ = ("name", "parent", "path", "status")

    def __init__(self, path: bytes, parent: int, name: bytes, status: os.stat_result) -> None:
        self.path = path  #: from the root, without a slash before it
        self.parent = parent  #: descriptor of the directory that holds it
        self.name = name
        self.status = status

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


class Directory:
    """A directory of the tree: its parts in the layers, topmost first, as descriptors."""

    __slots__ = ("hides", "parts", "path")

    def __init__(self, path: bytes, parts: list[int], *, hides: bool = False) -> None:
        self.path = path
        self.parts = parts
        self.hides = hides  #: what layers below these may have in its place

    def close(self) -> None:
        """Let its descriptors go.  Doing it twice is doing it once."""
        parts, self.parts = self.parts, []
        for part in parts:
            os.close(part)

    def list(self) -> list[Found]:
        """What is in it, in the order of the names' bytes."""
        seen: dict[bytes, Found | None] = {}
        for part in self.parts:
            for name in names(part):
                if name in seen:
                    continue
                try:
                    status = os.stat(name, dir_fd=part, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                seen[name] = (
                    None
                    if is_whiteout(status)
                    else Found(join(self.path, name), part, name, status)
                )
        return [found for _, found in sorted(seen.items()) if found is not None]

    def find(self, name: bytes) -> Found | None:
        """What is called *name* in it."""
        found = self.look(name)
        return None if found is None or is_whiteout(found.status) else found

    def enter(self, name: bytes) -> Directory | None:
        """The directory called *name* in it, the caller's to close; None where there is none."""
        parts, hides = enter_all(self.parts, name)
        return Directory(join(self.path, name), parts, hides=hides) if parts else None

    def look(self, name: bytes) -> Found | None:
        """What is called *name* in it, which may be a whiteout."""
        for part in self.parts:
            try:
                status = os.stat(name, dir_fd=part, follow_symlinks=False)
            except FileNotFoundError:
                continue
            return Found(join(self.path, name), part, name, status)
        return None


def enter_all(parts: Sequence[int], name: bytes) -> tuple[list[int], bool]:
    """The directories called *name* that show together, and whether they hide what is below.

    *parts* are the directories that hold them, topmost first.  The caller closes what it gets.
    """
    found: list[int] = []
    hides = False
    try:
        for part in parts:
            try:
                fd = os.open(name, _DIRECTORY, dir_fd=part)
            except FileNotFoundError:
                continue
            except OSError as error:
                # A file, a link or a whiteout hides what is below it, and is no directory.
                if error.errno in (errno.ENOTDIR, errno.ELOOP):
                    hides = True
                    break
                raise
            found.append(fd)
            if is_opaque(fd):
                hides = True
                break
    except BaseException:
        for fd in found:
            os.close(fd)
        raise
    return found, hides


def open_root(layers: Sequence[str]) -> Directory:
    """The root of the tree of *layers*, topmost first, the caller's to close.  Raises OSError."""
    parts: list[int] = []
    try:
        for layer in layers:
            # The root's own opaque mark is not heeded: overlayfs looks at it in no layer.
            parts.append(open_layer(layer, _DIRECTORY & ~os.O_NOFOLLOW))
    except BaseException:
        for fd in parts:
            os.close(fd)
        raise
    return Directory(b"", parts)


def walk(layers: Sequence[str], *, without: Container[bytes] = ()) -> Iterator[Found]:
    """Everything below the root of *layers*, directories before what is in them, sorted by name.

    *without* are paths that are passed over with all below them.  Each is good until the next.
    """
    todo: list[tuple[Directory, Iterator[Found]]] = []
    try:
        root = open_root(layers)
        todo.append((root, iter(root.list())))
        while todo:
            directory, entries = todo[-1]
            found = next(entries, None)
            if found is None:
                todo.pop()[0].close()
                continue
            if found.path in without:
                continue
            yield found
            if found.is_dir and (below := directory.enter(found.name)) is not None:
                todo.append((below, iter(below.list())))
    finally:
        for directory, _ in todo:
            directory.close()


def names(fd: int) -> list[bytes]:
    """The names in the directory open as *fd*, as bytes."""
    return [os.fsencode(name) for name in os.listdir(fd)]


def join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


def is_whiteout(status: os.stat_result) -> bool:
    return status.st_rdev == 0 and stat.S_ISCHR(status.st_mode)


def is_opaque(fd: int) -> bool:
    """Whether the directory open as *fd* hides what the layers below have in its place."""
    return any(_xattr(fd, name) == b"y" for name in _OPAQUE)


def _xattr(fd: int, name: str) -> bytes | None:
    try:
        return os.getxattr(fd, name)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EACCES):
            return None
        raise
