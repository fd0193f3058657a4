"""The laws of a plan's order: what must stand before what, and where it is written.

The kernel would carry out most wrong orders without a word, and leave a container that is open
where it should be closed.  So the order is data: a table of laws, read by people, and by tests that
hold every plan against it.  A start does not: its plan was made by code that the tests held.
"""

from __future__ import annotations

from newroot.errors import BugError
from newroot.plan import encode
from newroot.plan import steps as s
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Kind = Callable[[s.Step], bool]
    Steps = tuple[s.Step, ...]


@record
class Law:
    """One law; *broken* finds the places (from 0) of the steps that break it."""

    words: str
    why: str  #: what happens otherwise, and where it is written
    broken: Callable[[Steps], Iterable[int]]


@record
class Breach:
    """A step that breaks a law."""

    law: Law
    index: int  #: of the step, from 0


def check(plan: s.Plan) -> None:
    """Raise BugError, with the law and the plan, when a law is broken."""
    for breach in breaches(plan):
        step = plan.steps[breach.index]
        raise BugError(
            f"step {breach.index + 1} of {len(plan.steps)}, {step.explain()}, stands where it may"
            f" not: {breach.law.words} ({breach.law.why})\n{plan.explain()}",
            hint="this should never happen: please file a bug with this text",
        )


def breaches(plan: s.Plan) -> Iterator[Breach]:
    """Every step that breaks a law."""
    for law in LAWS:
        for index in law.broken(plan.steps):
            yield Breach(law=law, index=index)


def hidden(plan: s.Plan) -> tuple[int, ...]:
    """The places of mounts that a later one hides, as when /dev is mounted after /dev/pts.

    Not a law: a config's mounts are made in its order, whatever they hide (config.md, Mounts).
    """
    places = [_mounted_at(step) for step in plan.steps]
    return tuple(
        index
        for index, place in enumerate(places)
        if place is not None and any(_is_above(later, place) for later in places[index + 1 :])
    )


# ---- kinds of steps ----


def _is(*types: type[s.Step]) -> Kind:
    return lambda step: isinstance(step, types)


def _makes_namespace(name: str) -> Kind:
    return lambda step: isinstance(step, (s.Unshare, s.Birth)) and name in step.namespaces


def _enters_namespace(name: str) -> Kind:
    makes = _makes_namespace(name)
    return lambda step: (
        makes(step)
        or (isinstance(step, s.SetNamespace) and step.namespace == name)
        or (isinstance(step, s.JoinProcess) and name in step.namespaces)
    )


_IN_ROOT_ALWAYS = _is(s.MakeNode, s.MakeSymlink, s.Mask, s.MakeReadonly, s.OpenTerminal)
_PLACED = _is(s.MountFs, s.BindMount, s.SetAttr, s.SetPropagation, s.MakeDir)


def _in_root(step: s.Step) -> bool:
    return _IN_ROOT_ALWAYS(step) or (_PLACED(step) and not getattr(step, "on_host", False))


def _writes_in_root(step: s.Step) -> bool:
    """Makes, or may make, something in the root's own file system."""
    makes = _is(s.MakeDir, s.MakeNode, s.MakeSymlink, s.MountFs, s.BindMount, s.OpenTerminal)
    return makes(step) and _in_root(step)


def _runs_hook(step: s.Step, *, on_host: bool) -> bool:
    return isinstance(step, s.RunHook) and step.on_host == on_host


def _goes_as_user(step: s.Step) -> bool:
    return isinstance(step, s.SetCwd) and not step.before_user


def _seals_root(step: s.Step) -> bool:
    """Not so what is mounted at / itself: that has its mounts below it made read-only."""
    return (
        isinstance(step, s.SetAttr)
        and not step.on_host
        and not step.recursive
        and step.target == "/"
        and "ro" in step.flags
    )


def _cuts_off(step: s.Step) -> bool:
    """Says how mounts travel between here and the host, for the whole namespace."""
    return isinstance(step, s.SetPropagation) and step.on_host and step.target == "/"


_MOUNTS = _is(s.MountFs, s.MountOverlay, s.BindMount, s.Mask, s.MakeReadonly)
_SWITCHES = _is(s.PivotRoot, s.MoveRoot, s.Chroot)


