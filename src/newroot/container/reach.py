"""A container's files from outside: its root by descriptor, whether it runs or not.

One that runs is entered by /proc/PID/root, which shows what its first process sees, volumes and
all.  For one that does not, newroot-init mounts the same in a namespace of its own and waits:
nothing of the container runs.  Either way a name is to be looked up below the descriptor, a
component at a time (linux/paths.py): what the container does meanwhile leads nowhere but into it.
"""

from __future__ import annotations

import os

from newroot.errors import StateError, SyscallError, WrongStatus
from newroot.linux.idmap import IDENTITY, from_oci, parse
from newroot.linux.processes import start_ticks
from newroot.linux.user_namespaces import is_in_user_namespace
from newroot.plan import steps as s
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from newroot.container.settings import Settings
    from newroot.container.source import Source
    from newroot.container.storage import Claim, ContainerStorage
    from newroot.linux.idmap import IdMap
    from newroot.plan.launcher import Launcher
    from newroot.rootfs.volumes import VolumeStore

    Outcome = TypeVar("Outcome")

_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_BEGINNING_S = 10.0
_PAUSE_S = 0.005
#: File systems in which the kernel speaks, and nobody has files.
_KERNEL = frozenset(
    ("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "bpf", "debugfs", "tracefs",
     "securityfs", "configfs", "fusectl", "pstore", "binfmt_misc", "efivarfs", "nsfs")
)  # fmt: skip


@record
class Reached:
    """A container's root while it is held."""

    root: int  #: an O_PATH descriptor
    uids: tuple[IdMap, ...] = IDENTITY  #: of its user namespace: which ids files have out here
    gids: tuple[IdMap, ...] = IDENTITY
    kernel: frozenset[int] = frozenset()  #: st_dev of the kernel's own file systems in it
    is_host: bool = False  #: it is no container's


def with_root(
    storage: ContainerStorage,
    volumes: VolumeStore,
    launcher: Callable[[], Launcher],
    container_id: str,
    use: Callable[[Reached], Outcome],
) -> Outcome:
    """Let *use* have the container's root; return what that does.

    One that does not run is not started, changed or removed by others meanwhile.  Raises
    WrongStatus while it is being started, StateError for one whose root is nowhere but in memory,
    StepError when it could not be mounted.
    """
    from time import monotonic, sleep

    from newroot.container.sweep import take

    end = monotonic() + _BEGINNING_S
    while True:
        claim = take(storage, container_id)
        if claim is not None:
            return _stopped(storage, volumes, launcher, claim, use)
        found = _running(storage, container_id)
        if found is not None:
            try:
                return use(found)
            finally:
                os.close(found.root)
        if monotonic() > end:
            raise WrongStatus(
                f"reach the files of container {container_id[:12]}: it is being started or ended",
                status="starting",
                wanted="running or exited",
            )
        sleep(_PAUSE_S)  # nobody tells when a process has entered its root


def _running(storage: ContainerStorage, container_id: str) -> Reached | None:
    """The root of the container's first process; None while that has none of its own."""
    state = storage.state(container_id)
    pid = state.get("pid")
    if not isinstance(pid, int):
        return None
    try:
        root = os.open(f"/proc/{pid}/root", _PATH)
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = None
    try:
        # Before it has entered its root, its root is the host's.
        if not os.path.samestat(os.fstat(root), os.stat("/")):
            kernel = _kernel_devices(pid)
            uids, gids = _id_maps(pid)
            # Asked when all is in hand: until then the process id may have come to be another's.
            if start_ticks(pid) == state.get("startTicks"):
                found = Reached(root=root, uids=uids, gids=gids, kernel=kernel)
    except (FileNotFoundError, ProcessLookupError):
        pass
    finally:
        if found is None:
            os.close(root)
    return found


def _id_maps(pid: int) -> tuple[tuple[IdMap, ...], ...]:
    """Which ids of ours the container's are.

    Who is in a user namespace itself reads in its map what its ids are further out, not what they
    are to itself: user_namespaces(7).
    """
    own, theirs = (os.stat(f"/proc/{who}/ns/user") for who in ("self", pid))
    if os.path.samestat(own, theirs):
        return IDENTITY, IDENTITY
    return tuple(parse(_read(f"/proc/{pid}/{name}_map")) for name in ("uid", "gid"))


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _kernel_devices(pid: int) -> frozenset[int]:
    from newroot.linux.mountinfo import read_mounts

    return frozenset(os.makedev(*m.dev) for m in read_mounts(pid) if m.fstype in _KERNEL)


# ---- one that does not run ----


