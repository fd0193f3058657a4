"""The script of a plan and newroot-init do the same: the same view from inside, case by case."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from newroot.container.python_words import settings_of
from newroot.container.source import Source, directory_source
from newroot.engine import Engine
from newroot.errors import StepError
from newroot.isolation.cgroups.cgroup import Cgroup
from newroot.plan import steps as s
from newroot.record import replace
from newroot.rootfs.cgroup_mount import CgroupView, cgroup_mount_steps
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "util-linux", "busybox"), pytest.mark.timeout(60)]


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


views = _load("plan_views")

ODD_NAMES = ["a b", "c:d", "e,f", "g\nh", "i'j\"k", "l\\m", "ro,suid", "ümläut", "back`tick$x"]


class Case:
    """Where one case's directories are, and the engine that makes its plan."""

    def __init__(self, top: Path, root: Path) -> None:
        self.top, self.root = top, root
        self.engine = Engine(top / "state")
        self.engine.storage.prepare()
        self.upper: tuple[str, ...] = ()

    def plan(self, source: Source | None = None, **words: Any) -> s.Plan:
        starter: Any = self.engine._starter
        settings = replace(settings_of(words), command=views.COMMAND)
        plan: s.Plan = starter.explain(settings, source or directory_source(f"{self.root}:O"))
        found = (_possible(step) for step in plan.steps)
        steps = tuple(step for step in found if step is not None)
        self.upper = tuple(path for step in steps for path in _upper_on_disk(step, steps))
        self.renew_upper()
        return s.Plan(steps=steps)

    def renew_upper(self) -> None:
        """As newroot makes them for each start."""
        for path in self.upper:
            shutil.rmtree(path, ignore_errors=True)
            os.makedirs(path)


def _upper_on_disk(step: s.Step, steps: tuple[s.Step, ...]) -> tuple[str, ...]:
    made = {other.target for other in steps if isinstance(other, s.MakeDir)}
    if not isinstance(step, s.MountOverlay) or step.upper is None or step.work is None:
        return ()
    return tuple(path for path in (step.upper, step.work) if path not in made)


def _possible(step: s.Step) -> s.Step | None:
    """*step* as this host can do it, which may itself be a container."""
    if isinstance(step, s.LoadSeccomp):
        return None  # no tool loads one
    if isinstance(step, s.BindMount) and not step.on_host and step.source == "/dev/mqueue":
        return step if os.path.exists(step.source) else None
    if isinstance(step, s.SetCapabilities):
        held = _held()
        return replace(step, effective=step.effective & held, permitted=step.permitted & held)
    return replace(step, keep=step.keep & _held()) if isinstance(step, s.SetBounding) else step


def _held() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapBnd"))


@pytest.fixture
def case(tmp_path: Path, tiny_root: Path) -> Iterator[Case]:
    (tiny_root / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/sh\nu:x:1000:1001::/home:/bin/sh\n"
    )
    (tiny_root / "etc/group").write_text("root:x:0:\ng:x:1001:\nh:x:1002:u\ni:x:1003:u\n")
    made = Case(tmp_path, tiny_root)
    yield made
    made.engine.close()


@pytest.fixture
def tree_with_mounts(tmp_path: Path) -> Iterator[Path]:
    """A directory with mounts below it: a shared tmpfs, in it one with attributes of its own."""
    top = tmp_path / "tree"
    for place, options in (
        (top, "rw"),
        (top / "below", "nosuid,noexec,noatime"),
        (top / "below/deeper", "ro,nodev"),
    ):
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    subprocess.run(["mount", "--make-rshared", top], check=True)
    yield top
    subprocess.run(["umount", "-R", top], check=True)


