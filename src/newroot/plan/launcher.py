"""newroot-init is started, and plans are handed to it.

One launcher serves one engine.  It is the parent of every container it starts, and it kills them
when its owner, this process, is gone.  A launch costs no fork of ours, so neither the size of this
process nor its threads matter, and the GIL is free while the container is made.
"""

from __future__ import annotations

import _socket
import errno
import os
from struct import Struct

from newroot.errors import BugError, SyscallError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

REQUEST = Struct("=IIQII")  #: struct request in native/wire.h
REQUEST_MAGIC = int.from_bytes(b"nstr", "little")
LET_GO_MAGIC = int.from_bytes(b"ltgo", "little")
WANT_TIMES, WANT_NEXT, WANT_BIRTH, WANT_KEPT = 1, 2, 4, 16
REPORT = Struct("=IIiI256s")  #: struct report
REPORT_FAILED, REPORT_TIMES, REPORT_WAITING, REPORT_TERMINAL = 1, 2, 3, 4
STATUS = Struct("=IiiiQQQ")  #: struct status
STATUS_STARTED, STATUS_ENDED, STATUS_REFUSED = 1, 2, 3
MOST_PASSED = 244  #: FD_MAX - FD_FIXED
MOST_OWN = 8
_MOST_BESIDE = 250  # FD_MAX: as many descriptors go with one packet

_CLD_EXITED = 1  # siginfo_t.si_code, sigaction(2)
_PACKET = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
_LARGEST = 16384  # a times report: struct report and MAX_STEPS numbers
_FIRST_FREE = 10  # above the numbers that newroot-init's descriptors are put at
_MFD_EXEC = 0x10
_PATIENCE_MS = 10_000  # a process that does not die of SIGKILL waits for hardware


@record
class Ended:
    """How a container's first process ended, from waitid(2)."""

    exit_code: int | None  #: None when a signal ended it
    signal: int | None
    user_us: int
    system_us: int
    max_rss_kib: int


@record
class Report:
    """What newroot-init said while it carried out a plan."""

    kind: int
    index: int  #: of the step, from 0
    error: int  #: errno
    call: int  #: number of the system call that failed, 0 if none
    log: str  #: the kernel's words
    times_ns: tuple[int, ...] = ()
    fd: int | None = None


class Launch:
    """One container's start and end, as newroot-init tells of them.

    ``close()`` must be called at last; it does not kill.
    """

    def __init__(
        self, launcher: Launcher | None, report: _socket.socket, status: _socket.socket
    ) -> None:
        self._launcher = launcher
        self._report = report
        self._status = status
        self.pid = 0  #: as this process sees it; 0 before ``wait_started()``
        self.pidfd = -1

    @classmethod
    def of_created(cls, report: _socket.socket, pid: int, pidfd: int) -> Launch:
        """The talk with a container that somebody else created: its reports, and no status."""
        launch = cls(None, report, report)
        launch.pid, launch.pidfd = pid, pidfd
        return launch

    def report_fileno(self) -> int:
        return self._report.fileno()

    def status_fileno(self) -> int:
        """Readable when ``read_started()`` or then ``read_ended()`` has something to read."""
        return self._status.fileno()

    def read_started(self, *, block: bool) -> bool:
        """Read that the process is there, which is before its first step.

        False, with ``block=False``, when nothing was said yet.
        """
        status = self._next_status(block)
        if status is None:
            return False
        kind, pid, code, _, fds = status
        if kind == STATUS_REFUSED:
            from newroot.plan.diagnose import diagnose_clone

            found = diagnose_clone(code)
            cause = found.cause if found is not None and found.cause else os.strerror(code)
            raise SyscallError(
                f"starting a process in new namespaces: {cause} ({_name(code)})",
                errno=code,
                call="clone3",
                target="newroot-init",
                hint=None if found is None else found.remedy,
            )
        self.pid, self.pidfd = pid, fds[0]
        return True

    def _next_status(self, block: bool) -> tuple[int, int, int, tuple[int, ...], list[int]] | None:
        flags = 0 if block else _socket.MSG_DONTWAIT
        try:
            data, fds = _receive(self._status, STATUS.size, flags)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            # The launcher died with the held descriptors unread.  The kernel says so once, before
            # what the launcher sent: unix_release_sock() in net/unix/af_unix.c.
            data, fds = _receive(self._status, STATUS.size)
        if not data:
            if self._launcher is not None:
                self._launcher.look_after()
            raise SyscallError(
                "waiting for newroot-init: it is gone",
                errno=errno.ESRCH,
                call="recvmsg",
                target="newroot-init",
                hint="it was killed; its containers died with it",
            )
        kind, pid, code, *rest = STATUS.unpack(data)
        return kind, pid, code, tuple(rest), fds

    def wait_ended(self) -> Ended:
        """Wait until the container's first process has ended, and with it all the others."""
        if not self.pid:
            self.read_started(block=True)
        ended = self.read_ended(block=True)
        assert ended is not None
        return ended

    def read_ended(self, *, block: bool) -> Ended | None:
        """How it ended; None, with ``block=False``, while it runs."""
        status = self._next_status(block)
        if status is None:
            return None
        _, _, code, (value, user_us, system_us, rss), _ = status
        exited = code == _CLD_EXITED
        return Ended(
            exit_code=value if exited else None,
            signal=None if exited else value,
            user_us=user_us,
            system_us=system_us,
            max_rss_kib=rss,
        )

    def next_report(self, *, block: bool = True) -> Report | None:
        """The next report, or None: the command runs, or nothing more will be said.

        With ``block=False`` None may also mean that nothing was said yet.
        """
        flags = 0 if block else _socket.MSG_DONTWAIT
        try:
            data, fds = _receive(self._report, _LARGEST, flags)
        except BlockingIOError:
            return None
        except ConnectionResetError:  # it died with our go-ahead unread
            return None
        if not data:
            return None
        kind, index, error, call, log = REPORT.unpack_from(data)
        times = memoryview(data)[REPORT.size :].cast("Q") if kind == REPORT_TIMES else ()
        return Report(
            kind=kind,
            index=index,
            error=error,
            call=call,
            log=log.rstrip(b"\0").decode("utf-8", "replace").strip(),
            times_ns=tuple(times),
            fd=fds[0] if fds else None,
        )

    def go_on(self, fds: Sequence[int] = ()) -> None:
        """Let a step that waits for its parent go on, and give it *fds* if it asks for any."""
        self._report.sendmsg([b"1"], _rights(fds) if fds else [])

    def kill(self, signal: int) -> None:
        """Send *signal* to the container's first process; nothing if that has ended."""
        import _signal

        if self.pidfd >= 0:
            try:
                _signal.pidfd_send_signal(self.pidfd, signal)
            except ProcessLookupError:
                pass

    def end(self) -> None:
        """Without a launcher: kill the container, should it not want to die, and see it dead."""
        self.kill(9)
        if self.pidfd >= 0:
            _is_readable(self.pidfd, _PATIENCE_MS)

    def close(self) -> None:
        self._report.close()
        self._status.close()
        pidfd, self.pidfd = self.pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)


