"""What this kernel lets us do, here and now, found out by doing it.

A version number says what a kernel could do; seccomp filters, LSMs, sysctls and missing
capabilities say what it will.  Each probe does the thing itself, in a child of its own with
namespaces of its own, and leaves nothing behind.  Answers are kept for the life of the process.

Features carry the names that tests ask for with ``newroot.testing.needs``.
"""

from __future__ import annotations

import errno
import os

from newroot.linux import constants as c
from newroot.linux.syscalls import call as _call
from newroot.linux.syscalls import native_arch, table
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


@record
class Probe:
    """Whether something works, and what was tried and seen."""

    works: bool
    tried: str


def probe(name: str) -> Probe:
    """Try the feature *name*, one of ``NAMES``.  Raises KeyError for any other."""
    if name not in _known:
        _known[name] = _in_child(_TRIES[name])
    return _known[name]


def probe_all() -> dict[str, Probe]:
    """Every feature's probe, by name."""
    return {name: probe(name) for name in NAMES}


_known: dict[str, Probe] = {}


class _Fails(Exception):
    """A probe saw that the feature does not work.  Never leaves the child."""


def _in_child(attempt: Callable[[], str]) -> Probe:
    """Run *attempt* in a child, for it may change namespaces, mounts and filters."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            _report(writer, attempt)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        text = file.read().decode("utf-8", "replace")
    _, status = os.waitpid(pid, 0)
    if not text:
        return Probe(works=False, tried=f"{attempt.__doc__}: the child ended with status {status}")
    return Probe(works=text[0] == "+", tried=text[1:])


def _report(writer: int, attempt: Callable[[], str]) -> None:
    try:
        answer = f"+{attempt()}"
    except _Fails as reason:
        answer = f"-{reason}"
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, str(error.errno))
        answer = f"-{error.filename or attempt.__doc__}: {error.strerror} ({name})"
    except Exception as error:
        answer = f"-{attempt.__doc__}: {error!r}"
    os.write(writer, answer.encode("utf-8", "replace"))


# --- system calls, by number, for the child only --------------------------------------------------


def _unshare(flags: int) -> None:
    _call("unshare", flags)


def _mount(source: str, target: str, fstype: str | None, flags: int = 0, data: str = "") -> None:
    kind = None if fstype is None else fstype.encode()
    _call("mount", os.fsencode(source), os.fsencode(target), kind, flags, os.fsencode(data))


def _enter_user_namespace(flags: int = 0) -> None:
    uid, gid = os.geteuid(), os.getegid()
    _unshare(c.CLONE_NEWUSER | flags)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _enter_mount_namespace() -> str:
    """A mount namespace of our own, by right or in a user namespace, and a tmpfs to work in."""
    how = "in a mount namespace"
    try:
        _unshare(c.CLONE_NEWNS)
    except PermissionError:
        _enter_user_namespace(c.CLONE_NEWNS)
        how = "in a user and mount namespace"
    _make_workplace()
    return how


def _make_workplace() -> None:
    _mount("none", "/", None, c.MS_REC | c.MS_PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs")
    os.chdir("/tmp")


# --- the probes: each returns what it did, or raises what it met ----------------------------------


def _userns() -> str:
    """unshare(CLONE_NEWUSER)"""
    _enter_user_namespace()
    return "made a user namespace and mapped root into it"


def _netns() -> str:
    """unshare(CLONE_NEWNET)"""
    return _made_namespace(c.CLONE_NEWNET, "network")


def _cgroupns() -> str:
    """unshare(CLONE_NEWCGROUP)"""
    return _made_namespace(c.CLONE_NEWCGROUP, "cgroup")


def _timens() -> str:
    """unshare(CLONE_NEWTIME)"""
    return _made_namespace(c.CLONE_NEWTIME, "time")


def _made_namespace(flag: int, name: str) -> str:
    try:
        _unshare(flag)
    except PermissionError:
        _enter_user_namespace()
        _unshare(flag)
        return f"made a {name} namespace, in a user namespace"
    return f"made a {name} namespace"


def _overlay() -> str:
    """mount an overlay"""
    how = _enter_mount_namespace()
    return f"{_mount_overlay('')}, {how}"


def _overlay_userxattr() -> str:
    """mount an overlay with userxattr in a user namespace"""
    _enter_user_namespace(c.CLONE_NEWNS)
    _make_workplace()
    return f"{_mount_overlay(',userxattr')}, in a user namespace"


def _mount_overlay(options: str) -> str:
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(name)
    with open("lower/file", "w") as file:
        file.write("below")
    _mount(
        "overlay", "merged", "overlay", 0, f"lowerdir=lower,upperdir=upper,workdir=work{options}"
    )
    with open("merged/file", "a") as file:
        file.write(" and above")
    if not os.path.exists("upper/file"):
        raise _Fails("wrote to an overlay, and nothing was copied up")
    return f"mounted an overlay{options.replace(',', ' with ')} and wrote to it"


def _overlay_lowerdir() -> str:
    """fsconfig(overlay, lowerdir+)"""
    how = _enter_mount_namespace()
    os.mkdir("lower")
    os.mkdir("below")
    fd = _call("fsopen", b"overlay", c.FSOPEN_CLOEXEC)
    for name in (b"/tmp/lower", b"/tmp/below"):
        _call("fsconfig", fd, c.FSCONFIG_SET_STRING, b"lowerdir+", name, 0)
    _call("fsconfig", fd, c.FSCONFIG_CMD_CREATE, None, None, 0)
    return f"made an overlay of two lowerdir+, {how}"


def _erofs() -> str:
    """mount EROFS from a file"""
    import tempfile

    from newroot.linux.erofs import why_not

    reason = why_not(tempfile.gettempdir())
    if reason is not None:
        raise _Fails(reason)
    return "mounted EROFS from a file"


def _mount_api() -> str:
    """fsopen, fsmount, mount_setattr, move_mount"""
    how = _enter_mount_namespace()
    os.mkdir("there")
    fd = _call("fsopen", b"tmpfs", c.FSOPEN_CLOEXEC)
    _call("fsconfig", fd, c.FSCONFIG_CMD_CREATE, None, None, 0)
    mount = _call("fsmount", fd, c.FSMOUNT_CLOEXEC, 0)
    _set_mount_attributes(mount, c.MOUNT_ATTR_NOSUID, 0)
    _call("move_mount", mount, b"", c.AT_FDCWD, b"/tmp/there", c.MOVE_MOUNT_F_EMPTY_PATH)
    tree = _call("open_tree", c.AT_FDCWD, b"/tmp/there", c.OPEN_TREE_CLONE)
    os.close(tree)
    return f"mounted a tmpfs by fsopen, fsmount and move_mount, {how}"


def _set_mount_attributes(mount: int, attributes: int, userns_fd: int) -> None:
    import ctypes
    import struct

    words = struct.pack("QQQQ", attributes, 0, 0, userns_fd)
    text = ctypes.create_string_buffer(words, len(words))
    _call("mount_setattr", mount, b"", c.AT_EMPTY_PATH, text, len(words))


def _idmapped_mounts() -> str:
    """mount_setattr(MOUNT_ATTR_IDMAP)"""
    # On the file system that things are kept on, not on a tmpfs: each has to support it.
    import tempfile

    where = tempfile.gettempdir()
    _unshare(c.CLONE_NEWNS)
    _mount("none", "/", None, c.MS_REC | c.MS_PRIVATE)
    userns, holder = _other_user_namespace()
    try:
        tree = _call("open_tree", c.AT_FDCWD, os.fsencode(where), c.OPEN_TREE_CLONE)
        _set_mount_attributes(tree, c.MOUNT_ATTR_IDMAP, userns)
    finally:
        os.kill(holder, 9)
        os.waitpid(holder, 0)
    return f"made an idmapped mount of {where}"


def _other_user_namespace() -> tuple[int, int]:
    """A user namespace that maps root to 100000: its descriptor, and who keeps it alive."""
    reader, writer = os.pipe()
    stay, _held = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(_held)
            _unshare(c.CLONE_NEWUSER)
            os.write(writer, b"+")
            os.read(stay, 1)  # until who made us is gone, or kills us
        finally:
            os._exit(1)
    os.close(writer)
    os.close(stay)
    if os.read(reader, 1) != b"+":
        os.waitpid(pid, 0)
        raise _Fails("unshare(CLONE_NEWUSER) failed in a child")
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write("0 100000 65536")
    return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC), pid


def _openat2() -> str:
    """openat2(RESOLVE_IN_ROOT)"""
    import ctypes
    import struct

    how = struct.pack("QQQ", os.O_PATH | os.O_CLOEXEC, 0, c.RESOLVE_IN_ROOT)
    text = ctypes.create_string_buffer(how, len(how))
    _call("openat2", c.AT_FDCWD, b"../../..", text, len(how))
    return "opened a path with openat2(RESOLVE_IN_ROOT)"


def _clone3() -> str:
    """clone3"""
    import ctypes
    import struct

    words = struct.pack("QQQQQQQQ", 0, 0, 0, 0, 17, 0, 0, 0)
    text = ctypes.create_string_buffer(words, len(words))
    pid = _call("clone3", text, len(words))
    if pid == 0:
        os._exit(7)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 7:
        raise _Fails("clone3 made a child that did not end as it should")
    return "made a child with clone3"


def _pidfd() -> str:
    """pidfd_open, waitid(P_PIDFD)"""
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    fd = os.pidfd_open(pid)
    result = os.waitid(c.P_PIDFD, fd, os.WEXITED)
    if result is None or result.si_status != 7:
        raise _Fails("waited for a child by pidfd, and got another's status")
    return "opened a pidfd and waited for it"


def _seccomp() -> str:
    """seccomp(SECCOMP_SET_MODE_FILTER)"""
    _load_filter(c.SECCOMP_RET_ERRNO | errno.ENOANO, 0)
    try:
        os.getpgid(0)
    except OSError as error:
        if error.errno == errno.ENOANO:
            return "loaded a filter, and it refused a call"
    raise _Fails("loaded a filter, and it did nothing")


def _seccomp_notify() -> str:
    """seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)"""
    listener = _load_filter(c.SECCOMP_RET_USER_NOTIF, c.SECCOMP_FILTER_FLAG_NEW_LISTENER)
    os.close(listener)
    return "loaded a filter that notifies, and got its listener"


def _load_filter(answer: int, flags: int) -> int:
    """Load a filter that gives *answer* to getpgid(2) and lets everything else pass."""
    import ctypes
    import struct

    number = table(native_arch())["getpgid"]
    program = b"".join(
        struct.pack("=HBBI", *each)
        for each in (
            (c.BPF_LD | c.BPF_W | c.BPF_ABS, 0, 0, 0),
            (c.BPF_JMP | c.BPF_JEQ | c.BPF_K, 0, 1, number),
            (c.BPF_RET | c.BPF_K, 0, 0, answer),
            (c.BPF_RET | c.BPF_K, 0, 0, c.SECCOMP_RET_ALLOW),
        )
    )
    code = ctypes.create_string_buffer(program, len(program))
    fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(code)), 16)
    _call("prctl", c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return _call("seccomp", c.SECCOMP_SET_MODE_FILTER, flags, fprog)


def _landlock() -> str:
    """landlock_create_ruleset"""
    version = _call("landlock_create_ruleset", None, 0, 1)
    return f"Landlock ABI {version}"


def _cgroup1() -> str:
    """a cgroup v1 hierarchy"""
    return _mounted("cgroup")


def _cgroup2() -> str:
    """a cgroup v2 hierarchy"""
    return _mounted("cgroup2")


def _cgroup_hybrid() -> str:
    """a cgroup v1 and a cgroup v2 hierarchy"""
    return f"{_mounted('cgroup')}; {_mounted('cgroup2')}"


def _mounted(fstype: str) -> str:
    from newroot.linux.mountinfo import read_mounts

    for mount in read_mounts():
        if mount.fstype == fstype:
            return f"{fstype} is mounted on {mount.mount_point}"
    raise _Fails(f"no {fstype} in /proc/self/mountinfo")


_TRIES: dict[str, Callable[[], str]] = {
    "userns": _userns,
    "netns": _netns,
    "cgroupns": _cgroupns,
    "timens": _timens,
    "overlay": _overlay,
    "overlay-userxattr": _overlay_userxattr,
    "overlay-lowerdir+": _overlay_lowerdir,
    "erofs": _erofs,
    "mount-api": _mount_api,
    "idmapped-mounts": _idmapped_mounts,
    "openat2": _openat2,
    "clone3": _clone3,
    "pidfd": _pidfd,
    "seccomp": _seccomp,
    "seccomp-notify": _seccomp_notify,
    "landlock": _landlock,
    "cgroup1": _cgroup1,
    "cgroup2": _cgroup2,
    "cgroup-hybrid": _cgroup_hybrid,
}
NAMES = tuple(_TRIES)
