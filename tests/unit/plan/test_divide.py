"""What is done outside of a user namespace, what by the parent, and what is left for inside."""

from __future__ import annotations

from newroot.plan import steps as s
from newroot.plan.divide import divide

_MAP = ((0, 1000, 10),)
_PLAN = s.Plan(
    steps=(
        s.Unshare(namespaces=("user", "mount", "pid")),
        s.MapIds(uids=_MAP, gids=_MAP),
        s.JoinCgroup(procs="/c/cgroup.procs"),
        s.SetPropagation(target="/", propagation="rslave", on_host=True),
        s.MountFs(type="tmpfs", source="n", target="/s", options=("mode=0700",), on_host=True),
        s.MakeDir(target="/s/root", on_host=True),
        s.BindMount(source="/r", target="/s/root", on_host=True),
        s.UseRoot(path="/s/root"),
        s.MountFs(type="proc", source="proc", target="/proc"),
        s.BindMount(source="/x", target="/d", flags=("ro",), make_target=True),
        s.SetRlimit(resource=7, soft=1, hard=2),
        s.Exec(paths=("/a",), argv=("a",)),
    )
)


def _kinds(steps: tuple[s.Step, ...]) -> list[str]:
    return [type(step).__name__ for step in steps]


def test_each_step_is_done_where_it_can_be() -> None:
    divided = divide(_PLAN, 5)

    assert _kinds(divided.outside.steps) == [
        *("Unshare", "SetPropagation", "MountFs", "SetUser", "SetCapabilities", "MakeDir"),
        *("BindMount", "BindMount", "Wait"),
    ]
    assert _kinds(divided.parent) == ["MapIds", "JoinCgroup", "SetRlimit"]
    assert _kinds(divided.inside.steps) == [
        *("JoinProcess", "SetCwd", "Birth", "MapIds", "SetPropagation", "BindMount", "UseRoot"),
        *("MountFs", "BindMount", "Exec"),
    ]
    assert divided.joined is None


def test_what_is_made_outside_belongs_to_root_inside() -> None:
    scratch, user = divide(_PLAN, 5).outside.steps[2:4]

    assert isinstance(scratch, s.MountFs)
    assert scratch.options == ("mode=0700", "uid=1000", "gid=1000")
    assert isinstance(user, s.SetUser)
    assert (user.uid, user.gid, user.umask) == (1000, 1000, 0)


def test_a_bind_is_made_read_only_outside_and_so_locked_inside() -> None:
    divided = divide(_PLAN, 5)
    out, into = divided.outside.steps[-2], divided.inside.steps[-2]

    assert isinstance(out, s.BindMount)
    assert isinstance(into, s.BindMount)
    assert (out.source, out.target, out.flags, out.on_host) == ("/x", "/s/held/0", ("ro",), True)
    assert (into.source, into.target, into.flags) == ("../held/0", "/d", ())
    assert (into.make_target, into.on_host) == (True, False)


def test_a_user_namespace_that_is_joined_is_the_one_to_be_born_in() -> None:
    join = s.SetNamespace(namespace="user", path="/proc/1/ns/user")
    born = s.Birth(namespaces=("mount",))
    divided = divide(s.Plan(steps=(join, born, *_PLAN.steps[3:])), 5, 2)

    assert divided.joined == "/proc/1/ns/user"
    assert "SetUser" not in _kinds(divided.outside.steps)
    assert _kinds(divided.inside.steps)[:5] == [
        *("JoinProcess", "SetCwd", "JoinProcess", "Birth", "MapIds"),
    ]
    assert [x.fd for x in divided.inside.steps if isinstance(x, s.JoinProcess)] == [2, 3]
    assert divided.inside.steps[4].explain() == "be root where ids are mapped already"
