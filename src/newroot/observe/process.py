"""One process as /proc shows it: what ``ns`` needs of every process, and what it shows of a few.

A process may end between any two reads; then it is gone, which is an answer (None) and no error.
Texts are ``str`` with surrogate escapes, for a process may call itself what it likes.
"""

from __future__ import annotations

import os

from newroot.record import record


@record
class Process:
    """One process, looked at once."""

    pid: int
    ppid: int
    name: str  #: its comm, at most 15 bytes
    command: str  #: its command line; ``[name]`` of one that has none
    uid: int  #: effective, as this process's user namespace counts
    threads: int
    state: str  #: one letter: proc_pid_stat(5)
    cgroups: tuple[str, ...]  #: lines of /proc/PID/cgroup, ``0::/a/b``
    inside: tuple[int, ...]  #: its ids from this pid namespace down to its own


@record
class Brief:
    """As much of a process as is read of every one."""

    pid: int
    ppid: int
    uid: int


def read_process(pid: int) -> Process | None:
    """All that is shown of process *pid*; None when there is none."""
    status = _fields(read_file(f"/proc/{pid}/status"))
    if not status:
        return None
    cgroups = os.fsdecode(read_file(f"/proc/{pid}/cgroup") or b"")
    name = _unescape(status.get(b"Name", b""))
    return Process(
        pid=pid,
        ppid=int(status.get(b"PPid", b"0")),
        name=name,
        command=command_of(pid) or f"[{name}]",
        uid=int(status[b"Uid"].split()[1]),
        threads=int(status.get(b"Threads", b"0")),
        state=os.fsdecode(status.get(b"State", b"?")[:1]),
        cgroups=tuple(line for line in cgroups.split("\n") if line),
        inside=tuple(map(int, status.get(b"NSpid", b"").split())),
    )


def brief(pid: int) -> Brief | None:
    """Who *pid* is and whose child; None when there is no such process."""
    status = read_file(f"/proc/{pid}/status", once=True)
    if status is None:
        return None
    # The name comes first and cannot forge a line: the kernel escapes a newline in it.
    at = status.find(b"\nPPid:\t")
    uid = status.find(b"\nUid:\t", at)
    if at < 0 or uid < 0:
        return None
    return Brief(
        pid=pid,
        ppid=int(status[at + 7 : status.find(b"\n", at + 7)]),
        uid=int(status[uid + 6 : status.find(b"\n", uid + 6)].split(b"\t")[1]),
    )


def command_of(pid: int) -> str:
    """The command line of *pid*, its words joined by spaces; empty when it has none or is gone."""
    line = read_file(f"/proc/{pid}/cmdline", once=True) or b""
    return os.fsdecode(line.rstrip(b"\0").replace(b"\0", b" "))


def read_file(path: str, *, once: bool = False) -> bytes | None:
    """What is in a file of /proc; None when its process is gone, or it is not ours to read.

    *once* spares the read that finds the end, where the kernel gives a whole file in one:
    single_open(), as of status; not a table, of which one read(2) gives a page.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = part = os.read(fd, 65536)
        while part and not once:
            part = os.read(fd, 65536)
            data += part
        return data
    except OSError:
        return None
    finally:
        os.close(fd)


def _fields(status: bytes | None) -> dict[bytes, bytes]:
    lines = (line.partition(b":\t") for line in (status or b"").split(b"\n"))
    return {key: value for key, separator, value in lines if separator}


def _unescape(name: bytes) -> str:
    """Undo what the kernel escapes in a name: newline and backslash, string_escape_str()."""
    return os.fsdecode(name.replace(b"\\n", b"\n").replace(b"\\\\", b"\\"))
