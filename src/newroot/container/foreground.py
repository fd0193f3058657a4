"""``newroot run``: a container on the caller's own streams and terminal.

Signals go to the container's first process, which decides; the terminal is raw while it runs and
as it was afterwards, whatever happens.
"""

from __future__ import annotations

import _signal
import os
import select

from newroot.container.stdio import inherited
from newroot.linux import constants as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.container.process import Process
    from newroot.container.settings import Settings
    from newroot.container.source import Source
    from newroot.container.start import Starter

    OnTimes = Callable[[list[tuple[str, int]], tuple[str, ...]], None]

#: Signals that are for the container, as with docker run --sig-proxy.  Not: SIGCHLD, SIGPIPE,
#: those that mean a bug of ours, and those that nobody can catch.
FORWARDED = tuple(
    k.SIGNALS[name]
    for name in (
        "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGTERM", "SIGCONT",
    )
)  # fmt: skip


def run_foreground(
    starter: Starter, settings: Settings, source: Source, on_times: OnTimes | None
) -> int:
    """Run a container to its end; return Docker's exit code for it.

    *on_times* is told each step's words and what it took, in nanoseconds, once the command runs.
    """
    stdio, size = inherited(terminal=settings.terminal, interactive=settings.interactive)
    process = starter.start(settings, source, stdio, times=on_times is not None, terminal_size=size)

    def on_start() -> None:
        if on_times is not None:
            words = [step.explain() for step in process.plan().steps]
            on_times(list(zip(words, process.times_ns, strict=True)), process.args)

    return attend(process, interactive=settings.interactive, on_start=on_start)


def attend(process: Process, *, interactive: bool, on_start: Callable[[], None]) -> int:
    """Stay with a container until it has ended; return Docker's exit code for it."""
    forwarding = _Forwarding(process)
    with forwarding:
        try:
            process.wait_started()
            forwarding.begin()
            on_start()
            if process.terminal_fd is not None:
                from newroot.container.terminal import relay

                relay(process, interactive=interactive, wakeup=forwarding.wakeup)
            forwarding.wait()
        except BaseException:
            process.close()
            raise
    code = process.returncode or 0
    return 128 - code if code < 0 else code


class Signals:
    """Signals to this process are handed to *send* while this lasts, instead of their effect."""

    def __init__(self, send: Callable[[int], object]) -> None:
        self._send = send
        self._before: dict[int, Any] = {}

    def _handle(self, number: int, frame: object) -> None:
        self._send(number)

    def __enter__(self) -> Signals:
        # A signal that comes just before poll(2) does not end it, and Python's handler, which runs
        # between two instructions of Python, would not run: so each signal also writes a byte.
        self.wakeup, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup_before = _signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in FORWARDED:
            self._before[number] = _signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            _signal.signal(number, handler)
        _signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.wakeup)
        os.close(self._writer)


class _Forwarding(Signals):
    """Signals to this process are sent to the container's.

    Those that come while it is being made are kept until the command runs: newroot-init, the
    first of a pid namespace, would not hear them (pid_namespaces(7)).  One that comes a second time
    ends a start that hangs, on a network file system that does not answer for example.
    """

    def __init__(self, process: Process) -> None:
        super().__init__(self._forward)
        self._process = process
        self._early: list[int] | None = []

    def _forward(self, number: int) -> None:
        if self._early is not None:
            if number in self._early:
                self._process.kill()
            self._early.append(number)
        else:
            self._process.send_signal(number)

    def begin(self) -> None:
        """The command runs."""
        early, self._early = self._early, None
        for number in early or ():
            self._process.send_signal(number)

    def wait(self) -> None:
        """Wait for the end; a signal is passed on whenever it comes."""
        poll = select.poll()
        poll.register(self.wakeup, select.POLLIN)
        poll.register(self._process.fileno(), select.POLLIN)
        while self._process.poll() is None:
            if (self.wakeup, select.POLLIN) in poll.poll():
                os.read(self.wakeup, 4096)
