"""``newroot run``: a container on the caller's own streams and terminal.

Signals go to the container's first process, which decides; the terminal is raw while it runs and
as it was afterwards, whatever happens.
"""

from __future__ import annotations

import _signal
import os

from newroot.container.start import Stdio
from newroot.linux import constants as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.container.process import Process
    from newroot.container.settings import Settings
    from newroot.container.source import Source
    from newroot.container.start import Starter

#: Signals that are for the container, as with docker run --sig-proxy.  Not: SIGCHLD, SIGPIPE,
#: those that mean a bug of ours, and those that nobody can catch.
FORWARDED = tuple(
    k.SIGNALS[name]
    for name in (
        "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGTERM", "SIGCONT",
    )
)  # fmt: skip


def run_foreground(
    starter: Starter, settings: Settings, source: Source, timeline: str | None
) -> int:
    """Run a container to its end; return Docker's exit code for it."""
    stdio = _stdio(settings)
    size = (0, 0)
    if settings.terminal:
        from newroot.container.terminal import window_size

        size = window_size(0)
    process = starter.start(
        settings, source, stdio, times=timeline is not None, terminal_size=size
    )
    with _Forwarding(process):
        try:
            process.wait_started()
            if timeline is not None:
                _write_timeline(process, timeline)
            if process.terminal_fd is not None:
                from newroot.container.terminal import relay

                relay(process, interactive=settings.interactive)
            process.wait()
        except BaseException:
            process.close()
            raise
    code = process.returncode or 0
    return 128 - code if code < 0 else code


def _stdio(settings: Settings) -> Stdio:
    if settings.terminal:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        return Stdio(fds=(null, null, null), theirs=(null,))
    if settings.interactive:
        return Stdio(fds=(0, 1, 2))
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    return Stdio(fds=(null, 1, 2), theirs=(null,))


def _write_timeline(process: Process, path: str) -> None:
    from newroot.observe.timeline import write_timeline

    words = [step.explain() for step in process.plan().steps]
    write_timeline(path, list(zip(words, process.times_ns, strict=True)), process.args)


class _Forwarding:
    """Signals to this process are sent to the container's, while this lasts."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._before: dict[int, Any] = {}

    def _forward(self, number: int, frame: object) -> None:
        self._process.send_signal(number)

    def __enter__(self) -> None:
        for number in FORWARDED:
            self._before[number] = _signal.signal(number, self._forward)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            _signal.signal(number, handler)
