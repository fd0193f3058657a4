"""One layer as one EROFS file, written while its tar streams by: no file is made for each file.

    [superblock] [the tar, as it came] [what the tar has not in one piece] [directories] [inodes]

With blocks of 512 bytes, the tar's own, a file's data is used where it lies in the tar.  Names,
owners, modes, times and attributes are kept in memory meanwhile (images/layer_tree.py says what
each entry means) and written behind it, the superblock last.  What depends on nothing but the tar
and the layers below comes out the same each time.  Decision 0041 says why so.

Such a file is mounted straight from where it is (Linux 6.12) in the container's namespace, and is
read by newroot through linux/erofs.py.
"""

from __future__ import annotations

import errno
import os
import stat

from newroot.images.below import attributes_below
from newroot.images.layer_tree import NODES, OPAQUE, LayerTree, kept_xattrs, time_of
from newroot.images.limits import DEFAULT, Limits
from newroot.images.tar import TarReader
from newroot.linux import erofs_format as f

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from newroot.images.layer_tree import Unpacked
    from newroot.images.staged import Staged
    from newroot.images.tar import Entry

TAR_AT = 4096
_PAGE = 4096
_FLUSH = 1 << 20
_CHUNK_BITS = 12
_CHUNKS_MAX = 1 << 16  #: of one sparse file; a larger one has larger chunks
_ROOT_AT = 2 * f.SLOT


def write_layer(
    next_chunk: Callable[[], bytes],
    file: Staged,
    *,
    what: str,
    strict: bool = False,
    absolute_names: bool = True,
    below: Callable[[], Sequence[str]] = tuple,
    limits: Limits = DEFAULT,
) -> Unpacked:
    """Write the tar that *next_chunk* gives to *file*, a new one, as a file system.

    Reads to the end.  The arguments and errors are those of ``unpack_layer``.
    """
    copy = _Copy(next_chunk, file)
    reader = TarReader(copy.next, what=what, strict=strict, limits=limits)
    layer = _Layer(reader, what=what, limits=limits, absolute_names=absolute_names, below=below)
    unpacked = layer.read()
    while copy.next():
        pass
    _Writer(file, layer.root, copy.size).write(layer.sparse)
    return unpacked


class _Copy:
    """The tar on its way to its reader, written down in passing."""

    def __init__(self, next_chunk: Callable[[], bytes], file: Staged) -> None:
        self._next_chunk = next_chunk
        self._file = file
        self.size = 0
        os.lseek(file.fd, TAR_AT, os.SEEK_SET)

    def next(self) -> bytes:
        chunk = self._next_chunk()
        if chunk:
            self._file.write(chunk)
            self.size += len(chunk)
        return chunk


# ── the layer in memory ──────────────────────────────────────────────────────────────────────


class _Node:
    """One file of the layer."""

    __slots__ = (
        "at", "data", "entries", "gid", "layout", "links", "mode", "mtime_ns", "opaque", "parent",
        "pieces", "size", "tail", "uid", "union", "xattrs",
    )  # fmt: skip

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.uid = self.gid = self.mtime_ns = self.size = self.links = 0
        self.data = 0  #: where in the file its data begins
        self.union = 0  #: a device's number, a sparse file's chunk format
        self.xattrs = b""
        self.opaque = False
        self.entries: dict[bytes, _Node] | None = None  #: of a directory
        self.parent: _Node = self  #: of a directory; the root is its own
        self.pieces: list[tuple[int, int]] | None = None  #: of a sparse file
        self.layout = f.PLAIN
        self.tail = b""  #: what stands behind its inode: a link's target, a chunk map
        self.at = 0  #: of its inode, from where inodes begin


