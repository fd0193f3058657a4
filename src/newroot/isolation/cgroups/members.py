"""The processes of a cgroup: list them, freeze them, kill them, wait until they are gone.

Everything here works on cgroup directories, each with all the cgroups below it that the
container may have made.  A directory below is never reached through a symbolic link: cgroupfs
has none, and O_NOFOLLOW sees to it that a directory of another kind is not mistaken for one.
"""

from __future__ import annotations

import errno
import os
import select
from time import monotonic

from newroot.errors import SyscallError
from newroot.isolation.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGKILL = 9
#: Between two looks at a file that tells nobody of its changes (cgroup v1 has only such).
_PAUSE_S = 0.001
_LOOK_AGAIN_S = 0.05


def walk(top: str) -> Iterator[str]:
    """*top* and every cgroup directory below it, parents before children.

    A tree that is deeper than a path may be long raises SyscallError (ENAMETOOLONG); nobody needs
    it where cgroup.kill does the killing.
    """
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(directory) as entries:
                below = [e.path for e in entries if e.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed meanwhile
        except OSError as error:
            raise files.failure("open", directory, error) from None
        yield directory
        waiting.extend(below)


def processes(top: str) -> set[int]:
    """The process ids in *top* and below, without those that our pid namespace has no id for."""
    found: set[int] = set()
    for directory in walk(top):
        found.update(_listed(directory))
    found.discard(0)  # how cgroup.procs shows a process of a pid namespace above ours
    return found


def _listed(directory: str) -> Iterator[int]:
    try:
        text = files.find(f"{directory}/cgroup.procs")
    except SyscallError as error:
        # cgroup-v2.rst, Threads: in a threaded cgroup cgroup.procs cannot be read.
        if error.errno != errno.EOPNOTSUPP:
            raise
        text = files.find(f"{directory}/cgroup.threads")
    return map(int, (text or "").split())


def is_populated(directory: str) -> bool:
    """Whether a process lives in the cgroup v2 at *directory* or below."""
    events = files.keyed_numbers(files.find(f"{directory}/cgroup.events"))
    return events.get("populated", 0) == 1


def wait_event(
    directory: str, key: str, value: int, timeout_s: float, *, or_empty: bool = False
) -> bool:
    """Wait until cgroup.events of the cgroup v2 at *directory* says ``key value``.

    True when it does, and when the cgroup is gone; with *or_empty* also when no process is in it.
    False after *timeout_s*.
    """
    try:
        file = os.open(f"{directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        poll = select.poll()
        poll.register(file, select.POLLPRI)
        deadline = monotonic() + timeout_s
        while True:
            # Reading arms the next notification: kernfs_notify.
            try:
                text = os.pread(file, 4096, 0).decode()
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return True
                raise
            numbers = files.keyed_numbers(text)
            if numbers.get(key) == value or (or_empty and numbers.get("populated") == 0):
                return True
            left = deadline - monotonic()
            if left <= 0:
                return False
            # The removal of a cgroup wakes nobody who waits for a word of it.
            poll.poll(min(left, _LOOK_AGAIN_S) * 1000)
    finally:
        os.close(file)


def wait_gone(top: str, timeout_s: float) -> bool:
    """Wait until no process is left in the cgroup v1 at *top* or below, by their pidfds."""
    deadline = monotonic() + timeout_s
    while members := processes(top):
        if monotonic() >= deadline:
            return False
        _wait_exit(members, deadline)
    return True


def _wait_exit(pids: set[int], deadline: float) -> None:
    poll = select.poll()
    opened = []
    for pid in pids:
        try:
            opened.append(os.pidfd_open(pid))
        except OSError:
            continue  # gone
    try:
        for pidfd in opened:
            poll.register(pidfd, select.POLLIN)
        if opened:
            poll.poll(max(0.0, deadline - monotonic()) * 1000)
        else:
            pause()
    finally:
        for pidfd in opened:
            os.close(pidfd)


def kill_unified(directory: str) -> bool:
    """Kill all in the cgroup v2 at *directory* at once.  False where the kernel cannot (< 5.14)."""
    try:
        files.write(f"{directory}/cgroup.kill", "1")
    except SyscallError as error:
        if error.errno == errno.ENOENT:
            return not os.path.isdir(directory)
        raise
    return True


def kill_each(top: str) -> None:
    """Send SIGKILL to every process in *top* and below, once."""
    signal_each(top, _SIGKILL)


def signal_each(top: str, signal: int) -> None:
    """Send *signal* to every process in *top* and below, once.

    A process id may be taken over by another process between reading it and killing it.  So the
    pidfd is opened first and the list read again: who is still listed then is who we hold, or
    already dead.
    """
    held = {}
    try:
        for pid in processes(top):
            try:
                held[pid] = os.pidfd_open(pid)
            except OSError:
                continue  # gone
        for pid in processes(top) & held.keys():
            _signal(held[pid], signal)
    finally:
        for pidfd in held.values():
            os.close(pidfd)


def _signal(pidfd: int, number: int) -> None:
    # signal itself imports enum, which costs more than all of this file.
    import _signal as signal

    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return
    except OSError as error:
        raise files.failure("pidfd_send_signal", "a process of the cgroup", error) from None


def freeze_unified(directory: str, *, frozen: bool, timeout_s: float) -> bool:
    """Freeze or thaw the cgroup v2 at *directory*; False when it did not settle in time."""
    files.write(f"{directory}/cgroup.freeze", "1" if frozen else "0")
    # One without processes never says that it is frozen: cgroup-v2.rst.
    return wait_event(directory, "frozen", int(frozen), timeout_s, or_empty=frozen)


def freeze_v1(directory: str, *, timeout_s: float) -> bool:
    """Freeze the cgroup of the v1 freezer at *directory*; False when it did not settle in time.

    The kernel can stay FREEZING when a process forks meanwhile, so the word is said again and,
    now and then, taken back first: freezer-subsystem.rst, and runc issue 2774.
    """
    state = f"{directory}/freezer.state"
    deadline = monotonic() + timeout_s
    turns = 0
    while True:
        files.write(state, "FROZEN")
        if files.read(state).strip() == "FROZEN":
            return True
        if monotonic() >= deadline:
            return False
        pause()
        turns += 1
        if turns % 50 == 0:
            files.write(state, "THAWED")


def thaw_v1(directory: str) -> None:
    """Let the cgroup of the v1 freezer at *directory* run again."""
    files.write(f"{directory}/freezer.state", "THAWED")


def pause() -> None:
    """Let a millisecond pass, where the kernel offers no event to wait for."""
    select.select((), (), (), _PAUSE_S)