def _stopped(
    storage: ContainerStorage,
    volumes: VolumeStore,
    launcher: Callable[[], Launcher],
    claim: Claim,
    use: Callable[[Reached], Outcome],
) -> Outcome:
    from newroot.container.kept_settings import read_settings, read_source
    from newroot.container.mounts import find_sources
    from newroot.plan.waiting import while_waiting

    holds: tuple[int, ...] = ()
    try:
        claim.mark_visited()
        record = storage.record(claim.id)
        settings = read_settings(record.get("settings") or {})
        source = read_source(record.get("from") or {})
        sourced = find_sources(settings, source, volumes)
        holds = sourced.holds
        plan = view_plan(storage, claim, settings, source, list(sourced.mounts))
        uids, gids = _shifted_ids(storage, claim.id) if source.shifted else (IDENTITY, IDENTITY)

        def look(pid: int) -> Outcome:
            root = os.open(f"/proc/{pid}/root", _PATH)
            try:
                return use(Reached(root=root, uids=uids, gids=gids))
            finally:
                os.close(root)

        outcome: Outcome = while_waiting(launcher(), plan, look, held=(claim.fd, *holds))
        return outcome
    finally:
        for fd in holds:
            os.close(fd)
        claim.release(remove=False)


def _shifted_ids(
    storage: ContainerStorage, container_id: str
) -> tuple[tuple[IdMap, ...], tuple[IdMap, ...]]:
    """Whose its files are on the disk, where they are a copy with other owners: shifted.py."""
    linux = storage.config(container_id).get("linux") or {}
    uids = from_oci(linux.get("uidMappings"), pointer="/linux/uidMappings")
    return uids, from_oci(linux.get("gidMappings"), pointer="/linux/gidMappings")


def view_plan(
    storage: ContainerStorage,
    claim: Claim,
    settings: Settings,
    source: Source,
    mounts: list[dict[str, Any]],
) -> s.Plan:
    """The container's root and what of the host's is mounted in it, and then nothing."""
    from newroot.rootfs.mount_steps import mount_steps
    from newroot.rootfs.root import Root, assemble, enter

    if settings.upper == "memory" or source.throwaway:
        raise StateError(
            f"reach the files of container {claim.id[:12]}: what it wrote went with it",
            hint="it keeps that in memory: --upper memory, or --rootfs DIR:O",
        )
    upper = claim.make_upper() if source.lower else (None, None)
    root = Root(
        lower=source.shifted or source.lower,
        directory=source.directory,
        upper=upper[0],
        work=upper[1],
        scratch=storage.mount_point,
        overlay_options=("userxattr",) if is_in_user_namespace() else (),
        flags=("nodev",),
    )
    placed: list[s.Step] = []
    for index, mount in enumerate(sorted(mounts, key=_depth)):
        if mount["type"] not in ("tmpfs", "overlay"):  # those begin anew at each start
            placed += mount_steps(_plainly(mount), f"/mounts/{index}", "/", root.scratch)
    readonly = (s.SetAttr(target="/", flags=("ro",), why="it is so when it runs"),)
    return s.Plan(
        steps=(
            s.Unshare(namespaces=("mount",), why="nothing of this is mounted on the host"),
            *assemble(root),
            *placed,
            *(readonly if settings.readonly_root else ()),
            *enter(root, "pivot"),
            s.Wait(reason="its files are looked at from outside"),
        )
    )


def _depth(mount: dict[str, Any]) -> int:
    return str(mount["destination"]).count("/")


def _plainly(mount: dict[str, Any]) -> dict[str, Any]:
    """Without what matters only to one who stays: what is mounted later, and whose ids it shows."""
    from newroot.plan.mountflags import PROPAGATIONS

    words = {*PROPAGATIONS, *("r" + word for word in PROPAGATIONS), "idmap", "ridmap"}
    return {**mount, "options": [word for word in mount["options"] if word not in words]}


def explained(error: OSError, doing: str, path: str) -> SyscallError:
    """*error* of a file operation, with what was being done, and on what."""
    import errno

    number = error.errno or 0
    hints = {
        errno.EROFS: "the container has this place read-only",
        errno.ENOSPC: "the disk is full",
        errno.EBUSY: "something is mounted there: copy to what is mounted, on the host",
        errno.EXDEV: "something is mounted there: copy to what is mounted, on the host",
    }
    name = errno.errorcode.get(number, str(number))
    return SyscallError(
        f"{doing} {path}: {os.strerror(number)} ({name})",
        errno=number,
        call=doing,
        target=path,
        hint=hints.get(number),
    )