def _says_for_root(step: s.Step) -> bool:
    """Says how mounts in the root travel, which can be said when it is entered, and then only."""
    return isinstance(step, s.SetPropagation) and not step.on_host and step.target == "/"


_TOUCHES_FILES = _is(
    *(s.MountFs, s.MountOverlay, s.BindMount, s.SetAttr, s.SetPropagation, s.HoldTree),
    *(s.MakeDir, s.WriteFile, s.MakeNode, s.MakeSymlink, s.Mask, s.MakeReadonly, s.UseRoot),
    *(s.OpenTerminal, s.JoinCgroup),
)
_NEEDS_PRIVILEGE = _is(
    *(s.SetHostname, s.SetDomainname, s.LinkUp, s.SetSysctl, s.SetOomScore, s.SetRlimit),
    *(s.SetScheduler, s.SetIoPriority, s.SetMemoryPolicy, s.SetPersonality, s.SetLabel),
    *(s.PivotRoot, s.MoveRoot, s.Chroot, s.DetachOldRoot, s.SetBounding),
)
_BIRTH = _is(
    *(s.Unshare, s.SetNamespace, s.JoinProcess, s.Birth, s.MapIds, s.NewSession, s.JoinCgroup),
    *(s.SetClocks, s.SetAffinity),
)


_MAY_BE_FILTERED = _is(s.LoadSeccomp, s.SetCapabilities, s.Reap, s.Exec)


def _joins(*names: str) -> Kind:
    def kind(step: s.Step) -> bool:
        joined: tuple[str, ...] = ()
        if isinstance(step, s.JoinProcess):
            joined = step.namespaces
        elif isinstance(step, s.SetNamespace) and step.path != s.OWN_TIME:
            joined = (step.namespace,)
        return not set(names).isdisjoint(joined)

    return kind


# ---- kinds of laws ----


def _before(first: Kind, then: Kind) -> Callable[[Steps], Iterable[int]]:
    """Each *first* stands before every *then*."""

    def broken(steps: Steps) -> Iterator[int]:
        seen = False
        for index, step in enumerate(steps):
            if seen and first(step):
                yield index
            seen = seen or then(step)

    return broken


def _leads_to(first: Kind, then: Kind) -> Callable[[Steps], Iterable[int]]:
    """Each *first* has a *then* somewhere behind it."""

    def broken(steps: Steps) -> Iterator[int]:
        last = max((index for index, step in enumerate(steps) if then(step)), default=-1)
        yield from (index for index, step in enumerate(steps) if first(step) and index > last)

    return broken


def _only_after(then: Kind, first: Kind) -> Callable[[Steps], Iterable[int]]:
    """No *then* without a *first* before it."""

    def broken(steps: Steps) -> Iterator[int]:
        seen = False
        for index, step in enumerate(steps):
            if then(step) and not seen:
                yield index
            seen = seen or first(step)

    return broken


def _directly_before(first: Kind, then: Kind) -> Callable[[Steps], Iterable[int]]:
    """Each *first* has a *then* behind it."""

    def broken(steps: Steps) -> Iterator[int]:
        for index, step in enumerate(steps):
            if first(step) and not (index + 1 < len(steps) and then(steps[index + 1])):
                yield index

    return broken


def _directly_after(then: Kind, first: Kind) -> Callable[[Steps], Iterable[int]]:
    """Each *then* has a *first* in front of it."""

    def broken(steps: Steps) -> Iterator[int]:
        for index, step in enumerate(steps):
            if then(step) and not (index and first(steps[index - 1])):
                yield index

    return broken


def _once(kind: Kind) -> Callable[[Steps], Iterable[int]]:
    return lambda steps: [i for i, step in enumerate(steps) if kind(step)][1:]


def _ends_with(kind: Kind) -> Callable[[Steps], Iterable[int]]:
    def broken(steps: Steps) -> Iterator[int]:
        last = len(steps) - 1
        yield from (i for i, step in enumerate(steps) if kind(step) != (i == last))

    return broken


_CAP_SYS_ADMIN = 1 << 21


