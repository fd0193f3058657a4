"""A plan is divided where a user namespace begins: what the host's root does, and what is left.

In a user namespace nobody may map the ids of a host's mount, make device nodes, join a cgroup or
raise a limit, and the paths of the host may be closed to the ids that one has there.  So the mounts
whose sources are the host's are made outside, in a mount namespace of the host's root, and the
container is born in a copy of that: there all of them are locked, none can be taken away and no
``ro`` or ``nodev`` be taken off, whatever capabilities it has in its own namespaces
(mount_namespaces(7), Restrictions on mount namespaces).

    <scratch>/root          the root, put together outside; the container starts in it
    <scratch>/held/<n>      what will be bound into it: the n-th bind of the plan
"""

from __future__ import annotations

from newroot.plan import steps as s
from newroot.record import record, replace

_OUTSIDE = (s.HoldTree, s.WriteFile, s.MountOverlay)
_PARENT = (s.JoinCgroup, s.SetOomScore, s.SetRlimit)


@record
class Divided:
    """One plan in three parts.

    The part inside begins with a process that joins: first the mount namespace of the part
    outside, by the plan's own descriptor number ``fd``, then ``joined`` by the next one.
    """

    outside: s.Plan  #: for a process of the host's root, which then waits until its mounts are used
    parent: tuple[s.Step, ...]  #: done to the container's process by its parent, while it waits
    joined: str | None = None  #: the user namespace that the container's process is born in
    fd: int  #: how many of the plan's own descriptors come before ours
    inside: s.Plan  #: for the container's process, born in a copy of those mounts


def divide(plan: s.Plan, capabilities: int, fd: int = 0) -> Divided:
    """Divide *plan*, which makes a user namespace, or joins one.

    *capabilities* are all that the caller holds, as a mask.  What is made outside belongs to who is
    root inside.  *fd* is how many descriptors of its own the plan has already.
    """
    outside: list[s.Step] = [s.Unshare(namespaces=("mount",), why="the mounts are made first")]
    parent: list[s.Step] = []
    inside: list[s.Step] = []
    joined: str | None = None
    held = _Held(plan)
    is_born = False
    for step in plan.steps:
        if isinstance(step, s.MapIds):
            parent.append(step)
            inside.append(step)
        elif isinstance(step, s.SetNamespace) and step.namespace == "user":
            joined = step.path
        elif isinstance(step, (s.Unshare, s.Birth)) and not is_born:
            inside += _be_born(step, plan, joined, fd)
            is_born = True
        elif isinstance(step, _PARENT):
            parent.append(step)
        elif isinstance(step, s.UseRoot):
            inside += _use_root()
        elif isinstance(step, s.BindMount) and not step.on_host:
            out, into = held.divide(step)
            outside.append(out)
            inside.append(into)
        elif isinstance(step, s.MountFs) and step.on_host and step.type == "tmpfs":
            outside += _scratch(step, plan, capabilities)
        elif isinstance(step, s.RunHook):
            inside.append(step)  # in the container's namespaces, whoever's its path is
        elif isinstance(step, _OUTSIDE) or getattr(step, "on_host", False):
            outside.append(step)
            if isinstance(step, s.SetPropagation):
                inside.append(step)
        else:
            inside.append(step)
    outside.append(s.Wait(reason="its mounts are taken over"))
    return Divided(
        outside=s.Plan(steps=tuple(outside)),
        parent=tuple(parent),
        inside=s.Plan(steps=tuple(inside)),
        joined=joined,
        fd=fd,
    )


def _be_born(
    step: s.Unshare | s.Birth, plan: s.Plan, joined: str | None, fd: int
) -> tuple[s.Step, ...]:
    """Stand in the root that was put together outside, and be born in a copy of its mounts."""
    root = next(step.path for step in plan.steps if isinstance(step, s.UseRoot))
    go = (
        s.JoinProcess(namespaces=("mount",), fd=fd, why="to have a copy of them"),
        s.SetCwd(path=root, why="in the copy it will be no name, but where one is"),
    )
    born = s.Birth(namespaces=step.namespaces, why=step.why)
    if joined is None:
        return (*go, born)
    join = s.JoinProcess(namespaces=("user",), fd=fd + 1, why="asked for")
    who = s.MapIds(uids=(), gids=(), why="they are mapped; but who is it in here")
    return (*go, join, born, who)


def _owner(plan: s.Plan) -> tuple[int, int] | None:
    """Who root inside is on the host; None when that is not known, or there is no root inside."""
    for step in plan.steps:
        if isinstance(step, s.SetNamespace) and step.root is not None:
            return step.root
    maps = [step for step in plan.steps if isinstance(step, s.MapIds)]
    for found in maps:
        uids = [outside for inside, outside, _ in found.uids if inside == 0]
        gids = [outside for inside, outside, _ in found.gids if inside == 0]
        if uids and gids:
            return uids[0], gids[0]
    return None


def _scratch(step: s.MountFs, plan: s.Plan, capabilities: int) -> tuple[s.Step, ...]:
    """The scratch directory, and then an owner for all that will be made in it."""
    owner = _owner(plan)
    if owner is None:
        return (replace(step, options=(*step.options, "mode=0711")),)
    uid, gid = owner
    return (
        replace(step, options=(*step.options, f"uid={uid}", f"gid={gid}")),
        s.SetUser(
            uid=uid,
            gid=gid,
            umask=0,
            keep_groups=_keeps_groups(plan),
            why="what is made from here on is the container's",
        ),
        s.SetCapabilities(
            effective=capabilities, permitted=capabilities, why="it still acts for the host's root"
        ),
    )


def _keeps_groups(plan: s.Plan) -> bool:
    """Whether setgroups(2) is denied to the container, because it is to the caller."""
    return any(isinstance(step, s.SetUser) and step.keep_groups for step in plan.steps)


def _use_root() -> tuple[s.Step, ...]:
    why = "a mount that came from another user namespace is locked, and cannot be the new root"
    return (
        s.BindMount(source=".", target=".", on_host=True, why=why),
        s.UseRoot(path="../root", why="from here on, no name is looked up outside the new root"),
    )


class _Held:
    """Binds, made outside at places of their own, and bound from there inside."""

    def __init__(self, plan: s.Plan) -> None:
        self._root = next(step.path for step in plan.steps if isinstance(step, s.UseRoot))
        self._count = 0

    def divide(self, step: s.BindMount) -> tuple[s.Step, s.Step]:
        place = f"held/{self._count}"
        self._count += 1
        out = replace(
            step,
            target=f"{self._root.rpartition('/')[0]}/{place}",
            on_host=True,
            make_target=True,
            propagation=step.propagation or "rprivate",
            why="made out here, it is locked in there",
        )
        into = s.BindMount(
            source=f"../{place}",
            target=step.target,
            recursive=True,
            propagation=step.propagation,
            make_target=step.make_target,
            why=step.why,
        )
        return out, into