class _Layer(LayerTree):
    """The names of a layer while it is read."""

    def __init__(
        self,
        reader: TarReader,
        *,
        what: str,
        limits: Limits,
        absolute_names: bool,
        below: Callable[[], Sequence[str]],
    ) -> None:
        super().__init__(reader, what=what, limits=limits, absolute_names=absolute_names)
        self._below = below
        self.root = _Node(stat.S_IFDIR)
        self.root.entries = {}
        self.sparse: list[_Node] = []
        self._nodes: dict[bytes, _Node] = {b"": self.root}  # directories by their real paths

    def finish(self) -> None:
        """Owners, modes and times of directories, which a later entry may have changed."""
        implied = any(entry is None for entry in self._directories.values())
        below = self._below() if implied else ()
        for real, entry in self._directories.items():
            node = self._nodes[real]
            if entry is not None:
                self._describe(node, entry)
                continue
            found = attributes_below(below, real)
            node.mode = stat.S_IFDIR | found.mode
            node.uid, node.gid, node.mtime_ns = found.uid, found.gid, found.mtime_ns
            self._set_xattrs(node, [(os.fsencode(key), value) for key, value in found.xattrs])

    def _describe(self, node: _Node, entry: Entry) -> None:
        node.mode = stat.S_IFMT(node.mode) | entry.mode
        node.uid, node.gid, node.mtime_ns = entry.uid, entry.gid, time_of(entry)
        if entry.xattrs or node.opaque:
            self._set_xattrs(node, list(kept_xattrs(entry)))

    def _set_xattrs(self, node: _Node, pairs: list[tuple[bytes, bytes]]) -> None:
        if not stat.S_ISREG(node.mode) and not stat.S_ISDIR(node.mode):
            # xattr(7): user attributes are for files and directories only.
            pairs = [pair for pair in pairs if not pair[0].startswith(b"user.")]
        marks = [(key.encode(), b"y") for key in OPAQUE] if node.opaque else []
        node.xattrs = f.xattrs([*pairs, *marks])

    # ── where the names are kept ─────────────────────────────────────────────────────────────

    def _entries(self, parent: bytes) -> dict[bytes, _Node]:
        entries = self._nodes[parent].entries
        assert entries is not None
        return entries

    def _find(self, parent: bytes, name: bytes) -> _Node:
        node = self._entries(parent).get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return node

    def _put(self, parent: bytes, name: bytes, node: _Node) -> None:
        entries = self._entries(parent)
        if name in entries:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if len(name) > f.NAME_MAX:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        entries[name] = node

    def mode_of(self, parent: bytes, name: bytes) -> int:
        return self._find(parent, name).mode

    def link_of(self, parent: bytes, name: bytes) -> bytes:
        return self._find(parent, name).tail

    def new_directory(self, parent: bytes, name: bytes) -> None:
        node = _Node(stat.S_IFDIR)
        self._put(parent, name, node)
        node.entries = {}
        self._nodes[parent + b"/" + name if parent else name] = node

    def delete(self, parent: bytes, name: bytes, mode: int) -> None:
        del self._entries(parent)[name]
        if stat.S_ISDIR(mode):
            real = parent + b"/" + name if parent else name
            for path in [p for p in self._nodes if p == real or p.startswith(real + b"/")]:
                del self._nodes[path]

    # ── how files are made ───────────────────────────────────────────────────────────────────

    def file(self, entry: Entry, real: bytes, last: bytes) -> None:
        node = _Node(stat.S_IFREG)
        self._put(real[: -len(last) - 1], last, node)
        self._describe(node, entry)
        node.size = entry.size
        node.data = TAR_AT + self._reader.offset
        if entry.pieces is not None:
            node.pieces = entry.pieces
            self.sparse.append(node)

    def symlink(self, entry: Entry, parent: bytes, last: bytes) -> None:
        node = _Node(stat.S_IFLNK)
        self._put(parent, last, node)
        entry.mode = 0o777
        self._describe(node, entry)
        node.tail = entry.link
        node.size = len(entry.link)

    def node(self, entry: Entry, parent: bytes, last: bytes) -> None:
        node = _Node(NODES[entry.kind])
        self._put(parent, last, node)
        self._describe(node, entry)
        node.union = f.device(*entry.device)

    def link(self, target: bytes, parent: bytes, last: bytes) -> None:
        there, _, name = target.rpartition(b"/")
        node = self._find(there, name)
        if node.entries is not None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        self._put(parent, last, node)

    def whiteout(self, parent: bytes, last: bytes) -> None:
        self._put(parent, last, _Node(stat.S_IFCHR))

    def set_opaque(self, real: bytes) -> None:
        self._nodes[real].opaque = True


# ── the file ─────────────────────────────────────────────────────────────────────────────────