_GONE = frozenset((errno.EPIPE, errno.ECONNRESET, errno.EBADF, errno.ENOTCONN))


def _has_ended(pid: int, timeout_ms: int) -> bool:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return _is_readable(fd, timeout_ms)
    finally:
        os.close(fd)


def _is_readable(fd: int, timeout_ms: int) -> bool:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_ms))


def _name(number: int) -> str:
    return errno.errorcode.get(number, str(number))


def _rights(fds: Sequence[int]) -> list[tuple[int, int, bytes]]:
    data = Struct(f"={len(fds)}i").pack(*fds)
    return [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, data)]


def _receive(sock: _socket.socket, size: int, flags: int = 0) -> tuple[bytes, list[int]]:
    room = _socket.CMSG_SPACE(4)
    data, ancillary, _, _ = sock.recvmsg(size, room, flags | _socket.MSG_CMSG_CLOEXEC)
    fds = [int.from_bytes(raw[:4], "little") for _, _, raw in ancillary]
    return data, fds


def binary_path() -> str:
    """Where newroot-init is: beside its sources."""
    return os.path.join(os.path.dirname(os.path.dirname(__file__)), "native", "newroot-init")


def _sealed_copy(path: str) -> int:
    """A descriptor of newroot-init that nobody can write through.

    A container's processes can reach the binary they were started by through /proc/PID/exe.
    What they find there is a sealed memfd, not a file of the host: CVE-2019-5736.
    """
    import fcntl

    try:
        with open(path, "rb", buffering=0) as file:
            program = file.read()
    except OSError as error:
        raise BugError(
            f"reading {path}: {error.strerror}",
            hint="the installation is incomplete: build newroot-init with 'make dev'",
        ) from None
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create("newroot-init", flags | _MFD_EXEC)
    except OSError:  # before Linux 6.3, memfds are executable without being asked
        fd = os.memfd_create("newroot-init", flags)
    _write_all(fd, program)
    all_seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, all_seals)
    return fd


def _write_all(fd: int, data: bytes) -> None:
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, data[done:])


def _high(fd: int) -> int:
    """A duplicate above the numbers that will be overwritten in the child."""
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)


