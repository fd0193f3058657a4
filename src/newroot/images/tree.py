"""A tree of names that an archive is unpacked into, and that nothing can lead out of.

Every name given here is untrusted.  No path is ever handed on: ``..`` is taken apart here, and a
symbolic link on the way is read and followed by us, component by component, from the tree's own
root.  So a link to ``/etc`` means the tree's ``etc``, as it will in the container; climbing above
the root is an error.  Where the names are kept, in a directory or in memory, is a subclass's.

The tree is private while it is made (nobody else writes to it), which is why what was once seen to
be a directory may be remembered as one.
"""

from __future__ import annotations

import os
import stat

from newroot.errors import ImageError, UnsafeEntry
from newroot.images.limits import DEFAULT, Limits

_LINKS_MAX = 40  # MAXSYMLINKS of the kernel, path_resolution(7)
_REPLACED_MAX = 1000


class Tree:
    """Directories by their real paths: no links, no dots; ``b""`` is the root."""

    def __init__(self, *, what: str, limits: Limits = DEFAULT) -> None:
        self._what = what
        self._limits = limits
        self._real: dict[bytes, bytes] = {b"": b""}  # directory as spelled → real path
        self._replaced = 0

    # ── where the names are kept ─────────────────────────────────────────────────────────────

    def mode_of(self, parent: bytes, name: bytes) -> int:
        """The st_mode of what is called *name* there, itself.  Raises FileNotFoundError."""
        raise NotImplementedError

    def link_of(self, parent: bytes, name: bytes) -> bytes:
        """The target of the symbolic link *name*."""
        raise NotImplementedError

    def new_directory(self, parent: bytes, name: bytes) -> None:
        """Make one.  Raises FileExistsError."""
        raise NotImplementedError

    def delete(self, parent: bytes, name: bytes, mode: int) -> None:
        """Take it away, a directory with all that is in it."""
        raise NotImplementedError

    # ── names ────────────────────────────────────────────────────────────────────────────────

    def split(self, name: bytes) -> tuple[bytes, bytes]:
        """The real path of an entry's parent, made if missing, and the entry's last component.

        ``(b"", b"")`` is the root itself.
        """
        if len(name) > self._limits.path_bytes:
            raise self.unsafe(name, f"its name is longer than {self._limits.path_bytes} bytes")
        # The common case: nothing to clean, and a parent that was there a moment ago.
        parent, _, last = name.rpartition(b"/")
        if last not in (b"", b".", b"..") and parent in self._real:
            return self._real[parent], last
        parts = self._cleaned(name)
        if not parts:
            return b"", b""
        parent = b"/".join(parts[:-1])
        real = self._real.get(parent)
        if real is None:
            real = self._real[parent] = self._walk(parts[:-1], name, make=True)
        return real, parts[-1]

    def find(self, name: bytes) -> tuple[bytes, bytes]:
        """As ``split``, for an entry that must be there already: nothing is made."""
        if len(name) > self._limits.path_bytes:
            raise self.unsafe(name, f"its name is longer than {self._limits.path_bytes} bytes")
        parts = self._cleaned(name)
        if not parts:
            return b"", b""
        return self._walk(parts[:-1], name, make=False), parts[-1]

    def make_directory(self, real: bytes) -> None:
        """Make one directory, private until its own mode is set."""
        parent, _, last = real.rpartition(b"/")
        if real.count(b"/") >= self._limits.depth:
            raise self.unsafe(real, f"it lies deeper than {self._limits.depth} directories")
        self.new_directory(parent, last)

    def remove(self, real: bytes) -> int:
        """Remove what is at *real*, a whole tree if it is one; return its mode."""
        parent, _, last = real.rpartition(b"/")
        mode = self.mode_of(parent, last)
        if stat.S_ISDIR(mode):
            # Forgetting costs time that an archive of nothing but replacements could ask for.
            self._replaced += 1
            if self._replaced > _REPLACED_MAX:
                raise self.unsafe(real, f"more than {_REPLACED_MAX} directories are replaced")
        self.delete(parent, last, mode)
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self._real = {b"": b""}
        return mode

    def unsafe(self, name: bytes, words: str) -> UnsafeEntry:
        return UnsafeEntry(f"unpack {self._what}: entry {show(name)}: {words}")

    def _cleaned(self, name: bytes) -> list[bytes]:
        """The components of an entry's name, ``..`` taken apart by text, as Go's path.Clean."""
        parts: list[bytes] = []
        for part in name.split(b"/"):
            if part == b"..":
                if not parts:
                    raise self.unsafe(name, "it climbs above the root with '..'")
                parts.pop()
            elif part not in (b"", b"."):
                parts.append(part)
        return parts

    def _walk(self, parts: list[bytes], name: bytes, *, make: bool) -> bytes:
        here = b""
        todo = parts[::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                if not here:
                    raise self.unsafe(name, "a symbolic link on its way climbs above the root")
                here = here.rpartition(b"/")[0]
                continue
            child = here + b"/" + part if here else part
            link = self._step(here, part, child, name, make=make)
            if link is None:
                here = child
                continue
            links += 1
            if links > _LINKS_MAX:
                raise self.unsafe(name, "too many symbolic links on its way")
            if link.startswith(b"/"):
                here = b""
            todo.extend(reversed(link.split(b"/")))
        return here

    def _step(
        self, here: bytes, part: bytes, child: bytes, name: bytes, *, make: bool
    ) -> bytes | None:
        """Go into one component; the target when it is a symbolic link."""
        if self._real.get(child) == child:
            return None
        try:
            mode = self.mode_of(here, part)
        except FileNotFoundError:
            if not make:
                raise
            self.implied(child)
            return None
        if stat.S_ISLNK(mode):
            return self.link_of(here, part)
        if not stat.S_ISDIR(mode):
            self.in_the_way(child, name)
            return None
        self._real[child] = child
        return None

    def implied(self, real: bytes) -> None:
        """Make a directory that the archive needs and does not have."""
        self.make_directory(real)

    def in_the_way(self, real: bytes, name: bytes) -> None:
        """Something that is no directory stands where one is needed."""
        raise ImageError(
            f"unpack {self._what}: entry {show(name)}: {show(real)} above it is not a directory"
        )


def show(name: bytes) -> str:
    """A name from an archive, safe to print on one line."""
    text = repr(os.fsdecode(name[:200]))
    return text if len(name) <= 200 else f"{text}…"