class _Writer:
    """Writes what stands behind the tar, and the superblock."""

    def __init__(self, file: Staged, root: _Node, tar_size: int) -> None:
        self._file = file
        self._root = root
        self._tar_size = tar_size
        self._end = _up(TAR_AT + tar_size, _PAGE)  # of what has a place in the file
        self._meta_size = _ROOT_AT  # of what has a place among the inodes
        self._order: list[_Node] = []

    def write(self, sparse: list[_Node]) -> None:
        for node in sparse:
            self._lay_out_sparse(node)
        self._place(self._root)
        meta_at = _up(self._end, _PAGE)
        self._end = meta_at
        buffer = bytearray()
        for node in self._order:
            buffer += bytes(node.at - len(buffer))
            buffer += self._inode(node)
        self._put(meta_at, buffer)
        end = _up(meta_at + len(buffer), _PAGE)
        os.ftruncate(self._file.fd, end)
        if self._root.opaque:
            # Overlayfs heeds no opaque root, so whoever stacks layers asks this file for it.
            os.setxattr(self._file.fd, OPAQUE[0], b"y")
        self._put(0, f"newroot layer\ntar {TAR_AT} {self._tar_size}\n".encode())
        head = f.superblock(
            root=_ROOT_AT // f.SLOT,
            inodes=len(self._order),
            blocks=end // f.BLOCK,
            meta_block=meta_at // f.BLOCK,
        )
        self._put(f.SUPERBLOCK_AT, head)

    def _put(self, at: int, data: bytes | bytearray) -> None:
        os.lseek(self._file.fd, at, os.SEEK_SET)
        self._file.write(data)

    def _new_place(self, size: int) -> int:
        at = self._end
        self._end = _up(at + size, f.BLOCK)
        return at

    # ── places ───────────────────────────────────────────────────────────────────────────────

    def _place(self, root: _Node) -> None:
        """Give every inode its place, directories before what is in them; count the names."""
        todo = [root]
        root.links = 2
        while todo:
            node = todo.pop()
            self._place_inode(node)
            for _, child in sorted((node.entries or {}).items()):
                if child.entries is not None:
                    child.links, child.parent = 2, node
                    node.links += 1
                    todo.append(child)
                    continue
                child.links += 1
                if child.links == 1:
                    self._place_inode(child)

    def _place_inode(self, node: _Node) -> None:
        need = f.INODE + len(node.xattrs)
        tail = len(node.tail)
        if node.entries is not None:
            node.size = f.directory_size(sorted([*node.entries, b".", b".."]))
            tail = node.size
        at = _up(self._meta_size, f.SLOT)
        if node.layout == f.CHUNKED:
            need += tail
        elif tail and need + tail <= f.BLOCK:
            # The kernel wants such data in one block with the inode's last bytes.
            node.layout = f.INLINE
            need += tail
        elif tail:
            node.data = self._new_place(tail)
        if at % f.BLOCK + min(need, f.BLOCK) > f.BLOCK:
            at = _up(at, f.BLOCK)
        node.at = at
        self._meta_size = at + need
        self._order.append(node)

    # ── bytes ────────────────────────────────────────────────────────────────────────────────

    def _inode(self, node: _Node) -> bytes:
        tail = node.tail if node.entries is None else _directory(node)
        if tail and node.layout == f.PLAIN:
            self._put(node.data, tail)
            tail = b""
        made = f.inode(
            layout=node.layout,
            xattr_size=len(node.xattrs),
            mode=node.mode,
            size=node.size,
            union=node.union or node.data // f.BLOCK,
            number=node.at // f.SLOT,
            uid=node.uid,
            gid=node.gid,
            mtime_ns=node.mtime_ns,
            links=node.links,
        )
        return made + node.xattrs + tail

    # ── sparse files ─────────────────────────────────────────────────────────────────────────

    def _lay_out_sparse(self, node: _Node) -> None:
        """Give a sparse file's pieces places of their own, in chunks; the tar has them packed."""
        bits = _CHUNK_BITS
        while node.size >> bits > _CHUNKS_MAX:
            bits += 1
        places = [f.HOLE] * -(-node.size >> bits)
        at = node.data
        for offset, length in node.pieces or ():
            if not length:
                continue
            first = offset >> bits
            for chunk in range(first, (offset + length - 1 >> bits) + 1):
                if places[chunk] == f.HOLE:
                    places[chunk] = self._new_place(1 << bits) // f.BLOCK
            # The chunks of a piece lie one after the other: each was the last when it was placed.
            self._copy(at, places[first] * f.BLOCK + offset - (first << bits), length)
            at += length
        node.layout, node.union = f.CHUNKED, f.chunk_format(bits)
        node.tail = f.chunk_map(places)

    def _copy(self, source: int, target: int, size: int) -> None:
        while size:
            data = os.pread(self._file.fd, min(size, _FLUSH), source)
            self._put(target, data)
            source, target, size = source + len(data), target + len(data), size - len(data)


def _directory(node: _Node) -> bytes:
    entries = {b".": (node.at // f.SLOT, node.mode)}
    entries[b".."] = (node.parent.at // f.SLOT, node.parent.mode)
    for name, child in (node.entries or {}).items():
        entries[name] = (child.at // f.SLOT, child.mode)
    return f.directory(dict(sorted(entries.items())))


def _up(size: int, to: int) -> int:
    return -(-size // to) * to
