"""Each law of a plan's order: a plan that keeps them all, and one that breaks each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from newroot.errors import BugError
from newroot.plan import encode, order
from newroot.plan import steps as s

#: One of nearly every step, in a right order.
RIGHT: tuple[s.Step, ...] = (
    s.Unshare(namespaces=("user", "mount", "pid", "uts", "net")),
    s.MapIds(uids=((0, 1000, 1),), gids=((0, 1000, 1),)),
    s.NewSession(),
    s.JoinCgroup(procs="/c/cgroup.procs"),
    s.Unshare(namespaces=("cgroup",)),
    s.HoldTree(source="/shared", place=0),
    s.SetPropagation(target="/", propagation="rslave", on_host=True),
    s.MountFs(type="tmpfs", source="newroot", target="/s", on_host=True),
    s.MakeDir(target="/s/root", on_host=True),
    s.WriteFile(target="/s/hosts", data=b""),
    s.MountOverlay(lower=("/l",), upper="/u", work="/w", target="/s/root"),
    s.UseRoot(path="/s/root"),
    s.MountFs(type="proc", source="proc", target="/proc"),
    s.MountFs(type="tmpfs", source="tmpfs", target="/dev"),
    s.MountFs(type="devpts", source="devpts", target="/dev/pts"),
    s.BindMount(source="/shared", target="/mnt", place=0),
    s.MakeNode(target="/dev/null", kind="c", major=1, minor=3),
    s.MakeSymlink(target="/dev/fd", to="/proc/self/fd"),
    s.OpenTerminal(),
    s.Mask(target="/proc/sys/kernel"),
    s.MakeReadonly(target="/proc/sys"),
    s.SetHostname(hostname="h"),
    s.LinkUp(interface="lo"),
    s.SetSysctl(name="net.ipv4.ip_forward", value="1"),
    s.MakeDir(target="/work", make_target=True),
    s.SetAttr(target="/", flags=("ro",)),
    s.PivotRoot(root="/s/root"),
    s.DetachOldRoot(),
    s.SetOomScore(score=1),
    s.SetRlimit(resource=7, soft=1, hard=1),
    s.SetBounding(keep=0),
    s.SetUser(uid=1, gid=1),
    s.SetCapabilities(effective=0, permitted=0),
    s.DieWithParent(),
    s.SetNoNewPrivs(),
    s.SetCwd(path="/work"),
    s.AwaitStart(paths=("/a",)),
    s.LoadSeccomp(program=b""),
    s.SetCapabilities(effective=0, permitted=0, ambient=None),
    s.Reap(),
    s.Exec(paths=("/a",), argv=("a",)),
)


def _place(kind: type[s.Step], nth: int = 0) -> int:
    return [n for n, step in enumerate(RIGHT) if isinstance(step, kind)][nth]


def _moved(kind: type[s.Step], to: type[s.Step], *, after: bool = False, nth: int = 0) -> s.Plan:
    """RIGHT with one step directly before (or after) another."""
    at = _place(kind, nth)
    rest = [*RIGHT[:at], *RIGHT[at + 1 :]]
    target = next(n for n, step in enumerate(rest) if isinstance(step, to))
    rest.insert(target + after, RIGHT[at])
    return s.Plan(steps=tuple(rest))


def _without(kind: type[s.Step]) -> s.Plan:
    at = _place(kind)
    return s.Plan(steps=(*RIGHT[:at], *RIGHT[at + 1 :]))


def _with(step: s.Step, before: type[s.Step]) -> s.Plan:
    at = _place(before)
    return s.Plan(steps=(*RIGHT[:at], step, *RIGHT[at:]))


def _unshared(*namespaces: str) -> s.Plan:
    return s.Plan(steps=(s.Unshare(namespaces=namespaces), *RIGHT[2:]))


WRONG: dict[str, tuple[Callable[[], s.Plan], str]] = {
    "exec in the middle": (lambda: _moved(s.Exec, s.Reap), "ends with its only Exec"),
    "no exec": (lambda: _without(s.Exec), "ends with its only Exec"),
    "reaper too early": (lambda: _moved(s.Reap, s.SetUser), "directly before the command"),
    "session too late": (lambda: _moved(s.NewSession, s.UseRoot), "before anything is touched"),
    "ids mapped late": (lambda: _moved(s.MapIds, s.NewSession, after=True), "ids are mapped"),
    "cgroup joined late": (
        lambda: _moved(s.JoinCgroup, s.HoldTree),
        "a cgroup is joined before its namespace",
    ),
    "held too late": (lambda: _moved(s.HoldTree, s.UseRoot), "trees are held before"),
    "never held": (lambda: _without(s.HoldTree), "was held there"),
    "never cut off": (lambda: _without(s.SetPropagation), "cut off before the first mount"),
    "cut off late": (
        lambda: _moved(s.SetPropagation, s.MakeDir),
        "cut off before the first mount",
    ),
    "on the host": (lambda: _unshared("uts", "net"), "a mount namespace of its own"),
    "no root": (lambda: _without(s.UseRoot), "come after UseRoot"),
    "a root used twice": (lambda: _with(s.UseRoot(path="/x"), s.PivotRoot), "one root is used"),
    "two switches": (lambda: _with(s.Chroot(root="/x"), s.SetOomScore), "one switch made"),
    "a mount too late": (lambda: _moved(s.BindMount, s.SetOomScore), "before the root is entered"),
    "a mask too late": (lambda: _moved(s.Mask, s.SetUser), "before the root is entered"),
    "not detached": (lambda: _without(s.DetachOldRoot), "detached directly after"),
    "detached late": (lambda: _moved(s.DetachOldRoot, s.SetUser), "detached directly after"),
    "detached, not pivoted": (lambda: _without(s.PivotRoot), "detached directly after"),
    "mask in a sealed place": (
        lambda: _moved(s.Mask, s.MakeReadonly, after=True),
        "masks come before",
    ),
    "made after read-only": (
        lambda: _moved(s.MakeDir, s.SetAttr, after=True, nth=1),
        "before it becomes read-only",
    ),
    "a terminal without a session": (lambda: _without(s.NewSession), "before it gets a terminal"),
    "the host's name": (lambda: _unshared("mount", "net"), "uts namespace"),
    "the host's interface": (lambda: _unshared("mount", "uts"), "network namespace"),
    "limits as a user": (lambda: _moved(s.SetRlimit, s.SetCwd), "what needs privileges"),
    "bounding as a user": (
        lambda: _moved(s.SetBounding, s.SetUser, after=True),
        "what needs privileges",
    ),
    "capabilities before the user": (
        lambda: _moved(s.SetCapabilities, s.SetUser),
        "the user changes before",
    ),
    "bounding last": (lambda: _moved(s.SetBounding, s.SetCwd), "the bounding set is cut"),
    "death before the user": (lambda: _moved(s.DieWithParent, s.SetUser), "die with the parent"),
    "a filter as a user": (
        lambda: _moved(s.LoadSeccomp, s.DieWithParent),
        "a filter is loaded with",
    ),
    "a filter too early": (lambda: _moved(s.LoadSeccomp, s.SetUser), "after a filter come only"),
    "a pid namespace joined, and nobody born": (
        lambda: _with(s.SetNamespace(namespace="pid", path="/p"), s.Unshare),
        "is born there afterwards",
    ),
    "a process joined, and nobody born": (
        lambda: _with(s.JoinProcess(namespaces=("user", "mount"), pid=1), s.Unshare),
        "is born there afterwards",
    ),
    "joined without rights": (
        lambda: _with(s.SetNamespace(namespace="net", path="/n"), s.NewSession),
        "all is joined before a user namespace",
    ),
    "joined by a path of elsewhere": (
        lambda: s.Plan(
            steps=(
                s.SetNamespace(namespace="mount", path="/m"),
                s.SetNamespace(namespace="net", path="/n"),
                *RIGHT[2:],
            )
        ),
        "nothing is joined after the mount namespace",
    ),
    "clocks without a namespace": (
        lambda: _with(s.SetClocks(offsets=()), s.JoinCgroup),
        "clocks are shifted directly after",
    ),
    "a hook of the host's inside": (
        lambda: _with(s.RunHook(point="", path="/h", argv=(), on_host=True), s.SetUser),
        "a hook of the host's is run",
    ),
    "a hook of the container's outside": (
        lambda: _with(s.RunHook(point="", path="/h", argv=()), s.Mask),
        "a hook of the host's is run",
    ),
    "a directory of the host": (lambda: _moved(s.SetCwd, s.PivotRoot), "CVE-2024-21626"),
}


def _laws_broken_by(plan: s.Plan) -> str:
    return "\n".join(f"{breach.law.words} ({breach.law.why})" for breach in order.breaches(plan))


def test_the_right_order_breaks_no_law() -> None:
    order.check(s.Plan(steps=RIGHT))

    assert _laws_broken_by(s.Plan(steps=RIGHT)) == ""


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_order_breaks_the_law_that_it_should(name: str) -> None:
    make, words = WRONG[name]

    assert words in _laws_broken_by(make())


def test_every_law_is_broken_by_a_wrong_order() -> None:
    broken = {breach.law.words for make, _ in WRONG.values() for breach in order.breaches(make())}

    assert {law.words for law in order.LAWS} == broken


def test_a_filter_needs_the_capability_or_no_new_privileges() -> None:
    admin = s.SetCapabilities(effective=1 << 21, permitted=1 << 21)
    without = [step for step in RIGHT if not isinstance(step, s.SetNoNewPrivs)]
    lent = [admin if isinstance(x, s.SetCapabilities) and x.ambient == 0 else x for x in without]

    assert "a filter is loaded with" in _laws_broken_by(s.Plan(steps=tuple(without)))
    assert _laws_broken_by(s.Plan(steps=tuple(lent))) == ""


def test_the_error_names_the_step_the_law_and_the_plan() -> None:
    plan = _moved(s.DetachOldRoot, s.SetUser)
    with pytest.raises(BugError) as error:
        order.check(plan)

    message = str(error.value)
    assert message.startswith("step 27 of 41, pivot_root to /s/root, stands where it may not")
    assert "every step between can reach the host: pivot_root(2)" in message
    assert plan.explain() in message


def test_a_checked_encoding_refuses_what_breaks_a_law() -> None:
    assert encode.encode(s.Plan(steps=RIGHT), checked=True) == encode.encode(s.Plan(steps=RIGHT))
    with pytest.raises(BugError):
        encode.encode(_without(s.DetachOldRoot), checked=True)


def test_mounts_that_a_later_one_hides_are_found() -> None:
    pts = s.MountFs(type="devpts", source="devpts", target="/dev/pts")
    dev = s.BindMount(source="/dev", target="/dev")
    other = s.MountFs(type="tmpfs", source="tmpfs", target="/devices")

    assert order.hidden(s.Plan(steps=(pts, dev, other))) == (0,)
    assert order.hidden(s.Plan(steps=(dev, pts, other))) == ()
    assert order.hidden(s.Plan(steps=(pts, pts))) == (0,)


def test_a_mount_at_the_top_hides_all() -> None:
    proc = s.MountFs(type="proc", source="proc", target="/proc")
    top = s.BindMount(source="/x", target="/")

    assert order.hidden(s.Plan(steps=(proc, top))) == (0,)