def _seccomp_may_be_loaded(steps: Steps) -> Iterator[int]:
    may, free = True, False
    for index, step in enumerate(steps):
        if isinstance(step, s.SetUser):
            may = False  # what is effective is gone with uid 0: capabilities(7)
        elif isinstance(step, s.SetCapabilities):
            may = bool(step.effective & _CAP_SYS_ADMIN)
        elif isinstance(step, s.SetNoNewPrivs):
            free = True
        elif isinstance(step, s.LoadSeccomp) and not (may or free):
            yield index


def _masks_are_inside(steps: Steps) -> Iterator[int]:
    sealed: list[str] = []
    for index, step in enumerate(steps):
        if isinstance(step, s.MakeReadonly):
            sealed.append(step.target)
        elif isinstance(step, s.Mask) and any(_is_above(place, step.target) for place in sealed):
            yield index


def _held_trees_are_held(steps: Steps) -> Iterator[int]:
    held: set[int] = set()
    for index, step in enumerate(steps):
        if isinstance(step, s.HoldTree):
            held.add(step.place)
        elif isinstance(step, s.BindMount) and step.place is not None and step.place not in held:
            yield index


def _mounted_at(step: s.Step) -> str | None:
    if isinstance(step, (s.MountFs, s.BindMount)) and not step.on_host:
        return step.target
    return None


def _is_above(place: str | None, other: str) -> bool:
    """Whether *place* is a directory above *other*, or the same."""
    return place is not None and (other + "/").startswith(place.rstrip("/") + "/")


