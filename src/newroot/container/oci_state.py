"""What is known of an OCI container between two calls of ``newroot-oci``: a directory of its own.

    <root>/<id>/              locked (flock(2)) by whoever changes it: create, start, delete, …
    <root>/<id>/state.json    what was made, and its first process: STATE_KEYS
    <root>/<id>/config.json   the bundle's config as it was when the container was created, but
                              for linux.resources: those that hold now (oci_update.py)
    <root>/<id>/start         the socket that a created container waits at; ``start`` removes it
    <root>/<id>/mnt/          an empty directory, hidden by the container's scratch tmpfs

The status is never written down: it follows from the first process and that socket.  So a
container whose process died, by whatever death, is ``stopped`` without anybody having noticed.
An entry without a ``pid`` that nobody holds is what a killed ``create`` left; see oci_create.py.
"""

from __future__ import annotations

import fcntl
import os

from newroot.errors import NotFound
from newroot.linux.processes import process_status
from newroot.oci import json
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from newroot.isolation.cgroups.cgroup import Cgroup

#: While it waits for ``start`` the first process is still ours, and is called this: prctl(2).
INIT_NAME = "newroot-init"

CREATING, CREATED, RUNNING, PAUSED, STOPPED = (
    *("creating", "created", "running", "paused", "stopped"),
)


@record
class OciContainer:
    """One container as its ``state.json`` tells of it."""

    id: str
    directory: str  #: ``<root>/<id>``
    oci_version: str
    bundle: str
    rootfs: str
    pid: int = 0  #: of the first process, as the host counts; 0 while it is being created
    start_ticks: int = 0  #: when that process began: linux/processes.py
    created_ns: int = 0  #: since 1970, UTC
    annotations: dict[str, str] = {}  # noqa: RUF012  # nobody changes it
    owner: str = ""  #: the user who created it
    cgroup_manager: str = "cgroupfs"  #: cgroupfs, systemd or disabled
    cgroup_path: str | None = None  #: as the config has it, or as it was chosen; None: no cgroup
    cgroup_user: bool = False  #: whether it was the user's systemd that made it
    cgroups: tuple[str, ...] = ()  #: its directory in each hierarchy
    no_pivot: bool = False  #: its root was moved: --no-pivot
    new_keyring: bool = True  #: it has a session keyring of its own

    @property
    def socket(self) -> str:
        return f"{self.directory}/start"

    @property
    def scratch(self) -> str:
        return f"{self.directory}/mnt"

    def status(self) -> str:
        """creating, created, running, paused or stopped: as of now."""
        if not self.pid:
            return CREATING if is_held(self.directory) else STOPPED
        found = process_status(self.pid)
        if found is None or found.start_ticks != self.start_ticks or found.state in "ZX":
            return STOPPED
        if self.is_paused():
            return PAUSED
        # ``start`` removes the socket last of all, and may be killed before.
        waits = found.name == INIT_NAME and os.path.lexists(self.socket)
        return CREATED if waits else RUNNING

    def is_paused(self) -> bool:
        """Whether its cgroup is frozen, by us or by somebody else."""
        return any(map(_is_frozen, self.cgroups))

    def config(self) -> dict[str, Any]:
        """The config that the container was created with."""
        config: dict[str, Any] = _read(f"{self.directory}/config.json")
        return config

    def cgroup(self) -> Cgroup:
        """Its cgroup: no places when it has none."""
        from newroot.container.oci_cgroup import find_cgroup
        from newroot.isolation.cgroups.detect import detect

        return find_cgroup(
            self.cgroups, detect(), manager=self.cgroup_manager, user=self.cgroup_user
        )


def load(root: str, untrusted_id: str) -> OciContainer:
    """The container *untrusted_id* below *root*.

    Raises NotFound, in runc's words, which podman and containerd look for; UsageError for an id
    that is none.
    """
    from newroot.container.names import check_container_id

    directory = f"{root}/{check_container_id(untrusted_id)}"
    if not os.path.isdir(directory):
        raise NotFound("container does not exist")
    return _from_state(directory, _read_or_empty(f"{directory}/state.json"))


