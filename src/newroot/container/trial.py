"""``newroot try``: a command on a throw-away overlay of the host's own root.

It is a container like others, whose layer is ``/`` and whose namespaces are the host's but for its
mounts; in a store of its own, for the kernel takes no upper that is inside its lower.  What is
mounted on the host below ``/`` is there: /proc, /sys, /dev and /run as they are, all else
read-only.
"""

from __future__ import annotations

import os

from newroot.container.settings import Mount
from newroot.container.source import Source
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from newroot.container.settings import Settings

LABEL = "newroot.try"
COARSE_NS = 20_000_000  #: by as much the times of files may be behind the clock
#: What a command needs as it is: kernel file systems, and where services are reached.
_AS_IT_IS = ("/proc", "/sys", "/dev", "/run")
#: File systems in memory that a host has.
_SCRATCH = ("/run", "/dev/shm", "/tmp")


def default_scratch(environ: Mapping[str, str], uid: int) -> str:
    """Where a try keeps what it writes: NEWROOT_TRY_ROOT, or a place that is not on the root's
    file system.  Raises UsageError when there is none."""
    if chosen := environ.get("NEWROOT_TRY_ROOT"):
        return check_scratch(os.path.abspath(chosen))
    for place in _SCRATCH:
        if os.path.isdir(place) and os.access(place, os.W_OK) and is_apart(place):
            return f"{place}/newroot-try-{uid}"
    raise UsageError(
        "try: every place for what it writes is on the root's own file system",
        hint="--scratch DIR, with a directory on another one: a tmpfs will do",
    )


def check_scratch(path: str) -> str:
    """Return *path* unless it is on the root's file system: no upper may be inside its lower."""
    there = path
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    if is_apart(there):
        return path
    raise UsageError(
        f"--scratch {path}: it is on the root's own file system",
        hint="a directory on another one: a tmpfs will do",
    )


def is_apart(path: str) -> bool:
    return os.stat(path).st_dev != os.stat("/").st_dev


def host_source() -> Source:
    """The host's root, as a layer."""
    return Source(lower=("/",), name="/", key="try", own_etc=True)


def settings_for(
    command: tuple[str, ...], environ: Mapping[str, str], cwd: str, *, token: str, terminal: bool
) -> Settings:
    """The command as it would run without us, but for its root."""
    from newroot.container.settings import Settings

    return Settings(
        command=command,
        env=tuple(environ.items()),
        cwd=cwd,
        user=f"{os.geteuid()}:{os.getegid()}",
        terminal=terminal,
        interactive=True,
        labels=((LABEL, token),),
        mounts=tuple(_mounts()),
        network="host",
        pid="host",
        ipc="host",
        uts="host",
        cgroupns="host",
        privileged=True,
    )


def _mounts() -> list[Mount]:
    """Everything that is mounted below the root, the outermost of each tree."""
    from newroot.linux.mountinfo import read_mounts

    found = {mount.mount_point for mount in read_mounts()} - {"/"}
    outer: list[str] = []
    for target in sorted({*found, *filter(os.path.isdir, _AS_IT_IS)}):
        if not any(target.startswith(f"{above}/") for above in outer) and os.path.lexists(target):
            outer.append(target)
    return [
        Mount(
            type="bind",
            source=target,
            target=target,
            readonly=target not in _AS_IT_IS,
            recursive_readonly=target not in _AS_IT_IS,
            propagation="rslave",
        )
        for target in outer
    ]
