"""What each layer of an overlay adds to those below it, replaces, deletes and hides.

In overlay form a deleted name is a character device 0:0, and a directory with the attribute
``overlay.opaque`` hides all that is below it: overlayfs.rst, whiteouts and opaque directories.
Read as it stands: of a layer that is written to meanwhile the counts may be a little off.
"""

from __future__ import annotations

import os
import stat

from newroot.errors import ImageError, UnsupportedError
from newroot.linux.erofs import open_layer
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    #: name -> the directory's own entries, or None for whatever is no directory
    Tree = dict[str, "Tree | None"]

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_EXAMPLES = 4
_MOST = 300_000  #: entries of one layer; what comes after is not counted


@record
class LayerContent:
    """What one directory brings."""

    path: str
    size_bytes: int = 0  #: on the disk, each file once
    added: int = 0  #: names that nothing below has, directories among them
    replaced: int = 0  #: files that are there below as well
    deleted: int = 0  #: names that are there no more
    hidden: int = 0  #: names below a directory that was made anew, or became a file
    examples: tuple[tuple[str, str], ...] = ()  #: (``-`` or ``~``, path) of a few
    whole: bool = True  #: False where something could not be read


def contents(directories: Iterable[str]) -> tuple[LayerContent, ...]:
    """Look through *directories*, topmost first, as an overlay has them; in the same order.

    A layer that is one EROFS file is looked through as well.
    """
    below: Tree = {}
    found = []
    for directory in reversed(tuple(directories)):
        reader = _Reader(directory)
        try:
            fd = open_layer(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ImageError, UnsupportedError):
            reader.whole = False
        else:
            reader.read(f"/proc/self/fd/{fd}", "", below)
            os.close(fd)
        found.append(reader.content())
    return tuple(reversed(found))


class _Reader:
    """One layer, laid on what is below, which becomes what is then seen."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = self.seen = self.added = self.replaced = self.deleted = self.hidden = 0
        self.examples: list[tuple[str, str]] = []
        self.files: set[tuple[int, int]] = set()
        self.whole = True

    def content(self) -> LayerContent:
        return LayerContent(
            path=self.path,
            size_bytes=self.size,
            added=self.added,
            replaced=self.replaced,
            deleted=self.deleted,
            hidden=self.hidden,
            examples=tuple(self.examples),
            whole=self.whole,
        )

    def read(self, directory: str, inner: str, below: Tree) -> None:
        for entry, about in self._entries(directory):
            path = f"{inner}/{entry.name}"
            there = below.get(entry.name)
            was = entry.name in below
            if stat.S_ISCHR(about.st_mode) and about.st_rdev == 0:
                if was:
                    self.deleted += 1 + _count(there)
                    self._show("-", path)
                    del below[entry.name]
            elif stat.S_ISDIR(about.st_mode):
                if not was or there is None:
                    self.added += not was
                    self.replaced += was
                    there = below[entry.name] = {}
                elif _is_opaque(entry.path):
                    self.hidden += _count(there)
                    self._show("-", f"{path}/*")
                    there = below[entry.name] = {}
                self.read(entry.path, path, there)
            else:
                self._file(about)
                self.added += not was
                self.replaced += was
                if was:
                    self.hidden += _count(there)
                    self._show("~", path)
                below[entry.name] = None

    def _entries(self, directory: str) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError:
            self.whole = False
            return
        for entry in entries:
            self.seen += 1
            if self.seen > _MOST:
                self.whole = False
                return
            try:
                yield entry, entry.stat(follow_symlinks=False)
            except OSError:
                self.whole = False

    def _file(self, about: os.stat_result) -> None:
        key = (about.st_dev, about.st_ino)
        if about.st_nlink > 1:
            if key in self.files:
                return
            self.files.add(key)
        self.size += about.st_blocks * 512

    def _show(self, mark: str, path: str) -> None:
        if len(self.examples) < _EXAMPLES:
            self.examples.append((mark, path))


def _count(tree: Tree | None) -> int:
    return sum(1 + _count(inner) for inner in tree.values()) if tree else 0


def _is_opaque(path: str) -> bool:
    for name in _OPAQUE:
        try:
            if os.getxattr(path, name, follow_symlinks=False) in (b"y", b"x"):
                return True
        except OSError:
            continue
    return False
