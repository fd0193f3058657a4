"""``linux.namespaces`` of an OCI config becomes steps: runtime-spec, config-linux.md, Namespaces.

A namespace that is not in the list is the caller's own.  One with a path is joined, one without is
new.  Where ids or process ids change, all is joined first, by a process that still has the
caller's rights, and the container is born of it: a new user namespace has no rights to what is
joined, and whoever joins a pid namespace stays outside; see steps.Birth.
"""

from __future__ import annotations

import fcntl
import os

from newroot.errors import SpecError
from newroot.linux.constants import NS_GET_NSTYPE
from newroot.plan import steps as s
from newroot.plan.encode import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: OCI's names for what the kernel calls otherwise.
_KERNEL_NAME = {"network": "net"}
NAMES = ("user", "mount", "pid", "uts", "ipc", "network", "cgroup", "time")


def kinds(namespaces: list[dict[str, str]]) -> dict[str, str | None]:
    """Each kind of namespace that is listed, with its path if it has one.

    Raises SpecError for an unknown kind, one listed twice, and a relative path.
    """
    found: dict[str, str | None] = {}
    for index, namespace in enumerate(namespaces):
        pointer = f"/linux/namespaces/{index}"
        kind, path = namespace.get("type"), namespace.get("path") or None
        if kind not in NAMES:
            raise SpecError(f"unknown namespace {kind!r}", pointer=f"{pointer}/type")
        if kind in found:
            raise SpecError(f"the namespace {kind} is listed twice", pointer=pointer)
        if path is not None and not path.startswith("/"):
            raise SpecError(f"not an absolute path: {path!r}", pointer=f"{pointer}/path")
        found[kind] = path
    return found


def kernel_name(kind: str) -> str:
    """What the kernel calls a *kind* of namespace."""
    return _KERNEL_NAME.get(kind, kind)


def check_paths(namespaces: list[dict[str, str]]) -> None:
    """Raise SpecError for a path that leads to no namespace, or to one of another kind.

    The kernel would say EINVAL, and not of which.
    """
    for index, namespace in enumerate(namespaces):
        kind, path = namespace.get("type", ""), namespace.get("path")
        if not path:
            continue
        pointer = f"/linux/namespaces/{index}/path"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise SpecError(f"open {path}: {error.strerror}", pointer=pointer) from error
        try:
            found = fcntl.ioctl(fd, NS_GET_NSTYPE)
        except OSError:
            raise SpecError(f"{path} is no {kind} namespace", pointer=pointer) from None
        finally:
            os.close(fd)
        if found != NAMESPACES[_KERNEL_NAME.get(kind, kind)]:
            raise SpecError(f"{path} is no {kind} namespace", pointer=pointer)


def born_in(found: dict[str, str | None], *, privileged: bool = True) -> tuple[s.Step, ...]:
    """The plan's first steps: the namespaces to join, and those to be born in.

    The cgroup namespace is made later, for its root is the cgroup that one is in by then; the time
    namespace too, for whoever is born in one can no longer say what its clocks show.  *privileged*
    is who may join without the rights that the user namespace to be joined gives.
    """
    joined = _joined(found, privileged)
    new = tuple(
        kernel_name(kind)
        for kind, path in found.items()
        if path is None and kind not in ("cgroup", "time")
    )
    why = "alone with its own view of the system"
    if found.get("pid") or (joined and "user" in found):
        return (*joined, s.Birth(namespaces=new, why=why if new else "its process id is one there"))
    # To be born there at once costs nothing.
    return (*((s.Unshare(namespaces=new, why=why),) if new else ()), *joined)


def _joined(found: dict[str, str | None], privileged: bool) -> tuple[s.Step, ...]:
    """The mount namespace last: from there the paths of the others lead elsewhere."""
    others = [kind for kind in found if kind not in ("user", "mount")]
    order = (*others, "user", "mount") if privileged else ("user", *others, "mount")
    return tuple(
        s.SetNamespace(namespace=kernel_name(kind), path=path, why="asked for")
        for kind in order
        if (path := found.get(kind)) is not None
    )


def time_steps(found: dict[str, str | None], offsets: dict[str, Any] | None) -> tuple[s.Step, ...]:
    """Make a time namespace, set its clocks, enter it: time_namespaces(7).

    Raises SpecError for *offsets* (``linux.timeOffsets``) that are none, or without a namespace.
    """
    shifts = tuple(_offset(clock, value) for clock, value in (offsets or {}).items())
    if "time" not in found or found["time"] is not None:
        if shifts:
            raise SpecError("there is no new time namespace", pointer="/linux/timeOffsets")
        return ()
    why = "its clocks may show another time than the host's"
    return (
        s.Unshare(namespaces=("time",), why=why),
        *((s.SetClocks(offsets=shifts, why="asked for"),) if shifts else ()),
        # By itself one would be in it only after an exec, and only since Linux 6.2.
        s.SetNamespace(namespace="time", path=s.OWN_TIME, why="nobody enters it by unshare(2)"),
    )


def _offset(clock: str, untrusted: dict[str, Any] | None) -> tuple[str, int, int]:
    pointer = f"/linux/timeOffsets/{clock}"
    if clock not in ("monotonic", "boottime"):
        raise SpecError(
            "this clock cannot be shifted", pointer=pointer, hint="monotonic and boottime can"
        )
    seconds, ns = (untrusted or {}).get("secs") or 0, (untrusted or {}).get("nanosecs") or 0
    if not 0 <= ns < 1_000_000_000:
        raise SpecError("not between 0 and 999999999", pointer=f"{pointer}/nanosecs")
    return clock, seconds, ns


def cgroup_steps(found: dict[str, str | None], procs: tuple[str, ...]) -> tuple[s.Step, ...]:
    """Join the container's cgroup, then make it the root of a new cgroup namespace."""
    joins = tuple(
        s.JoinCgroup(procs=path, why="its limits hold from here on, for it and its children")
        for path in procs
    )
    if "cgroup" not in found or found["cgroup"] is not None:
        return joins
    why = "the cgroup that it is in is the only one that it sees"
    return (*joins, s.Unshare(namespaces=("cgroup",), why=why))
