"""A container is written down by criu(8): its processes, their memory, what they have open.

What criu is told is what runc tells it (libcontainer/criu_linux.go), with its names for what is not
the container's own: which of its mounts are the host's, which namespaces are others', what its
three streams were (``descriptors.json``).
"""

from __future__ import annotations

import os

from newroot.container import criu as criu_
from newroot.container.oci_state import OciContainer
from newroot.errors import UsageError, WrongStatus
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.criu import Value

DESCRIPTORS = "descriptors.json"
_CONFIGURATION = "/etc/criu/runc.conf"  #: read by criu where it is there, as for runc
_ANNOTATION = "org.criu.config"
#: By what name criu is told of a namespace that is somebody else's, and finds it again.
EXTERNAL = {"network": ("net", "extRootNetNS"), "pid": ("pid", "extRootPidNS")}
CLONE_NEWNET = 0x40000000


@record
class CriuWishes:
    """How a container is written down or restored: the flags of ``checkpoint`` and ``restore``."""

    images: str  #: the directory of the checkpoint
    work: str | None = None  #: where criu's logs go, else beside the images
    parent: str | None = None  #: an earlier one, relative to *images*
    leave_running: bool = False
    pre_dump: bool = False  #: memory alone, and the container runs on
    lazy_pages: bool = False  #: memory follows by network
    status_fd: int | None = None  #: told a NUL byte when memory can be fetched
    page_server: tuple[str, int] | None = None
    cgroups: str = "soft"  #: criu.CGROUP_MODES
    flags: tuple[str, ...] = ()  #: options of criu's that are true: tcp_established, shell_job, …
    empty_ns: int = 0  #: CLONE_NEW* of namespaces whose content is left out
    lsm_profile: str | None = None
    lsm_mount_context: str | None = None

    @property
    def logs(self) -> str:
        return self.work or self.images


def checkpoint(container: OciContainer, program: str, wishes: CriuWishes) -> None:
    """Write *container* down; unless it is left running, its processes are gone then.

    Raises WrongStatus, UnsupportedError where criu is not there or does not work.
    """
    status = container.status()
    if status not in ("running", "paused"):
        raise WrongStatus(
            f"container cannot be checkpointed in {status} state", status=status, wanted="running"
        )
    import json

    criu = criu_.Criu(program)
    criu.version()
    config = container.config()
    for directory in filter(None, (wishes.images, wishes.work)):
        os.makedirs(directory, mode=0o700, exist_ok=True)
    fds = [_open_directory(path) for path in filter(None, (wishes.images, wishes.work))]
    try:
        options = [
            *common_options(config, wishes, fds, "dump.log"),
            *_dump_options(container, config, wishes),
        ]
        if not wishes.pre_dump:
            options += external_mounts(config, container.pid)
            streams = _descriptors(container.pid)
            options += [("external", name) for name in dict.fromkeys(streams) if is_file(name)]
            with open(f"{wishes.images}/{DESCRIPTORS}", "w", encoding="utf-8") as file:
                json.dump(streams, file)
        kind = criu_.PRE_DUMP if wishes.pre_dump else criu_.DUMP
        answer = criu.ask(kind, options, on_notify=_notify_of(wishes))
    finally:
        for fd in fds:
            os.close(fd)
    if not criu_.is_yes(answer):
        raise criu_.failed(criu, f"checkpoint {container.id}", answer, f"{wishes.logs}/dump.log")