class Launcher:
    """A running newroot-init.  May be used from several threads at once.

    A *detached* one is no child of this process, and in a session of its own: it may become a
    monitor (plan/keep.py).
    """

    def __init__(self, *, detached: bool = False) -> None:
        self.is_gone = False  #: it was closed, or was found to be dead
        self._control, theirs = _socket.socketpair(_socket.AF_UNIX, _PACKET, 0)
        owner = os.pidfd_open(os.getpid())
        program = _sealed_copy(binary_path())
        # All three: another thread may have freed 3 and 4 just before the program was opened.
        numbers = [_high(theirs.fileno()), _high(owner), _high(program)]
        try:
            self.pid = os.posix_spawn(
                f"/proc/self/fd/{numbers[2]}",
                ["newroot-init", "detached"] if detached else ["newroot-init"],
                {},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                    (os.POSIX_SPAWN_DUP2, numbers[0], 3),
                    (os.POSIX_SPAWN_DUP2, numbers[1], 4),
                ],
                setpgroup=0,  # Ctrl-C is for the caller, who says what becomes of it
                setsigmask=[],
                setsigdef=range(1, 32),  # Python ignores SIGPIPE; a command should not
            )
        finally:
            theirs.close()
            for fd in (*numbers, owner, program):
                os.close(fd)

    def launch(
        self,
        plan: bytes,
        clone_flags: int,
        stdio: Sequence[int],
        *,
        held: Sequence[int] = (),
        passed: Sequence[int] = (),
        own: Sequence[int] = (),
        birth: bool = False,
        times: bool = False,
        more: bool = False,
        kept: bool = False,
    ) -> Launch:
        """Start a process that carries out *plan* (encoded), born in *clone_flags*.

        *stdio* are three descriptors; *passed* become 3, 4, … of the command.  *held* stay open
        until the container is gone, whatever becomes of this process: a lock held through them is
        free only when nothing of the container runs any more.  *own* are for steps of the plan,
        which name them by their place here; exec closes them.  All are still the caller's too.
        *birth* says that the plan has a Birth: see ``encode.needs_birth()``.
        *kept* says that a monitor may be wanted for it: see plan/keep.py.
        *times* asks for what each step takes.  *more* says that other launches like this one may
        follow, so that it is worth having a process ready for the next.
        """
        memory = os.memfd_create("newroot-plan", os.MFD_CLOEXEC)
        report, their_report = _socket.socketpair(_socket.AF_UNIX, _PACKET, 0)
        status, their_status = _socket.socketpair(_socket.AF_UNIX, _PACKET, 0)
        try:
            _write_all(memory, plan)
            if held:
                # The launcher never reads its end.  So these descriptors wait in its queue, open,
                # until it closes the socket, which is when the container has ended.
                for at in range(0, len(held), _MOST_BESIDE):
                    status.sendmsg([b"held"], _rights(held[at : at + _MOST_BESIDE]))
            flags = (
                (WANT_TIMES if times else 0)
                | (WANT_NEXT if more else 0)
                | (WANT_BIRTH if birth else 0)
                | (WANT_KEPT if kept else 0)
            )
            request = REQUEST.pack(REQUEST_MAGIC, flags, clone_flags, len(own), len(passed))
            fds = (memory, their_report.fileno(), their_status.fileno(), *stdio, *passed, *own)
            self._control.sendmsg([request], _rights(fds))
        except OSError as error:
            report.close()
            status.close()
            self.is_gone = error.errno in _GONE
            raise SyscallError(
                f"handing a plan to newroot-init: {error.strerror} ({_name(error.errno or 0)})",
                errno=error.errno or 0,
                call="sendmsg",
                target="newroot-init",
                hint="newroot-init was killed, or this engine closed" if self.is_gone else None,
            ) from error
        finally:
            os.close(memory)
            their_report.close()
            their_status.close()
        return Launch(self, report, status)

    def keep(self, order: bytes, fds: Sequence[int]) -> int:
        """Send what plan/keep.py has made; return the monitor's process id.

        Raises SyscallError when newroot-init is gone.
        """
        try:
            self._control.sendmsg([order], _rights(fds))
            answer = self._control.recv(4)
        except OSError as error:
            answer, number = b"", error.errno or 0
        else:
            number = errno.ESRCH
        if not answer:
            raise SyscallError(
                f"handing a container to its monitor: {os.strerror(number)} ({_name(number)})",
                errno=number,
                call="sendmsg",
                target="newroot-init",
                hint="newroot-init was killed; its container died with it",
            )
        return int.from_bytes(answer, "little")

    def look_after(self) -> None:
        """Find out whether it is dead, for it broke off; one that is being killed soon will be."""
        if not self.is_gone:
            self.is_gone = _has_ended(self.pid, 1000)

    def let_go(self) -> None:
        """End the launcher and leave alive what it started: as orphans, their subreaper's.

        Whoever dies before this takes them along.
        """
        self._control.send(REQUEST.pack(LET_GO_MAGIC, 0, 0, 0, 0))
        self._wait()

    def close(self) -> None:
        """End the launcher, and with it every container that still runs."""
        try:
            # Not only close(): a child that this process forked may have a copy of the socket.
            self._control.shutdown(_socket.SHUT_RDWR)
        except OSError:  # ENOTCONN: it is dead already
            pass
        self._wait()

    def _wait(self) -> None:
        self.is_gone = True
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:  # a SIGCHLD handler of the caller's was faster
            pass
        self._control.close()

    def abandon(self) -> None:
        """Forget a launcher that belongs to another process: after a fork, in the child."""
        self._control.close()