SIMPLE: dict[str, dict[str, Any]] = {
    "as it is": {},
    "read-only root": {"read_only": True},
    "user and groups by name": {"user": "u"},
    "user and group by number": {"user": "4711:4712"},
    "capabilities added and dropped": {"cap_add": ["NET_ADMIN", "SYS_PTRACE"], "cap_drop": ["CHOWN"]},  # noqa: E501
    "no capabilities": {"cap_drop": ["ALL"]},
    "a user with capabilities added": {"user": "1000", "cap_add": ["NET_ADMIN"]},
    "no new privileges": {"security_opt": ["no-new-privileges"], "user": "1000"},
    "privileged": {"privileged": True},
    "host network": {"network": "host"},
    "host pid": {"pid": "host"},
    "host uts": {"uts": "host"},
    "host ipc": {"ipc": "host"},
    "host cgroup namespace": {"cgroupns": "host"},
    "sysctls": {
        "sysctl": ["net.ipv4.ip_default_ttl=77", "kernel.shmmni=1234", "fs.mqueue.msg_max=11",
                   "kernel.domainname=example.org"],
    },
    "limits": {"ulimit": ["nofile=100:200", "nproc=50", "core=0", "stack=1048576:2097152",
                          "memlock=65536", "fsize=1073741824"]},
    "a working directory that is missing": {"workdir": "/made/for it/here"},
    "a hostname": {"hostname": "somebody"},
    "masks": {"security_opt": ["mask=/etc/passwd:/usr", "unmask=/proc/acpi:/proc/sys"]},
    "nothing masked": {"security_opt": ["unmask=ALL"]},
    "devices": {"device": ["/dev/fuse", "/dev/null:/dev/dir/other:r"]},
    "environment": {"env": {"A": "b c", "QUOTES": "'\"`$x\\", "LINES": "a\nb", "EMPTY": ""}},
    "tmpfs with options": {"tmpfs": ["/run:size=1m,mode=1770,uid=5,gid=6,exec", "/a/b/c"]},
    "a link in the way": {"tmpfs": ["/link/place"]},
    "move": {"switch": "move"},
    "chroot": {"switch": "chroot"},
    "move, a user": {"switch": "move", "user": "u", "workdir": "/tmp"},
    "chroot, a user": {"switch": "chroot", "user": "u", "workdir": "/tmp"},
}  # fmt: skip


@pytest.mark.parametrize("name", SIMPLE)
def test_the_script_and_newroot_do_the_same(case: Case, name: str) -> None:
    (case.root / "link").symlink_to("/var/tmp")
    plan = case.plan(**SIMPLE[name])

    assert views.differences(plan) == []


def test_they_do_the_same_with_an_upper_directory_on_the_disk(case: Case) -> None:
    source = Source(lower=(str(case.root),), name="a", key="a")
    plan = case.plan(source, upper="disk")

    assert views.differences(plan, case.renew_upper) == []


def test_they_do_the_same_with_a_directory_as_it_is(case: Case) -> None:
    plan = case.plan(directory_source(str(case.root)))

    assert views.differences(plan) == []


@pytest.mark.parametrize("count", [2, 130, 400])
def test_they_do_the_same_with_many_layers(case: Case, count: int) -> None:
    layers = views.make_layers(case.top, case.root, count)
    plan = case.plan(Source(lower=layers, name="a", key="a"))

    assert views.differences(plan) == []


@pytest.mark.parametrize("missing", [0, 1, 129])
@pytest.mark.parametrize("count", [3, 130])
def test_no_layer_is_ever_left_out(case: Case, count: int, missing: int) -> None:
    # Found by the comparison: the topmost of many layers was once skipped without a word.
    layers = views.make_layers(case.top, case.root, count)
    plan = case.plan(Source(lower=layers, name="a", key="a"))
    gone = missing % count
    lower = (*layers[:gone], "/nowhere/at/all", *layers[gone + 1 :])
    steps = (
        replace(step, lower=lower) if isinstance(step, s.MountOverlay) else step
        for step in plan.steps
    )
    with pytest.raises(StepError) as error:
        views.by_newroot(s.Plan(steps=tuple(steps)))

    assert error.value.errno == errno.ENOENT
    assert error.value.step.startswith("mount overlay")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_they_do_the_same_with_odd_names(case: Case, tmp_path: Path, name: str) -> None:
    odd = tmp_path / "odd" / name
    odd.mkdir(parents=True)
    root = odd / "root"
    case.root.rename(root)
    source = Source(lower=(str(root),), name="a", key="a")
    plan = case.plan(source, **bind_words(str(odd), f"/mnt/{name}"), workdir=f"/work/{name}")

    assert views.differences(plan) == []