def _open_directory(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def common_options(
    config: dict[str, Any], wishes: CriuWishes, fds: list[int], log: str
) -> list[tuple[str, Value]]:
    """What a dump and a restore are told alike; *fds*: the images' directory, and the logs'."""
    found: list[tuple[str, Value]] = [
        ("images_dir_fd", fds[0]),
        ("log_level", 4),
        ("log_file", log),
        ("notify_scripts", True),
        ("manage_cgroups", True),
        ("manage_cgroups_mode", criu_.CGROUP_MODES[wishes.cgroups]),
        ("empty_ns", wishes.empty_ns),
        ("orphan_pts_master", True),
        ("lazy_pages", wishes.lazy_pages),
        *((flag, True) for flag in wishes.flags),
    ]
    if len(fds) > 1:
        found.append(("work_dir_fd", fds[1]))
    file = (config.get("annotations") or {}).get(_ANNOTATION, _CONFIGURATION)
    if file:
        found.append(("config_file", file))
    return found


def _dump_options(
    container: OciContainer, config: dict[str, Any], wishes: CriuWishes
) -> list[tuple[str, Value]]:
    found: list[tuple[str, Value]] = [
        ("pid", container.pid),
        ("root", container.rootfs),
        ("leave_running", wishes.leave_running),
    ]
    for space in (config.get("linux") or {}).get("namespaces") or ():
        if space.get("path") and space["type"] in EXTERNAL:
            name, key = EXTERNAL[space["type"]]
            found.append(("external", f"{name}[{os.stat(space['path']).st_ino}]:{key}"))
    freezer = _freezer(container)
    if freezer is not None:
        found.append(("freeze_cgroup", freezer))
    if wishes.page_server is not None:
        address, port = wishes.page_server
        found.append(("ps", criu_.encode([(1, address), (2, port)])))
    if wishes.parent is not None:
        found += [("parent_img", wishes.parent), ("track_mem", True)]
    elif wishes.pre_dump:
        found.append(("track_mem", True))
    if wishes.status_fd is not None:
        _check_status_fd(wishes.status_fd)
    return found


def _freezer(container: OciContainer) -> str | None:
    """The directory by which criu can stop all of the container's processes at once."""
    for place in container.cgroup().places:
        if place.hierarchy.version == 2 or "freezer" in place.hierarchy.controllers:
            if os.path.exists(f"{place.directory}/cgroup.freeze") or os.path.exists(
                f"{place.directory}/freezer.state"
            ):
                return place.directory
    return None


def _check_status_fd(fd: int) -> None:
    import fcntl

    try:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    except OSError as error:
        raise UsageError(f"invalid --status-fd argument {fd}: {error.strerror}") from None
    if not flags & (os.O_WRONLY | os.O_RDWR):
        raise UsageError(f"invalid --status-fd argument {fd}: not writable")


def external_mounts(config: dict[str, Any], pid: int | None = None) -> list[tuple[str, Value]]:
    """What is mounted in the container and the host's: kept by name, not by content.

    With *pid* for a dump, where each has the name of its place; else for a restore, where each has
    its source.
    """
    linux = config.get("linux") or {}
    pairs: dict[str, str] = {}
    for mount in config.get("mounts") or ():
        options = mount.get("options") or ()
        if mount.get("type") == "bind" or "bind" in options or "rbind" in options:
            place = "/" + mount["destination"].lstrip("/")
            pairs[place] = place if pid is not None else str(mount.get("source"))
    if pid is not None:
        for path in linux.get("maskedPaths") or ():
            inside = f"/proc/{pid}/root{path}"
            if os.path.exists(inside) and not os.path.isdir(inside):
                pairs[path] = "/dev/null"
    elif linux.get("maskedPaths"):
        pairs["/dev/null"] = "/dev/null"
    return [("ext_mnt", criu_.encode([(1, key), (2, value)])) for key, value in pairs.items()]


def _descriptors(pid: int) -> list[str]:
    """What the first process's three streams are: what is not the container's is given again.

    Ours are the caller's own, so they may be files of the host, which criu finds on none of the
    container's mounts.  Those it knows as ``file[MOUNT:INODE]``, in hexadecimal: criu(8),
    --external.
    """
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        own = {line.split()[0] for line in file}
    return [_stream(pid, fd, own) for fd in range(3)]


def is_file(stream: str) -> bool:
    """Whether a stream is a file that only its caller has."""
    return stream.startswith("file[")


def _stream(pid: int, fd: int, own: set[str]) -> str:
    name = os.readlink(f"/proc/{pid}/fd/{fd}")
    if not name.startswith("/"):
        return name  # pipe:[…], socket:[…]
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
        mount = next(line.split()[1] for line in file if line.startswith("mnt_id:"))
    if mount in own:
        return name
    return f"file[{int(mount):x}:{os.stat(f'/proc/{pid}/fd/{fd}').st_ino:x}]"


def _notify_of(wishes: CriuWishes) -> criu_.OnNotify:
    def notify(script: str, pid: int, fd: int | None) -> None:
        if fd is not None:
            os.close(fd)
        if script == "status-ready" and wishes.status_fd is not None:
            os.write(wishes.status_fd, b"\0")
            os.close(wishes.status_fd)

    return notify
