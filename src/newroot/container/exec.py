"""Another command is run in a container of ours that runs: ``newroot exec``.

The container's own config says how its processes are confined; what is asked here changes only
the command and who runs it.  The rest is the OCI runtime's: oci_exec.py.
"""

from __future__ import annotations

import os

from newroot.container.config import DEFAULT_SECCOMP, FAKE_IDS
from newroot.container.oci_exec import ExecWishes, execute
from newroot.container.oci_state import OciContainer
from newroot.errors import StateError, UsageError, WrongStatus
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.process import Process
    from newroot.container.stdio import Stdio
    from newroot.container.storage import ContainerStorage
    from newroot.isolation.users import User
    from newroot.plan.launcher import Launcher


@record
class Asked:
    """What is to be run, and how it differs from the container's own command."""

    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()  #: on top of the container's
    cwd: str | None = None  #: absolute; None: the container's
    user: str | None = None  #: ``USER[:GROUP]``, to be looked up in the container as it is now
    terminal: bool = False
    privileged: bool = False  #: all capabilities, no seccomp filter
    terminal_size: tuple[int, int] = (0, 0)
    stays: bool = False  #: it goes on when we end


def exec_in(
    storage: ContainerStorage,
    container_id: str,
    asked: Asked,
    launcher: Launcher,
    stdio: Stdio,
) -> Process:
    """Start what is *asked* in the container.

    Raises WrongStatus when it does not run, UsageError for a user that is not in it.
    """
    try:
        if not asked.command:
            raise UsageError("no command given", hint="newroot exec CONTAINER COMMAND [ARG...]")
        container = _as_oci(storage, container_id)
        process = _process(container, asked)
        wishes = ExecWishes(
            terminal_size=asked.terminal_size,
            dies_with_parent=not asked.stays,
            fake_ids=FAKE_IDS in (container.config().get("annotations") or {}),
            seccomp=_filter(container, privileged=asked.privileged),
        )
    except BaseException:
        stdio.close()
        raise
    try:
        begun = execute(container, process, wishes, launcher, stdio)
    except BaseException:
        stdio.close_pipes()
        raise
    storage.note(container_id, "exec_start", execCommand=" ".join(asked.command))
    return begun


def _as_oci(storage: ContainerStorage, container_id: str) -> OciContainer:
    state = storage.state(container_id)
    pid = state.get("pid")
    if not storage.is_running(container_id) or not isinstance(pid, int):
        raise WrongStatus(
            f"exec in container {container_id[:12]}: it is not running",
            status="exited",
            wanted="running",
            hint=f"newroot start {container_id[:12]}",
        )
    return OciContainer(
        id=container_id,
        directory=storage.directory(container_id),
        oci_version="",
        bundle=storage.directory(container_id),
        rootfs="",
        pid=pid,
        start_ticks=int(state.get("startTicks") or 0),
        cgroups=_cgroups(state.get("cgroup")),
    )


def _cgroups(path: object) -> tuple[str, ...]:
    if not isinstance(path, str):
        return ()
    from newroot.isolation.cgroups.cgroup import Cgroup
    from newroot.isolation.cgroups.detect import detect

    return tuple(place.directory for place in Cgroup.find(path, host=detect()).places)


def _process(container: OciContainer, asked: Asked) -> dict[str, Any]:
    config = container.config()
    if "process" not in config:
        raise StateError(
            f"exec in container {container.id[:12]}: its config.json is not there",
            hint="one that keeps nothing on the disk has none",
        )
    process: dict[str, Any] = {**config["process"], "args": list(asked.command)}
    process["terminal"] = asked.terminal
    names = {name for name, _ in asked.env}
    kept = [word for word in process.get("env") or () if word.partition("=")[0] not in names]
    process["env"] = [*kept, *(f"{name}={value}" for name, value in asked.env)]
    if asked.cwd is not None:
        process["cwd"] = asked.cwd
    if asked.user is not None:
        found = _find_user(container.pid, asked.user)
        process["user"] = {
            **process["user"],
            "uid": found.uid,
            "gid": found.gid,
            "additionalGids": list(found.groups),
        }
    if asked.privileged:
        from newroot.linux.capabilities import held

        sets = ("bounding", "effective", "permitted")
        process["capabilities"] = {name: list(held()) for name in sets}
        process["noNewPrivileges"] = False
    return process


def _filter(container: OciContainer, *, privileged: bool) -> tuple[tuple[bytes, int] | None] | None:
    """The seccomp filter, as ``ExecWishes`` has it."""
    if privileged:
        return (None,)
    config = container.config()
    if (config.get("annotations") or {}).get(DEFAULT_SECCOMP) is None:
        return None
    from newroot.isolation.seccomp_default import compiled_default

    return (compiled_default(config["process"]["capabilities"]["bounding"]),)


def _find_user(pid: int, spec: str) -> User:
    """Names as the container's files have them now; nothing in them leads out of its root."""
    from newroot.isolation import users
    from newroot.linux.paths import read_in_root

    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return users.resolve(spec, lambda path: read_in_root(root, path))
    finally:
        os.close(root)
