"""The parts of an EROFS file system: superblock, inodes, attributes, directory entries, chunk maps.

Only what a layer of ours (images/erofs.py) needs: blocks of 512 bytes, so that what a tar holds is
found where it lies; extended inodes; nothing compressed, nothing shared.  The numbers are those of
the kernel's fs/erofs/erofs_fs.h and of Documentation/filesystems/erofs.rst.  Everything is
little-endian.
"""

from __future__ import annotations

import errno
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

BLOCK = 512
BLOCK_BITS = 9
SLOT = 32  #: an inode's number counts these, from where inodes begin
INODE = 64
SUPERBLOCK_AT = 1024
NAME_MAX = 255
HOLE = 0xFFFFFFFF

PLAIN, INLINE, CHUNKED = 0, 2, 4  #: where an inode's data are; 1 and 3 are compressed

_MAGIC = 0xE0F5E1E2
_MTIME = 0x2  #: compatible: the times are those of the last modification
_CHUNKED_FILES = 0x4  #: incompatible: some file has a chunk map
_EXTENDED = 1
_SUPERBLOCK = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQB23x")
_INODE = struct.Struct("<HHHHQIIIIqII16x")
_DIRENT = struct.Struct("<QHBB")
_XATTR = struct.Struct("<BBH")
_XATTR_HEAD = bytes(12)  # no filter, none shared
_XATTR_VALUE_MAX = 0xFFFF
#: An attribute's name is stored without what the number stands for.
_XATTR_PREFIXES = (
    (b"user.", 1),
    (b"trusted.", 4),
    (b"security.", 6),
)
_XATTR_WHOLE = {b"system.posix_acl_access": 2, b"system.posix_acl_default": 3}


def superblock(*, root: int, inodes: int, blocks: int, meta_block: int) -> bytes:
    """The superblock, which stands 1024 bytes into the file."""
    return _SUPERBLOCK.pack(
        _MAGIC, 0, _MTIME, BLOCK_BITS, 0, root, inodes,
        0, 0, blocks, meta_block, 0,
        bytes(16), b"newroot layer", _CHUNKED_FILES, 0, 0, 0, 0, 0, 0, 0, 0,
    )  # fmt: skip


def nothing() -> bytes:
    """A whole file system of an empty root."""
    root = INODE // SLOT
    entries = directory({b".": (root, 0o40755), b"..": (root, 0o40755)})
    made = inode(
        layout=INLINE, xattr_size=0, mode=0o40755, size=len(entries), union=0, number=root,
        uid=0, gid=0, mtime_ns=0, links=2,
    )  # fmt: skip
    head = superblock(root=root, inodes=1, blocks=8, meta_block=4)
    behind = bytes(4 * BLOCK - SUPERBLOCK_AT - len(head) + INODE)
    return _padded(bytes(SUPERBLOCK_AT) + head + behind + made + entries, 8 * BLOCK)


def inode(
    *,
    layout: int,
    xattr_size: int,
    mode: int,
    size: int,
    union: int,
    number: int,
    uid: int,
    gid: int,
    mtime_ns: int,
    links: int,
) -> bytes:
    """An extended inode; *union* is a block, a device or a chunk format."""
    count = (xattr_size - len(_XATTR_HEAD)) // 4 + 1 if xattr_size else 0
    seconds, nanoseconds = divmod(mtime_ns, 1_000_000_000)
    return _INODE.pack(
        _EXTENDED | layout << 1, count, mode, 0, size, union, number, uid, gid,
        seconds, nanoseconds, links,
    )  # fmt: skip


def device(major: int, minor: int) -> int:
    """A device as the kernel writes it down: new_encode_dev(), include/linux/kdev_t.h."""
    if major >= 1 << 12 or minor >= 1 << 20:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12


# ── extended attributes ──────────────────────────────────────────────────────────────────────


def xattrs(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """What stands behind an inode; empty when no attribute is one that EROFS knows.

    Raises OSError (E2BIG) for more than an inode can have.
    """
    parts = []
    for key, value in sorted(pairs):
        found = _xattr_name(key)
        if found is None:
            continue  # no file system of Linux would take it either
        index, name = found
        if len(name) > NAME_MAX or len(value) > _XATTR_VALUE_MAX:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        parts.append(_padded(_XATTR.pack(len(name), index, len(value)) + name + value, 4))
    if not parts:
        return b""
    whole = _XATTR_HEAD + b"".join(parts)
    if len(whole) // 4 > 0xFFFF:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    return whole


def _xattr_name(key: bytes) -> tuple[int, bytes] | None:
    if key in _XATTR_WHOLE:
        return _XATTR_WHOLE[key], b""
    for prefix, index in _XATTR_PREFIXES:
        if key.startswith(prefix) and len(key) > len(prefix):
            return index, key[len(prefix) :]
    return None


# ── directories ──────────────────────────────────────────────────────────────────────────────


def directory_blocks(names: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The names, sorted by their bytes, as the blocks of a directory have them."""
    start = used = 0
    for at, name in enumerate(names):
        used += _DIRENT.size + len(name)
        if used > BLOCK:
            yield names[start:at]
            start, used = at, _DIRENT.size + len(name)
    yield names[start:]


def directory_size(names: Sequence[bytes]) -> int:
    """Bytes of a directory of these names, sorted."""
    *full, last = directory_blocks(names)
    return len(full) * BLOCK + sum(_DIRENT.size + len(name) for name in last)


def directory(entries: dict[bytes, tuple[int, int]]) -> bytes:
    """A directory: for each name, sorted, an inode's number and its mode."""
    blocks = []
    for names in directory_blocks(list(entries)):
        at = _DIRENT.size * len(names)
        dirents = []
        for name in names:
            number, mode = entries[name]
            dirents.append(_DIRENT.pack(number, at, _file_type(mode), 0))
            at += len(name)
        blocks.append(b"".join(dirents) + b"".join(names))
    return b"".join([*(_padded(block, BLOCK) for block in blocks[:-1]), blocks[-1]])


#: By the upper four bits of a mode: EROFS_FT_*, which are those of other file systems.
_FILE_TYPES = {0o10: 1, 0o04: 2, 0o02: 3, 0o06: 4, 0o01: 5, 0o14: 6, 0o12: 7}


def _file_type(mode: int) -> int:
    return _FILE_TYPES[mode >> 12]


# ── sparse files ─────────────────────────────────────────────────────────────────────────────


def chunk_format(chunk_bits: int) -> int:
    """What an inode says of its chunk map: the size of a chunk, and that it is a plain list."""
    return chunk_bits - BLOCK_BITS


def chunk_map(blocks: Sequence[int]) -> bytes:
    """Where each chunk lies, in blocks; HOLE where there is none."""
    return struct.pack(f"<{len(blocks)}I", *blocks)


def _padded(data: bytes, to: int) -> bytes:
    return data + bytes(-len(data) % to)
