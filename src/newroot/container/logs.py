"""What a detached container has said: its log read back, and followed.

    log, log.1, log.2 …     the newest first; native/log.c writes and turns them

A file is known by its inode, so one that is turned away while it is read is read to its end, and
then the next newer one from its beginning: no line is missed or met twice.
"""

from __future__ import annotations

import os

from newroot.errors import NotFound
from newroot.oci import json
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PIECE = 1 << 18
_MOST_FILES = 99


@record
class Entry:
    """One line, or a piece of a long one."""

    time: str  #: RFC 3339, UTC, with nanoseconds
    stream: str  #: stdout or stderr
    data: bytes  #: with its line feed, if it has one


class Log:
    """The log in one container's directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        if not os.path.exists(self._path(0)):
            raise NotFound(
                "there is no log: it was never started, or with --log-driver none",
                hint="newroot run -d or newroot start writes one",
            )

    def entries(self, *, last: int | None = None) -> Iterator[Entry]:
        """All that is there now, or the *last* so many entries."""
        yield from _parsed(self.lines(last, None))

    def follow(self, wait: Callable[[], bool], *, last: int | None = None) -> Iterator[Entry]:
        """The same, and then what comes.

        *wait* returns when there may be more; False when nothing more will be written.
        """
        yield from _parsed(self.lines(last, wait))

    def _path(self, number: int) -> str:
        return f"{self._directory}/log" + (f".{number}" if number else "")

    def lines(self, last: int | None, wait: Callable[[], bool] | None) -> Iterator[bytes]:
        """The lines as they were written; *last* and *wait* as for ``follow()``."""
        number, offset = self._begin(last)
        fd = self._open(number)
        try:
            os.lseek(fd, offset, os.SEEK_SET)
            more = True
            while True:
                yield from _whole_lines(fd)
                newer = self._newer_than(fd)
                if newer is not None:
                    yield from _whole_lines(fd)  # what came before it was turned away
                    os.close(fd)
                    fd = newer
                elif not more or wait is None:
                    return
                else:
                    more = wait()
        finally:
            os.close(fd)

    def _open(self, number: int) -> int:
        return os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)

    def _begin(self, last: int | None) -> tuple[int, int]:
        """The file and the offset at which the *last* entries begin."""
        number, missing = 0, last
        while True:
            if missing is not None:
                offset, found = _offset_of_last(self._path(number), missing)
                if found >= missing:
                    return number, offset
                missing -= found
            if not os.path.exists(self._path(number + 1)):
                return number, 0
            number += 1

    def _newer_than(self, fd: int) -> int | None:
        """The file that was begun when this one was turned away; None while it is the newest."""
        mine = os.fstat(fd)
        for number in range(_MOST_FILES):
            try:
                found = os.stat(self._path(number))
            except FileNotFoundError:
                continue  # between two renames
            if found.st_ino == mine.st_ino:
                if number == 0:
                    self._rewind_if_emptied(fd, mine.st_size)
                    return None
                try:
                    return self._open(number - 1)
                except FileNotFoundError:
                    return self._open(number - 2) if number > 1 else None
        return self._open(0)  # so many were turned that this one is gone

    @staticmethod
    def _rewind_if_emptied(fd: int, size: int) -> None:
        if size < os.lseek(fd, 0, os.SEEK_CUR):
            os.lseek(fd, 0, os.SEEK_SET)


def _whole_lines(fd: int) -> Iterator[bytes]:
    """Lines from where *fd* stands; it then stands behind the last whole one."""
    rest = b""
    while piece := os.read(fd, _PIECE):
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        yield from lines
    if rest:
        os.lseek(fd, -len(rest), os.SEEK_CUR)


def _offset_of_last(path: str, count: int) -> tuple[int, int]:
    """Where the last *count* lines of a file begin, and how many there are, at most *count*."""
    with open(path, "rb", buffering=0) as file:
        position = file.seek(0, os.SEEK_END)
        ends = 0
        while position > 0:
            start = max(position - _PIECE, 0)
            file.seek(start)
            piece = file.read(position - start)
            at = len(piece)
            while (at := piece.rfind(b"\n", 0, at)) >= 0:
                if ends == count:
                    return start + at + 1, count
                ends += 1
            position = start
    return 0, min(ends, count)


def _parsed(lines: Iterator[bytes]) -> Iterator[Entry]:
    for line in lines:
        entry = _from_json(line) if line.startswith(b"{") else _from_plain(line)
        if entry is not None:
            yield entry


def _from_json(line: bytes) -> Entry | None:
    document = json.loads(line, what="a log")
    return Entry(
        time=document["time"],
        stream=document["stream"],
        data=document["log"].encode("utf-8", "surrogatepass"),
    )


def _from_plain(line: bytes) -> Entry | None:
    """``TIME STREAM F|P LINE``; P is a piece that does not end its line."""
    time, stream, tag, data = line.split(b" ", 3)
    return Entry(
        time=time.decode(), stream=stream.decode(), data=data if tag == b"P" else data + b"\n"
    )
