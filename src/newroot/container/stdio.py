"""A container's standard streams, before it has them: streams.py gives them to its user."""

from __future__ import annotations

import os

from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO


@record
class Stdio:
    """What a container's standard streams are, and what of them is ours to close or use."""

    fds: tuple[int, int, int]
    pipes: dict[str, IO[bytes]] = {}  # noqa: RUF012  # ours, by name; made anew for each start
    theirs: tuple[int, ...] = ()  #: to be closed here once they are handed over

    def close_pipes(self) -> None:
        for pipe in self.pipes.values():
            pipe.close()

    def close_theirs(self) -> None:
        for fd in self.theirs:
            os.close(fd)

    def close(self) -> None:
        """Nothing is started with them."""
        self.close_pipes()
        self.close_theirs()


def inherited(*, terminal: bool, interactive: bool) -> tuple[Stdio, tuple[int, int]]:
    """Our own streams for a container, or none of them when it gets a terminal; its size."""
    if terminal:
        from newroot.container.terminal import window_size

        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        return Stdio(fds=(null, null, null), theirs=(null,)), window_size(0)
    if interactive:
        return Stdio(fds=(0, 1, 2)), (0, 0)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    return Stdio(fds=(null, 1, 2), theirs=(null,)), (0, 0)