LAWS: tuple[Law, ...] = (
    Law(
        words="a plan ends with its only Exec",
        why="nothing of ours runs after execve(2)",
        broken=_ends_with(_is(s.Exec)),
    ),
    Law(
        words="the reaper stands directly before the command",
        why="each step between would be done in pid 1's child and not in pid 1",
        broken=_directly_before(_is(s.Reap), _is(s.Exec)),
    ),
    Law(
        words="namespaces, ids, the session and the cgroup come before anything is touched",
        why="what is done earlier is done to the host",
        broken=_before(_BIRTH, lambda step: not _BIRTH(step)),
    ),
    Law(
        words="whoever joins a pid or a user namespace is born there afterwards",
        why="the pid namespace that one joins is one's children's: setns(2)",
        broken=_leads_to(_joins("pid", "user"), _is(s.Birth)),
    ),
    Law(
        words="all is joined before a user namespace is made",
        why="in a new one there are no rights to what others own: user_namespaces(7)",
        broken=_before(_joins(*encode.NAMESPACES), _makes_namespace("user")),
    ),
    Law(
        words="nothing is joined after the mount namespace",
        why="the paths of the others lead elsewhere from there",
        broken=_before(_joins(*encode.NAMESPACES), _joins("mount")),
    ),
    Law(
        words="ids are mapped directly after the user namespace was made",
        why="an unmapped id owns nothing: user_namespaces(7)",
        broken=_directly_after(_is(s.MapIds), _makes_namespace("user")),
    ),
    Law(
        words="a cgroup is joined before its namespace is made",
        why="a cgroup namespace's root is the cgroup of the moment: cgroup_namespaces(7)",
        broken=_before(_is(s.JoinCgroup), _makes_namespace("cgroup")),
    ),
    Law(
        words="trees are held before the namespace is cut off",
        why="a clone of a slave is a slave: mount_namespaces(7)",
        broken=_before(_is(s.HoldTree), _cuts_off),
    ),
    Law(
        words="what is bound from a place was held there",
        why="an empty place binds nothing",
        broken=_held_trees_are_held,
    ),
    Law(
        words="the namespace is cut off before the first mount",
        why="a mount below a shared one appears on the host: mount_namespaces(7)",
        broken=_only_after(_MOUNTS, _cuts_off),
    ),
    Law(
        words="mounts are made in a mount namespace of its own",
        why="they would be the host's",
        broken=_only_after(_TOUCHES_FILES, _enters_namespace("mount")),
    ),
    Law(
        words="targets in the root come after UseRoot",
        why="they would be looked up nowhere",
        broken=_only_after(_in_root, _is(s.UseRoot)),
    ),
    Law(
        words="one root is used and one switch made",
        why="a second would be looked up in the first",
        broken=lambda steps: [*_once(_is(s.UseRoot))(steps), *_once(_SWITCHES)(steps)],
    ),
    Law(
        words="the root is used before it is entered",
        why="there would be none to enter",
        broken=_only_after(_SWITCHES, _is(s.UseRoot)),
    ),
    Law(
        words="all that has a path is done before the root is entered",
        why="the sources are out of reach afterwards, and what is in reach is the image's",
        broken=_before(lambda step: _TOUCHES_FILES(step) and not _says_for_root(step), _SWITCHES),
    ),
    Law(
        words="the old root is detached directly after the pivot",
        why="every step between can reach the host: pivot_root(2)",
        broken=lambda steps: [
            *_directly_before(_is(s.PivotRoot), _is(s.DetachOldRoot))(steps),
            *_directly_after(_is(s.DetachOldRoot), _is(s.PivotRoot))(steps),
        ],
    ),
    Law(
        words="masks come before the read-only place that they are in",
        why="it is bound on itself with all below it, and a mask put there later lies on top",
        broken=_masks_are_inside,
    ),
    Law(
        words="all is made in the root before it becomes read-only",
        why="nothing can be made in it any more (EROFS)",
        broken=_before(_writes_in_root, _seals_root),
    ),
    Law(
        words="the session is its own before it gets a terminal",
        why="only a session's leader can: ioctl_tty(2), TIOCSCTTY",
        broken=_only_after(_is(s.OpenTerminal), _is(s.NewSession)),
    ),
    Law(
        words="the hostname is set in a uts namespace of its own",
        why="it would be the host's",
        broken=_only_after(_is(s.SetHostname, s.SetDomainname), _enters_namespace("uts")),
    ),
    Law(
        words="an interface is brought up in a network namespace of its own",
        why="it would be the host's",
        broken=_only_after(_is(s.LinkUp, s.MoveInterfaces), _enters_namespace("net")),
    ),
    Law(
        words="clocks are shifted directly after the time namespace was made",
        why="nobody may be in it by then: time_namespaces(7)",
        broken=_directly_after(_is(s.SetClocks), _makes_namespace("time")),
    ),
    Law(
        words="a hook of the host's is run before the root is entered, the container's after",
        why="the program would be looked for in the wrong root: config.md, Hooks",
        broken=lambda steps: [
            *_before(lambda step: _runs_hook(step, on_host=True), _SWITCHES)(steps),
            *_only_after(lambda step: _runs_hook(step, on_host=False), _SWITCHES)(steps),
        ],
    ),
    Law(
        words="what needs privileges comes before the user changes",
        why="afterwards they are gone: capabilities(7)",
        broken=_before(_NEEDS_PRIVILEGE, _is(s.SetUser)),
    ),
    Law(
        words="the user changes before the capabilities are set",
        why="a change from root to another takes them away: capabilities(7)",
        broken=_before(_is(s.SetUser), _is(s.SetCapabilities)),
    ),
    Law(
        words="the bounding set is cut before the capabilities are set",
        why="that takes CAP_SETPCAP: capabilities(7)",
        broken=_before(_is(s.SetBounding), _is(s.SetCapabilities)),
    ),
    Law(
        words="the wish to die with the parent comes after the user has changed",
        why="the kernel forgets it then: prctl(2), PR_SET_PDEATHSIG",
        broken=_before(_is(s.SetUser), _is(s.DieWithParent)),
    ),
    Law(
        words="a filter is loaded with CAP_SYS_ADMIN, or after no_new_privs",
        why="it takes one of them: seccomp(2)",
        broken=_seccomp_may_be_loaded,
    ),
    Law(
        words="after a filter come only the capabilities and the command",
        why="what else is done it would have to allow",
        broken=_before(lambda step: not _MAY_BE_FILTERED(step), _is(s.LoadSeccomp)),
    ),
    Law(
        words="the working directory is entered after the root, and as the user",
        why="one from before leads out of the root: CVE-2024-21626",
        broken=lambda steps: [
            *_before(_SWITCHES, _is(s.SetCwd))(steps),
            *_before(_is(s.SetUser), _goes_as_user)(steps),
        ],
    ),
)
