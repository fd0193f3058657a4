"""``linux.namespaces`` of an OCI config becomes steps: runtime-spec, config-linux.md, Namespaces.

A namespace that is not in the list is the caller's own.  One with a path is joined, one without is
new.  Joining comes first: the owner of a new namespace is the user namespace that one is in.
"""

from __future__ import annotations

from newroot.errors import SpecError
from newroot.plan import steps as s

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


def born_in(found: dict[str, str | None]) -> tuple[s.Step, ...]:
    """The plan's first steps: the namespaces to join, and those to be born in.

    The cgroup namespace is made later, for its root is the cgroup that one is in by then.
    """
    joined = tuple(
        s.SetNamespace(namespace=_KERNEL_NAME.get(kind, kind), path=path, why="asked for")
        for kind, path in found.items()
        if path is not None
    )
    new = tuple(
        _KERNEL_NAME.get(kind, kind)
        for kind, path in found.items()
        if path is None and kind != "cgroup"
    )
    if not new:
        return joined
    return (s.Unshare(namespaces=new, why="alone with its own view of the system"), *joined)


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
