"""``linux.sysctl`` of a runtime config becomes steps, if the setting is the container's own.

A setting that belongs to no namespace, or to one that the container shares with the host, would be
the host's: runc refuses it, and so do we (libcontainer/configs/validate, sysctl).  A value is
written to one file as it is, so nothing in it can name a second one (CVE-2022-0811).
"""

from __future__ import annotations

import os

from newroot.errors import SpecError
from newroot.plan import steps as s
from newroot.plan.encode import sysctl_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

POINTER = "/linux/sysctl"

#: ipc/ipc_sysctl.c: what an ipc namespace has of its own.
IPC = frozenset(
    f"sys/kernel/{name}"
    for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
)
_DOMAIN = "sys/kernel/domainname"
_HOSTNAME = "sys/kernel/hostname"


def sysctl_steps(
    untrusted: dict[str, Any] | None, spaces: dict[str, str | None]
) -> tuple[s.Step, ...]:
    """The steps for a config's sysctls, where *spaces* are the container's namespaces.

    Raises SpecError for one that is not the container's own.
    """
    steps = []
    for name, value in (untrusted or {}).items():
        pointer = f"{POINTER}/{name.replace('~', '~0').replace('/', '~1')}"
        path = sysctl_path(name)
        if not all(part not in ("", ".", "..") for part in path.split("/")):
            raise SpecError("not the name of a setting", pointer=pointer)
        if not isinstance(value, str):
            raise SpecError("expected a string", pointer=pointer)
        _check_own(path, spaces, pointer)
        steps.append(s.SetSysctl(name=name, value=value, why="asked for"))
    return tuple(steps)


def _check_own(path: str, spaces: dict[str, str | None], pointer: str) -> None:
    if path == _HOSTNAME and "uts" in spaces:
        raise SpecError("this is what hostname is for", pointer=pointer)
    space = _owner(path)
    if space is None:
        raise SpecError("belongs to no namespace: it would be the host's", pointer=pointer)
    if space not in spaces:
        raise SpecError(f"the {space} namespace is the host's, and so is this", pointer=pointer)


def _owner(path: str) -> str | None:
    """The kind of namespace that a setting belongs to, None for the host's."""
    if path in IPC or path.startswith("sys/fs/mqueue/"):
        return "ipc"
    if path.startswith("sys/net/"):
        return "network"
    return "uts" if path == _DOMAIN else None


def check_sysctls(config: dict[str, Any]) -> None:
    """Raise SpecError for a sysctl of the network where the namespace joined is our own."""
    linux = config.get("linux") or {}
    names = [name for name in linux.get("sysctl") or () if sysctl_path(name).startswith("sys/net/")]
    paths = [n.get("path") for n in linux.get("namespaces") or () if n.get("type") == "network"]
    if not names or not paths or not paths[0]:
        return
    try:
        is_ours = os.path.samefile(paths[0], "/proc/self/ns/net")
    except OSError:
        return  # joining it will say more
    if is_ours:
        at = names[0].replace("~", "~0").replace("/", "~1")
        raise SpecError(
            "the network namespace is the host's, and so is this", pointer=f"{POINTER}/{at}"
        )