def bind_words(source: str, target: str, *options: str) -> dict[str, Any]:
    """The mount as the command line's csv, whose quotes hold any name."""
    words = [f"source={source}", f"target={target}", *options]
    quoted = ",".join('"' + word.replace('"', '""') + '"' for word in words)
    return {"mount": [f"type=bind,{quoted}"]}


def test_they_do_the_same_with_names_that_are_not_utf8(case: Case, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe\x80")
    (tmp_path / name).mkdir()
    plan = case.plan(**bind_words(str(tmp_path / name), f"/mnt/{name}"), env={"X": name})

    assert views.differences(plan) == []


BINDS = {
    "plain": (),
    "readonly": ("readonly",),
    "readonly below too": ("readonly", "bind-recursive=readonly", "bind-propagation=rprivate"),
    "not recursive": ("bind-recursive=disabled",),
    **{
        f"{kind} {'ro' if more else 'rw'}": (f"bind-propagation={kind}", *more)
        for kind in ("rslave", "slave", "rprivate", "private")
        for more in ((), ("readonly",))
    },
}


@pytest.mark.parametrize("options", BINDS)
def test_they_do_the_same_with_bind_mounts(
    case: Case, tree_with_mounts: Path, options: str
) -> None:
    plan = case.plan(**bind_words(str(tree_with_mounts), "/mnt/tree", *BINDS[options]))

    assert views.differences(plan) == []


@pytest.mark.parametrize("options", [(), ("readonly",)])
@pytest.mark.parametrize("kind", ["rshared", "shared"])
def test_a_shared_bind_is_a_peer_of_the_hosts_but_in_the_script(
    case: Case, tree_with_mounts: Path, kind: str, options: tuple[str, ...]
) -> None:
    words = bind_words(str(tree_with_mounts), "/mnt/tree", f"bind-propagation={kind}", *options)
    plan = case.plan(**words)
    ours, theirs = views.by_newroot(plan), views.by_shell(plan)
    differing = [line for line in ours.mounts if line not in theirs.mounts]

    assert "open_tree" in views.render(plan)
    assert all("/mnt/tree" in line and " shared " in line for line in differing)
    assert ours.sections == theirs.sections


def test_they_do_the_same_with_files_volumes_and_overlays(case: Case, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    for volume in ("data", "data2"):
        case.engine.volumes.create(volume)
    for name in ("low1", "low2"):
        (tmp_path / name / "sub").mkdir(parents=True)
    plan = case.plan(
        volume=[f"{tmp_path}/file:/etc/motd:ro", "data:/data", "data2:/ro:ro"],
        mount=[
            f"type=overlay,source={tmp_path}/low1,lowerdir={tmp_path}/low2,target=/mnt/overlay",
            "type=tmpfs,target=/mnt/overlay/sub,tmpfs-size=65536",
        ],
    )

    assert views.differences(plan) == []


@pytest.mark.parametrize("flags", [(), ("ro", "nosuid")])
def test_they_do_the_same_with_a_tmpfs_that_copies_up(case: Case, flags: tuple[str, ...]) -> None:
    # The command itself is below it: without its copy neither would start.
    made = s.MountFs(
        type="tmpfs",
        source="tmpfs",
        target="/bin",
        options=("mode=1777",),
        flags=flags,
        like_target=True,
        copy_up=True,
    )
    plan = case.plan()
    place = next(i for i, step in enumerate(plan.steps) if isinstance(step, s.Mask))
    plan = s.Plan(steps=(*plan.steps[:place], made, *plan.steps[place:]))

    assert views.differences(plan) == []


@pytest.mark.parametrize("minor", [3, 5])
def test_they_do_the_same_with_a_node_that_must_be_the_one_that_is_there(
    case: Case, minor: int
) -> None:
    def node(minor: int) -> s.MakeNode:
        same = {"if_missing": True, "same_node": True}
        return s.MakeNode(target="/dev/own", kind="c", major=1, minor=minor, **same)

    plan = case.plan()
    place = next(i for i, step in enumerate(plan.steps) if isinstance(step, s.Mask))
    plan = s.Plan(steps=(*plan.steps[:place], node(3), node(minor), *plan.steps[place:]))

    if minor == 3:
        assert views.differences(plan) == []
        return
    with pytest.raises(StepError, match=r"EEXIST"):
        views.by_newroot(plan)
    with pytest.raises(AssertionError, match=r"File exists"):
        views.by_shell(plan)


def _in_cgroup(plan: s.Plan, cgroup: Cgroup) -> s.Plan:
    """*plan*, joining *cgroup* and seeing it as a container does that has limits."""
    joins = tuple(s.JoinCgroup(procs=path) for path in cgroup.procs_paths)
    v1 = tuple(p.hierarchy.controllers for p in cgroup.places if p.hierarchy.version == 1)
    mount: dict[str, object] = {"destination": "/sys/fs/cgroup", "options": ["ro", "nosuid"]}
    shown = cgroup_mount_steps(mount, "", CgroupView(v1=v1))
    steps: list[s.Step] = []
    for step in plan.steps:
        if isinstance(step, s.Unshare) and step.namespaces == ("cgroup",):
            steps += joins
        seen = isinstance(step, s.MountFs) and step.type == "cgroup2"
        steps += shown if seen else (step,)
    return s.Plan(steps=tuple(steps))


def test_they_do_the_same_in_a_cgroup_with_limits(case: Case) -> None:
    starter: Any = case.engine._starter
    host = starter.blueprints.cgroup_host()
    limits: dict[str, object] = {
        "memory": {"limit": 64 << 20},
        "pids": {"limit": 50},
    }
    cgroup = Cgroup.create(host.default_path("c0ffee" * 10 + "cafe"), limits, host=host)
    try:
        plan = _in_cgroup(case.plan(), cgroup)

        assert any(isinstance(step, s.JoinCgroup) for step in plan.steps)
        assert views.differences(plan) == []
    finally:
        cgroup.remove()


@pytest.mark.parametrize("how", [["bash", "-s"], ["bash", "/dev/stdin"]])
def test_the_script_runs_through_a_pipe(case: Case, how: list[str]) -> None:
    plan = case.plan()
    done = subprocess.run(how, input=views.render(plan).encode(), capture_output=True)

    assert (done.returncode, done.stderr) == (0, b"")
    assert views.view_of(done.stdout, plan).mounts == views.by_newroot(plan).mounts


def test_the_scripts_command_has_the_callers_standard_input(case: Case, tmp_path: Path) -> None:
    plan = case.plan()
    last = s.Exec(paths=("/bin/cat",), argv=("cat",))
    script = tmp_path / "script"
    script.write_text(views.render(s.Plan(steps=(*plan.steps[:-1], last))))
    done = subprocess.run(["bash", script], input=b"said by the caller", capture_output=True)

    assert (done.stdout, done.stderr) == (b"said by the caller", b"")


def test_the_scripts_exit_code_is_the_commands(case: Case) -> None:
    plan = case.plan()
    last = s.Exec(paths=("/bin/sh",), argv=("sh", "-c", "exit 42"))
    script = views.render(s.Plan(steps=(*plan.steps[:-1], last)))

    assert subprocess.run(["bash", "-c", script]).returncode == 42


def test_no_descriptor_of_the_callers_reaches_the_scripts_command(case: Case) -> None:
    plan = case.plan()
    last = s.Exec(paths=("/bin/ls",), argv=("ls", "/proc/1/fd"))
    script = views.render(s.Plan(steps=(*plan.steps[:-1], last)))
    secret = os.open("/", os.O_RDONLY)
    try:
        done = subprocess.run(["bash", "-c", script], pass_fds=[secret], capture_output=True)
    finally:
        os.close(secret)

    assert done.stdout.split() == [b"0", b"1", b"2", b"3"]  # 3 is ls reading the directory


def test_the_script_leaves_nothing_on_the_host(
    case: Case, leaves_nothing: Callable[..., None]
) -> None:
    plan = case.plan()
    leaves_nothing(case.top)
    views.by_shell(plan)
