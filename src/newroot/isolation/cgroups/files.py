"""Reading and writing cgroup files, and what the kernel means when it refuses.

A cgroup file takes its whole new content in one write(2) and answers with an errno.  Every
failure becomes a SyscallError that names the file, what was to be written and the kernel's words,
with a remedy where the errno has one well-known cause there: ``_REMEDIES`` is the table.
"""

from __future__ import annotations

import errno
import os

from newroot.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DELEGATE = (
    "be root, or have this part of the cgroup tree delegated: systemd-run --user --scope -p "
    "Delegate=yes -- COMMAND"
)
_READ_ONLY = (
    "the cgroup file system is mounted read-only here, as in most containers: have it mounted "
    "read-write, or run without limits"
)
_THREADED = (
    "the cgroup, or one above it, is threaded or holds processes, and so cannot be a domain: "
    "choose another cgroup path, or move those processes to a child cgroup"
)
_SWAP = "the kernel does not account swap: boot with swapaccount=1, or give no swap limit"
_NOT_ENABLED = (
    "the controller is not enabled here: the cgroup above must have it in cgroup.controllers and "
    "hand it down in cgroup.subtree_control (systemd: Delegate=yes on the unit)"
)
_CPUSET = (
    "it names a CPU or memory node that this host has not, or that the cgroup above does not "
    "give: compare with its cpuset.cpus and cpuset.mems"
)

#: errno, a beginning of the file's name, remedy; the first that fits counts.
_REMEDIES: tuple[tuple[int, str, str], ...] = (
    # cgroup-v2.rst, "No Internal Process Constraint".
    (
        errno.EBUSY,
        "cgroup.subtree_control",
        "processes sit in that cgroup, and a cgroup v2 with processes cannot hand controllers to "
        "its children: move them into a child cgroup, or start in a unit of your own: systemd-run "
        "--scope -p Delegate=yes -- COMMAND",
    ),
    # mm/memcontrol-v1.c, mem_cgroup_resize_max: what is in use could not be reclaimed.
    (errno.EBUSY, "memory.", "more is in use than the new limit: give a higher one"),
    (errno.EBUSY, "", "processes are still in it: kill them first"),
    (errno.EROFS, "", _READ_ONLY),
    (errno.EACCES, "cpuset.", _CPUSET),
    (errno.EACCES, "", _DELEGATE),
    (errno.EPERM, "bpf", "loading a device program needs CAP_BPF and CAP_NET_ADMIN: be root"),
    (errno.EPERM, "", _DELEGATE),
    (errno.ENOENT, "memory.memsw.", _SWAP),
    (errno.ENOENT, "memory.swap.", _SWAP),
    (errno.ENOENT, "hugetlb.", "this kernel has no huge pages of that size"),
    (errno.ENOENT, "cgroup.", "the cgroup is gone"),
    (errno.ENOENT, "", _NOT_ENABLED),
    (errno.EOPNOTSUPP, "", _THREADED),
    # kernel/cgroup/cgroup-v1.c, cpuset: no task may join a cpuset that has no CPU or no node.
    (errno.ENOSPC, "cgroup.procs", "cpuset.cpus or cpuset.mems of that cgroup is empty"),
    (errno.ENODEV, "", "there is no block device of that number: see lsblk"),
    (errno.EINVAL, "cpuset.", _CPUSET),
    (errno.ERANGE, "cpuset.", _CPUSET),
    (errno.EINVAL, "cpu.cfs_", "the cgroup above allows less CPU time"),
    (errno.EINVAL, "cpu.max.burst", "the burst may not exceed the quota"),
    (
        errno.EINVAL,
        "cpu.rt_",
        "the cgroup above has no realtime time: set its cpu.rt_runtime_us",
    ),
    (
        errno.EINVAL,
        "memory.memsw.",
        "memory+swap may not be below memory.limit_in_bytes: raise both, or lower both",
    ),
    (
        errno.EINVAL,
        "cgroup.subtree_control",
        "the kernel cannot enable that controller now: the cpu controller, for one, wants every "
        "realtime process in the root cgroup (CONFIG_RT_GROUP_SCHED)",
    ),
)


def failure(
    call: str, target: str, error: OSError, *, value: str | None = None, doing: str = ""
) -> SyscallError:
    """A SyscallError for *error*, which *call* on *target* gave."""
    code = error.errno or errno.EIO
    name = errno.errorcode.get(code, str(code))
    if not doing:
        doing = f"{call} {target}" if value is None else f"write {value!r} to {target}"
    message = f"{doing}: {os.strerror(code)} ({name})"
    file = "bpf" if call == "bpf" else os.path.basename(target)
    return SyscallError(
        message, errno=code, call=call, target=target, hint=_find_remedy(code, file)
    )


def _find_remedy(code: int, file: str) -> str | None:
    for remedy_code, beginning, remedy in _REMEDIES:
        if code == remedy_code and file.startswith(beginning):
            return remedy
    return None


def write(path: str, value: str) -> None:
    """Write *value* to the cgroup file at *path*, which must be there already."""
    with Writer() as writer:
        writer.write(path, value)


class Writer:
    """Writes to one cgroup file after another, and opens one that comes twice in a row once.

    Device rules are some twenty lines to the same file, and opening it costs more than a line.
    """

    __slots__ = ("_file", "_path")

    def __init__(self) -> None:
        self._path = ""
        self._file = -1

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def write(self, path: str, value: str) -> None:
        """Write *value* to the cgroup file at *path*, which must be there already."""
        try:
            if path != self._path:
                self._close()
                # Without O_CREAT: in a cgroup directory it would turn ENOENT into EACCES.
                self._file = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                self._path = path
            os.write(self._file, value.encode())
        except OSError as error:
            raise failure("write", path, error, value=value) from None

    def _close(self) -> None:
        self._path = ""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


def read(path: str) -> str:
    """The content of the cgroup file at *path*."""
    text = find(path)
    if text is None:
        raise failure("read", path, OSError(errno.ENOENT, ""))
    return text


def find(path: str) -> str | None:
    """The content of the cgroup file at *path*, or None when there is none."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failure("open", path, error) from None
    try:
        return _read_all(file)
    except OSError as error:
        # The cgroup was removed between open and read: kernfs says ENODEV then.
        if error.errno == errno.ENODEV:
            return None
        raise failure("read", path, error) from None
    finally:
        os.close(file)


def _read_all(file: int) -> str:
    parts = []
    while part := os.read(file, 65536):
        parts.append(part)
    return b"".join(parts).decode(errors="surrogateescape")


def find_number(path: str) -> int | None:
    """The number that the file holds; None when it is not there or says "max"."""
    text = (find(path) or "").strip()
    return int(text) if text.isdecimal() else None


def keyed_numbers(text: str | None) -> dict[str, int]:
    """The "key value" lines of memory.events, cpu.stat and their like."""
    return dict(_pairs(text or ""))


def _pairs(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.isdecimal():
            yield key, int(value)
