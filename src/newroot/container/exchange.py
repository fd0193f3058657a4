"""Bytes go into a container and come out of it, all at once, until it has ended."""

from __future__ import annotations

import os
import select
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_PIECE = 65536
_ATOMIC = 4096  # PIPE_BUF: a poll that says writable promises this much, pipe(7)


class Exchange:
    """Feeds standard input and collects output.  ``run()`` may be called again after a timeout."""

    def __init__(
        self,
        stdin: IO[bytes] | None,
        stdout: IO[bytes] | None,
        stderr: IO[bytes] | None,
        input: bytes | None,
    ) -> None:
        self._stdin = stdin
        self._input = memoryview(input or b"")
        self._sources = {"stdout": stdout, "stderr": stderr}
        self._pieces: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self._names = {f.fileno(): name for name, f in self._sources.items() if f is not None}
        if stdin is not None and not self._input:
            self._close_stdin()

    def run(self, status: int | None, deadline: float | None) -> bool:
        """Exchange until *status* is readable, or without it until all output has ended.

        False when time ran out.
        """
        poll = select.poll()
        for fd in (*self._names, *(() if status is None else (status,))):
            poll.register(fd, select.POLLIN)
        if self._stdin is not None:
            poll.register(self._stdin.fileno(), select.POLLOUT)
        ended = False
        # When the first process has ended so have all others, and what they wrote is in the
        # pipes: a pid namespace ends as a whole, pid_namespaces(7).  drain() reads it.
        while not ended and (status is not None or self._names):
            left = None if deadline is None else (deadline - monotonic()) * 1000
            if left is not None and left <= 0:
                return False
            for fd, _ in poll.poll(left):
                if fd == status:
                    ended = True
                elif fd in self._names:
                    self._read(fd, poll)
                else:
                    self._write(fd, poll)
        return True

    def _read(self, fd: int, poll: select.poll) -> None:
        piece = os.read(fd, _PIECE)
        if piece:
            self._pieces[self._names[fd]].append(piece)
        else:
            poll.unregister(fd)
            del self._names[fd]

    def _write(self, fd: int, poll: select.poll) -> None:
        try:
            self._input = self._input[os.write(fd, self._input[:_ATOMIC]) :]
        except BrokenPipeError:  # it does not want to read it all: as subprocess, no error
            self._input = self._input[len(self._input) :]
        if not self._input:
            poll.unregister(fd)
            self._close_stdin()

    def _close_stdin(self) -> None:
        if self._stdin is not None:
            try:
                self._stdin.close()
            except BrokenPipeError:
                pass
            self._stdin = None

    def drain(self) -> None:
        """Read what is left in the pipes, without waiting for more."""
        for fd, name in list(self._names.items()):
            os.set_blocking(fd, False)
            try:
                while piece := os.read(fd, _PIECE):
                    self._pieces[name].append(piece)
            except BlockingIOError:  # a process outside the pid namespace still holds it
                pass

    def output(self, name: str) -> bytes | None:
        """All that came; None for what was no pipe."""
        return b"".join(self._pieces[name]) if self._sources[name] is not None else None
