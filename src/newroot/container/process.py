"""A running container, as ``subprocess.Popen`` shows a running program."""

from __future__ import annotations

import _thread
import select
from time import monotonic

from newroot.errors import NewrootError, UsageError
from newroot.plan.launcher import REPORT_FAILED, REPORT_TERMINAL, REPORT_TIMES, REPORT_WAITING
from newroot.plan.report import step_error
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Literal

    from newroot.container.exchange import Exchange
    from newroot.container.parent import Parent
    from newroot.errors import StepError
    from newroot.network.wiring import Wiring
    from newroot.plan.launcher import Ended, Launch, Report
    from newroot.plan.steps import Plan

    Fault = Literal["timeout", "oom", "killed", "start"]

SIGKILL, SIGTERM = 9, 15
#: What one process sends another to end it; the others a program brings upon itself: signal(7).
_ENDING = frozenset((1, 2, 3, SIGKILL, 10, 12, SIGTERM))


@record
class Result:
    """How a container ended, and what it said: as ``subprocess.CompletedProcess``."""

    args: tuple[str, ...]  #: the command, with the image's entrypoint
    returncode: int  #: the exit code; -n when signal n ended it; 126 or 127 when it did not start
    stdout: bytes | str | None = None  #: None unless it was captured
    stderr: bytes | str | None = None
    fault: Fault | None = None
    """Why it ended when it did not end by itself, from kernel evidence.

    ``timeout``: it was killed when its time was over.  ``oom``: the kernel killed a process of it
    for want of memory.  ``killed``: somebody else sent it a signal that ended it; not by its own
    fault (SIGSEGV and the like), and not by ``Process.send_signal()``.  ``start``: the command was
    not there, or cannot be executed; *error* says more.
    """
    error: StepError | None = None  #: why the command did not start, with *fault* ``start``
    seconds: float = 0.0  #: from the request to the end
    user_seconds: float = 0.0  #: CPU time of its first process and of those it waited for
    system_seconds: float = 0.0  #: the same, in the kernel
    max_rss_bytes: int = 0  #: the largest resident set of any one process

    def check_returncode(self) -> None:
        """Raise ``subprocess.CalledProcessError`` unless the exit code is 0."""
        if self.error is not None:
            raise self.error
        if self.returncode != 0:
            import subprocess

            raise subprocess.CalledProcessError(
                self.returncode, list(self.args), self.stdout, self.stderr
            )


@record
class Cleanup:
    """What has to be done when the container has ended, whoever notices."""

    oom_kills: Callable[[], int]
    release: Callable[[Ended | None], None]
    started: Callable[[int], None] | None = None  #: told the pid, so that others can find it
    runs: Callable[[], None] | None = None  #: told that every step is done


@record
class Request:
    """What a container was started by: the same again starts it again."""

    plan: bytes
    clone_flags: int


