"""A container goes on from its checkpoint: criu(8) makes its processes, we what is around them.

criu wants the root to be a mount of its own.  That is made in a mount namespace that our own
process enters for it, so nothing of it is ever mounted on the host; which is why ``restore()`` is
for a process that does nothing else: the command.
"""

from __future__ import annotations

import os

from newroot.container import criu as criu_
from newroot.container.oci_checkpoint import (
    DESCRIPTORS,
    EXTERNAL,
    common_options,
    external_mounts,
    is_file,
)
from newroot.container.oci_create import Making, write_pid
from newroot.errors import NewrootError, NotFound, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.bundle import Bundle
    from newroot.container.criu import Value
    from newroot.container.oci_checkpoint import CriuWishes
    from newroot.container.oci_create import Wishes

_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_SLAVE, _MNT_DETACH = 0x00020000, 4096, 16384, 1 << 19, 2


def restore(
    root: str,
    container_id: str,
    bundle: Bundle,
    program: str,
    wishes: CriuWishes,
    around: Wishes,
) -> int:
    """Restore a container from ``wishes.images``; return its first process, a child of ours.

    Our own mount namespace is another one afterwards.  When it fails nothing of it remains.
    """
    criu = criu_.Criu(program)
    criu.version()
    streams = _streams(wishes.images)
    making = Making(root, container_id, bundle, around)
    try:
        try:
            making.prepare(awaits_start=False)
            pid = _restore(criu, making, wishes, around, streams)
            write_pid(around.pid_file, pid)
            return pid
        except BaseException:
            making.undo()
            raise
    finally:
        making.close()


def _streams(images: str) -> list[str]:
    import json

    try:
        with open(f"{images}/{DESCRIPTORS}", encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        raise NotFound(
            f"no checkpoint at {images}: no {DESCRIPTORS}", hint="newroot-oci checkpoint makes one"
        ) from None
    except ValueError as error:
        raise NewrootError(f"read {images}/{DESCRIPTORS}: {error}") from None
    if not (isinstance(found, list) and all(isinstance(word, str) for word in found)):
        raise NewrootError(f"read {images}/{DESCRIPTORS}: not a list of names")
    return found


def _restore(
    criu: criu_.Criu, making: Making, wishes: CriuWishes, around: Wishes, streams: list[str]
) -> int:
    config, scratch = making.bundle.config, os.fsencode(making.container.scratch)
    _bind_privately(making.bundle.rootfs, making.container.scratch)
    fds = [os.open(wishes.images, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
    if wishes.work is not None:
        os.makedirs(wishes.work, mode=0o700, exist_ok=True)
        fds.append(os.open(wishes.work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    held: list[int] = []
    try:
        options: list[tuple[str, Value]] = [
            *common_options(config, wishes, fds, "restore.log"),
            ("evasive_devices", True),
            ("rst_sibling", True),  # what is restored is our child, not criu's
            ("root", making.container.scratch),
            *external_mounts(config),
            *_inherited(streams),
            *_others_namespaces(config, held),
        ]
        if wishes.lsm_profile is not None:
            options.append(("lsm_profile", wishes.lsm_profile))
        if wishes.lsm_mount_context is not None:
            options.append(("lsm_mount_context", wishes.lsm_mount_context))
        answer = criu.ask(
            criu_.RESTORE,
            options,
            on_notify=lambda *news: _hear(making, around, *news),
            prepare=lambda pid: _in_cgroup(making, pid),
            keep=held,
        )
    finally:
        _call("umount2", making.container.scratch, scratch, _MNT_DETACH)
        for fd in (*fds, *held):
            os.close(fd)
    if not criu_.is_yes(answer):
        what = f"restore {making.container.id}"
        raise criu_.failed(criu, what, answer, f"{wishes.logs}/restore.log")
    return criu_.restored_pid(answer)


def _bind_privately(source: str, target: str) -> None:
    """Bind *source* on *target* where nobody else sees it."""
    _call("unshare", target, _CLONE_NEWNS)
    _call("mount", target, b"none", b"/", None, _MS_REC | _MS_SLAVE, None)
    bind = _MS_BIND | _MS_REC
    _call("mount", target, os.fsencode(source), os.fsencode(target), None, bind, None)


def _call(name: str, target: str, *arguments: object) -> None:
    """A call of the C library, for Python has none of these (os.unshare: since 3.12)."""
    import ctypes

    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise SyscallError(
            f"{name}, to restore in {target}: {os.strerror(number)}",
            errno=number,
            call=name,
            target=target,
        )


def _inherited(streams: list[str]) -> list[tuple[str, Value]]:
    """Our own streams in the place of what was its caller's; a file of its own it opens itself."""
    return [
        ("inherit_fd", criu_.encode([(1, name), (2, number)]))
        for number, name in enumerate(streams[:3])
        if "pipe:" in name or is_file(name)
    ]


def _others_namespaces(config: dict[str, Any], held: list[int]) -> list[tuple[str, Value]]:
    """The namespaces that are joined; *held* gets the descriptors that criu has to have."""
    found: list[tuple[str, Value]] = []
    names = {"mount": "mnt", "uts": "uts", "ipc": "ipc", "user": "user"}
    for space in (config.get("linux") or {}).get("namespaces") or ():
        kind, path = space["type"], space.get("path")
        if not path:
            continue
        if kind in EXTERNAL:
            held.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            key = EXTERNAL[kind][1]
            found.append(("inherit_fd", criu_.encode([(1, key), (2, held[-1])])))
        elif kind in names:
            found.append(("join_ns", criu_.encode([(1, names[kind]), (2, path)])))
        else:
            raise NewrootError(
                f"restore in a {kind} namespace of another's: criu has no word for it"
            )
    return found


def _in_cgroup(making: Making, pid: int) -> list[tuple[str, Value]]:
    """Put criu, and so all that it makes, into the container's cgroup; tell it where that is."""
    if making.cgroup is None:
        return []
    for path in making.cgroup.procs_paths:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(pid))
    found: list[tuple[str, Value]] = []
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for name in controllers.split(","):
                found.append(("cg_root", criu_.encode([(1, name), (2, path)])))
    return found


def _hear(making: Making, around: Wishes, script: str, pid: int, fd: int | None) -> None:
    """What criu tells meanwhile: the container's terminal, that its namespaces or it are there."""
    if script == "orphan-pts-master" and fd is not None:
        from newroot.container.console import send_terminal

        send_terminal(fd, around.console_socket)
        return
    if fd is not None:
        os.close(fd)
    if script == "setup-namespaces" and making.bundle.config.get("hooks"):
        from newroot.container.hooks import RUNTIME_POINTS, run_hooks

        state = making.bundle.state(making.container.id)
        for point in RUNTIME_POINTS:
            run_hooks(making.bundle.config, point, state, pid)
    elif script == "post-restore":
        making.started(pid)