def load_all(root: str) -> Iterator[OciContainer]:
    """Every container below *root*, in the order of their ids."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return
    for name in names:
        try:
            yield load(root, name)
        except (NotFound, ValueError):  # gone meanwhile; or no container's directory
            continue


def state_document(container: OciContainer, status: str | None = None) -> dict[str, Any]:
    """The state as runtime.md and runc have it, for ``state``, ``list`` and the hooks."""
    status = status or container.status()
    document: dict[str, Any] = {
        "ociVersion": container.oci_version,
        "id": container.id,
        "pid": container.pid if status != STOPPED else 0,
        "status": status,
        "bundle": container.bundle,
        "rootfs": container.rootfs,
        "created": timestamp(container.created_ns),
    }
    if container.annotations:
        document["annotations"] = container.annotations
    document["owner"] = container.owner
    return document


def timestamp(ns: int) -> str:
    """``2026-11-22T04:50:26.62302213Z``: RFC 3339 as Go writes it."""
    from time import gmtime, strftime

    seconds, rest = divmod(ns, 1_000_000_000)
    fraction = f".{rest:09}".rstrip("0").rstrip(".")
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds)) + f"{fraction}Z"


def save(container: OciContainer) -> None:
    """Write ``state.json``: whole, or not at all."""
    values = {
        "ociVersion": container.oci_version,
        "id": container.id,
        "bundle": container.bundle,
        "rootfs": container.rootfs,
        "pid": container.pid,
        "startTicks": container.start_ticks,
        "created": container.created_ns,
        "annotations": container.annotations,
        "owner": container.owner,
        "cgroupManager": container.cgroup_manager,
        "cgroupPath": container.cgroup_path,
        "cgroupUser": container.cgroup_user,
        "cgroups": list(container.cgroups),
        "noPivot": container.no_pivot,
        "newKeyring": container.new_keyring,
    }
    path = f"{container.directory}/state.json"
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(json.dumps(values))
    os.rename(f"{path}.new", path)


def _from_state(directory: str, values: dict[str, Any]) -> OciContainer:
    return OciContainer(
        id=os.path.basename(directory),
        directory=directory,
        oci_version=values.get("ociVersion", ""),
        bundle=values.get("bundle", ""),
        rootfs=values.get("rootfs", ""),
        pid=values.get("pid", 0),
        start_ticks=values.get("startTicks", 0),
        created_ns=values.get("created", 0),
        annotations=values.get("annotations", {}),
        owner=values.get("owner", ""),
        cgroup_manager=values.get("cgroupManager", "cgroupfs"),
        cgroup_path=values.get("cgroupPath"),
        cgroup_user=values.get("cgroupUser", False),
        cgroups=tuple(values.get("cgroups", ())),
        no_pivot=values.get("noPivot", False),
        new_keyring=values.get("newKeyring", True),
    )


def is_held(directory: str) -> bool:
    """Whether somebody who lives has the container's directory locked."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _is_frozen(cgroup: str) -> bool:
    """Whether a cgroup directory of either version is frozen: freezer.state, cgroup.events."""
    for name, word in (("cgroup.events", "frozen 1"), ("freezer.state", "FROZEN")):
        try:
            with open(f"{cgroup}/{name}", encoding="ascii") as file:
                return word in file.read().splitlines()
        except OSError:
            continue
    return False


def _read(path: str) -> Any:
    with open(path, "rb", buffering=0) as file:
        return json.loads(file.read(), what=path)


def _read_or_empty(path: str) -> dict[str, Any]:
    try:
        value = _read(path)
    except (FileNotFoundError, ValueError):  # half-made; or damaged: it can still be deleted
        return {}
    return value if isinstance(value, dict) else {}