class Process:
    """A container that was started.  May be used from several threads.

    As a context manager it closes its pipes and waits, as ``subprocess.Popen`` does.  When the
    engine is closed, or this Python process dies, the container is killed.
    """

    def __init__(
        self,
        launch: Launch,
        plan: Callable[[], Plan],
        cleanup: Cleanup,
        args: tuple[str, ...],
        pipes: dict[str, IO[bytes]],
        *,
        ends_as_one: bool = False,
        request: Request | None = None,
        parent: Parent | None = None,
        wiring: Wiring | None = None,
    ) -> None:
        self._launch = launch
        self._ends_as_one = ends_as_one  # it has a pid namespace of its own
        self._plan = plan
        self._parent = parent  # does what steps of the plan wait for
        self._cleanup = cleanup
        # Held for moments only, never while something is waited for; and reentrant, for a signal
        # handler that sends a signal may interrupt whoever holds it.
        self._lock = _thread.RLock()
        self._watchers = 0  # who waits on the launch's descriptors, so that they stay open
        self._began = monotonic()
        self._ended: Ended | None = None
        self._error: StepError | None = None
        self._lost: NewrootError | None = None
        self._seconds = 0.0
        self._oom_kills = 0
        self._timed_out = False
        self._sent: set[int] = set()
        self.on_end: Callable[[Process], object] | None = None  #: for its engine
        self.args = args
        self.request = request
        self.wiring = wiring  # for a monitor to keep
        self.stdin: IO[bytes] | None = pipes.get("stdin")
        self.stdout: IO[bytes] | None = pipes.get("stdout")
        self.stderr: IO[bytes] | None = pipes.get("stderr")
        self.terminal_fd: int | None = None  #: the terminal's other end, with ``terminal=True``
        self.times_ns: tuple[int, ...] = ()  #: what each step took, when it was asked for
        if launch.pid:  # one in a user namespace was waited for, to map its ids
            self._tell_pid()

    # ---- start ----

    @property
    def pid(self) -> int:
        """The process id of the container's first process, as this host counts; 0 before that."""
        return self._launch.pid

    def wait_started(self) -> None:
        """Wait until the command itself runs.

        Raises StepError, once the container's leftovers are gone, when a step failed; HookError and
        others when what a step waited for could not be done.
        """
        if self._watch():
            try:
                self._await_pid()
                while (report := self._launch.next_report()) is not None:
                    if report.kind == REPORT_WAITING and self._parent is not None:
                        self._parent.answer(report, self._launch)
                    self._take(report)
                if self._cleanup.runs is not None and self._error is None:
                    self._cleanup.runs()
                if self._parent is not None and self._error is None:
                    self._parent.started(self._launch.pid)
            except NewrootError:
                self.end_by_engine()
                raise
            finally:
                self._unwatch()
        if self._lost is not None:
            raise self._lost
        if self._error is not None:
            self.wait()
            raise self._error

    def _await_pid(self) -> None:
        """Wait until the process is there: no step has been made yet, so it is soon."""
        with self._lock:
            if self._lost is not None:
                raise self._lost
            if not self._launch.pid and self._ended is None:
                self._next_status(block=True)

    def _take(self, report: Report) -> None:
        if report.kind == REPORT_FAILED:
            output = self._parent.output(report) if self._parent is not None else ""
            self._error = step_error(self._plan(), report, output=output)
        elif report.kind == REPORT_TIMES:
            self.times_ns = report.times_ns
        elif report.kind == REPORT_TERMINAL:
            self.terminal_fd = report.fd

    # ---- end ----

    @property
    def returncode(self) -> int | None:
        """None while it runs.  See ``Result.returncode``."""
        ended = self._ended
        if ended is None:
            return None
        if self._error is not None and _is_start_fault(self._error):
            return 127 if self._error.errno == 2 else 126
        return ended.exit_code if ended.exit_code is not None else -(ended.signal or 0)

    def poll(self) -> int | None:
        """The return code, or None while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, at most *timeout* seconds, and return the return code.

        Raises ``subprocess.TimeoutExpired``; the container goes on then.
        """
        code = self._wait(timeout)
        if code is None:
            import subprocess

            raise subprocess.TimeoutExpired(list(self.args), timeout or 0.0)
        return code

    def _wait(self, timeout: float | None) -> int | None:
        deadline = None if timeout is None else monotonic() + timeout
        while not self._collect() and self._is_readable(deadline):
            pass
        return self.returncode

    def _is_readable(self, deadline: float | None) -> bool:
        """Wait until there is a status to read, or it was read by somebody else."""
        left = None if deadline is None else (deadline - monotonic()) * 1000
        if left is not None and left <= 0:
            return False
        if not self._watch():
            return True
        try:
            poll = select.poll()
            poll.register(self._launch.status_fileno(), select.POLLIN)
            return bool(poll.poll(left))
        finally:
            self._unwatch()

    def _watch(self) -> bool:
        """Keep the launch's descriptors open until ``_unwatch()``; False when it has ended."""
        with self._lock:
            if self._is_over():
                return False
            self._watchers += 1
            return True

    def _unwatch(self) -> None:
        with self._lock:
            self._watchers -= 1
            self._close_launch()

    def _is_over(self) -> bool:
        return self._ended is not None or self._lost is not None

    def _close_launch(self) -> None:
        if self._is_over() and not self._watchers:
            self._launch.close()

    def _collect(self) -> bool:
        """Read what is there to read; True when it has ended, and was cleaned up after."""
        with self._lock:
            while self._ended is None:
                if self._lost is not None:
                    raise self._lost
                if not self._next_status(block=False):
                    return False
        return True

    def _next_status(self, *, block: bool) -> bool:
        """Read one status, if there is one.  The lock is held."""
        try:
            if not self._launch.pid:
                return self._launch.read_started(block=block) and self._tell_pid()
            ended = self._launch.read_ended(block=False)
        except NewrootError as error:  # the launcher is gone, and the container with it
            self._launch.end()
            self._lost = error
            self._finish(None)
            raise
        if ended is None:
            return False
        while (report := self._launch.next_report(block=False)) is not None:
            self._take(report)
        self._finish(ended)
        return True

    def _tell_pid(self) -> bool:
        if self._cleanup.started is not None:
            self._cleanup.started(self._launch.pid)
        return True

    def _finish(self, ended: Ended | None) -> None:
        self._seconds = monotonic() - self._began
        self._oom_kills = self._cleanup.oom_kills() if ended is not None else 0
        self._ended = ended
        self._close_launch()
        if self.on_end is not None:
            self.on_end(self)
        self._cleanup.release(ended)

    def abandon(self) -> None:
        """Forget a container that belongs to another process: after a fork, in the child."""
        self._lock = _thread.RLock()  # whoever held the old one is not in this process
        self._lost = UsageError("this container was started by another process, before a fork")
        self._launch.close()

    def hand_over(self) -> None:
        """Forget a container that a monitor keeps from here on."""
        self._lost = UsageError("this container is kept by a monitor of its own")
        self._launch.close()
        self.close_pipes()

    # ---- in between ----

    def send_signal(self, signal: int) -> None:
        """Send a signal to the container's first process; nothing if it has ended."""
        self._sent.add(signal)
        self._signal(signal)

    def _signal(self, signal: int) -> None:
        with self._lock:
            if not self._is_over():
                self._await_pid()
                self._launch.kill(signal)

    def terminate(self) -> None:
        """Ask it to end, with SIGTERM; a first process without a handler ignores it."""
        self.send_signal(SIGTERM)

    def kill(self) -> None:
        """End it, and with it every process in it."""
        self.send_signal(SIGKILL)

    def communicate(
        self, input: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes | None, bytes | None]:
        """Send *input*, read all output, wait for the end.

        Raises ``subprocess.TimeoutExpired``; the container goes on then, and another call goes
        on reading where this one stopped.
        """
        from newroot.container.exchange import Exchange

        exchange = getattr(self, "_exchange", None)
        if exchange is None:
            exchange = self._exchange = Exchange(self.stdin, self.stdout, self.stderr, input)
        if not self._exchange_until(exchange, timeout):
            import subprocess

            raise subprocess.TimeoutExpired(list(self.args), timeout or 0.0)
        self.wait()
        exchange.drain()
        return exchange.output("stdout"), exchange.output("stderr")

    def _exchange_until(self, exchange: Exchange, timeout: float | None) -> bool:
        """Exchange until it has ended; False when time ran out first."""
        deadline = None if timeout is None else monotonic() + timeout
        if not self._watch():
            return True
        try:
            self._await_pid()
            return exchange.run(self._launch.status_fileno(), deadline)
        finally:
            self._unwatch()

    def fileno(self) -> int:
        """Readable when ``poll()`` would have news: for a loop of the caller's own."""
        return self._launch.status_fileno()

    def plan(self) -> Plan:
        """The steps that it was started by."""
        return self._plan()

    def end_by_timeout(self) -> None:
        """Kill it because its time is over; ``fault`` will say so."""
        self._timed_out = True
        self._signal(SIGKILL)

    def end_by_engine(self) -> None:
        """Kill it because its engine is closed: for who waits for it, somebody else's doing."""
        try:
            self._signal(SIGKILL)
            self.wait()
        except NewrootError:
            if self._lost is None:
                raise

    def run_to_end(self, input: bytes | None, timeout: float | None) -> tuple[bytes | None, ...]:
        """``communicate()``, but the end of the time is the end of the container."""
        from newroot.container.exchange import Exchange

        exchange = Exchange(self.stdin, self.stdout, self.stderr, input)
        deadline = None if timeout is None else monotonic() + timeout
        # The output of a pid namespace ends with it, so nothing else need wake us before.
        in_time = not self._ends_as_one or exchange.run(None, deadline)
        left = None if deadline is None else deadline - monotonic()
        if not in_time or not self._exchange_until(exchange, left):
            self.end_by_timeout()
            self._exchange_until(exchange, None)
        self.wait()
        exchange.drain()
        return exchange.output("stdout"), exchange.output("stderr")

    # ---- what it was ----

    @property
    def fault(self) -> Fault | None:
        """See ``Result.fault``; None while it runs."""
        ended = self._ended
        if ended is None:
            return None
        if self._error is not None:
            return "start"
        if self._timed_out:
            return "timeout"
        if self._oom_kills and ended.exit_code != 0:
            return "oom"
        if ended.signal in _ENDING and ended.signal not in self._sent:
            return "killed"
        return None

    def result(self, stdout: bytes | str | None, stderr: bytes | str | None) -> Result:
        """How it ended.  Raises StepError when another step than the command's failed."""
        error = self._error
        if error is not None and not _is_start_fault(error):
            raise error
        ended = self._ended
        if ended is None:
            raise UsageError("a container that still runs has no result")
        return Result(
            args=self.args,
            returncode=self.returncode or 0,
            stdout=stdout,
            stderr=stderr,
            fault=self.fault,
            error=error,
            seconds=self._seconds,
            user_seconds=ended.user_us / 1e6,
            system_seconds=ended.system_us / 1e6,
            max_rss_bytes=ended.max_rss_kib * 1024,
        )

    def close(self) -> None:
        """Kill it if it runs, wait for it, and close its pipes.  May be called again."""
        try:
            self.end_by_engine()
        finally:
            self.close_pipes()

    def close_pipes(self) -> None:
        """Close our ends of its pipes; input that it did not read is lost."""
        if self.terminal_fd is not None:
            import os

            os.close(self.terminal_fd)
            self.terminal_fd = None
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is not None:
            self.kill()
        self.close_pipes()
        self.wait()


def _is_start_fault(error: StepError) -> bool:
    """Whether the command is to blame, and not the container around it."""
    return error.index == error.total
