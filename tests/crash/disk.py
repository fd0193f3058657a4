"""A disk that remembers every write, so that a power loss can be played at any point of its life.

A file system in user space shows one file, `disk`; a loop device on it carries ext4.  Each write
and each flush that reaches it is appended to a log.  Of what was written after the last flush a
disk keeps what it likes: `after_power_loss` draws that by lot.  (dm-log-writes and dm-flakey do the
same, where a kernel has them.)

Protocol: linux/fuse.h, version 7.31.  Run in a mount namespace of its own, as root.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import stat
import struct
import subprocess
from pathlib import Path

SIZE = 96 << 20
_LOG = struct.Struct("<QI")
_FLUSH = 0xFFFFFFFF
_IN = struct.Struct("<IIQQIIII")
_OUT = struct.Struct("<IiQ")
_MAX_WRITE = 128 << 10
(LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT) = (
    1, 2, 3, 4, 14, 15, 16, 17, 18, 20, 25, 26,
)  # fmt: skip
_NO_ANSWER = (FORGET, 36, 42)  # and INTERRUPT, BATCH_FORGET
_DIRECT_IO = 1
_BIG_WRITES = 1 << 5


def make(image: Path) -> None:
    """An empty ext4 in *image*."""
    with open(image, "wb") as file:
        file.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", image], check=True)


def serve(image: Path, log: Path, target: Path) -> None:
    """Show *image* as the file ``disk`` below *target* until that is unmounted; fork first."""
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"recorder", os.fsencode(target), b"fuse", 0, options):
        raise OSError(ctypes.get_errno(), "mount fuse")
    if os.fork() == 0:
        try:
            _Recorder(fuse, image, log).run()
        finally:
            os._exit(0)
    os.close(fuse)


class _Recorder:
    def __init__(self, fuse: int, image: Path, log: Path) -> None:
        self._fuse = fuse
        self._data = bytearray(image.read_bytes())
        self._log = open(log, "ab", buffering=0)

    def run(self) -> None:
        while True:
            try:
                request = os.read(self._fuse, _MAX_WRITE + 65536)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                raise
            _, opcode, unique, node, *_ = _IN.unpack_from(request)
            if opcode in _NO_ANSWER:
                continue
            try:
                body, code = self._answer(opcode, node, request[_IN.size :]), 0
            except OSError as error:
                body, code = b"", -(error.errno or errno.EIO)
            os.write(self._fuse, _OUT.pack(_OUT.size + len(body), code, unique) + body)

    def _answer(self, opcode: int, node: int, body: bytes) -> bytes:
        if opcode == INIT:
            fields = (7, 31, 0, _BIG_WRITES, 16, 12, _MAX_WRITE, 1, 32, 0)
            return struct.pack("<IIIIHHIIHH32x", *fields)
        if opcode == LOOKUP:
            if body.rstrip(b"\0") != b"disk":
                raise OSError(errno.ENOENT, "")
            return struct.pack("<QQQQII", 2, 0, 3600, 3600, 0, 0) + self._attr(2)
        if opcode in (GETATTR, SETATTR):
            return struct.pack("<QII", 3600, 0, 0) + self._attr(node)
        if opcode == OPEN:
            return struct.pack("<QII", 0, _DIRECT_IO, 0)
        if opcode == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return bytes(self._data[offset : offset + size])
        if opcode == WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            self._write(offset, body[40 : 40 + size])
            return struct.pack("<II", size, 0)
        if opcode == FSYNC:
            self._log.write(_LOG.pack(0, _FLUSH))
            return b""
        if opcode in (RELEASE, FLUSH, 34, 38):  # and ACCESS, DESTROY
            return b""
        raise OSError(errno.ENOSYS, "")

    def _write(self, offset: int, data: bytes) -> None:
        self._data[offset : offset + len(data)] = data
        self._log.write(_LOG.pack(offset, len(data)) + data)

    def _attr(self, node: int) -> bytes:
        mode = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o600
        size = 0 if node == 1 else len(self._data)
        times = (0, 0, 0, 0, 0, 0)
        return struct.pack(
            "<QQQQQQIIIIIIIIII", node, size, size // 512, *times, mode, 1, 0, 0, 0, 4096, 0
        )


def read_log(log: Path) -> list[tuple[int, int, bytes | None]]:
    """(where the record ends in the log, offset, data) of every write; data None is a flush."""
    found: list[tuple[int, int, bytes | None]] = []
    data = log.read_bytes()
    at = 0
    while at < len(data):
        offset, size = _LOG.unpack_from(data, at)
        at += _LOG.size
        if size == _FLUSH:
            found.append((at, 0, None))
        else:
            found.append((at + size, offset, data[at : at + size]))
            at += size
    return found


def after_power_loss(
    image: Path,
    records: list[tuple[int, int, bytes | None]],
    cut: int,
    chance: random.Random,
    out: Path,
) -> None:
    """The disk after the power went at record *cut*: all until the last flush, of the rest some."""
    data = bytearray(image.read_bytes())
    last = max((i for i in range(cut) if records[i][2] is None), default=0)
    kept = chance.choice((0.0, 0.3, 0.7, 1.0))
    for number, (_, offset, written) in enumerate(records[:cut]):
        if written is not None and (number < last or chance.random() < kept):
            data[offset : offset + len(written)] = written
    out.write_bytes(data)
