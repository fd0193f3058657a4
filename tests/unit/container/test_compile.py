"""Whatever a config asks for, its plan keeps every law, and all of it can be sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.container.compile import Situation, compile, search
from newroot.container.hooks import POINTS
from newroot.errors import SpecError
from newroot.plan import encode, order, shell
from newroot.plan import steps as s
from newroot.rootfs.cgroup_mount import CgroupView
from newroot.rootfs.root import Root

_NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(lambda name: name not in (".", ".."))
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))
_KNOWN_PATHS = st.sampled_from(["/proc", "/dev", "/dev/pts", "/proc/sys", "/sys", "/run", "/"])
_TARGETS = _PATHS | _KNOWN_PATHS
_NAMESPACES = st.lists(
    st.sampled_from(["pid", "uts", "ipc", "network", "cgroup", "user", "time"]), unique=True
)
_CAPS = st.lists(st.sampled_from(["CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"]), unique=True)
_FLAGS = st.lists(
    st.sampled_from(["ro", "nosuid", "nodev", "noexec", "noatime", "rro", "rnosuid"]), unique=True
)
_PROPAGATION = st.sampled_from([[], ["rprivate"], ["slave"], ["rshared"], ["shared"]])


@st.composite
def _mounts(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["bind", "tmpfs", "proc", "sysfs", "overlay", "cgroup"]))
    options = draw(_FLAGS) + draw(_PROPAGATION)
    # Not on /: what is mounted there stands in the root's place, and is sealed as it says.
    target = draw(_TARGETS.filter(lambda path: path != "/"))
    if target == "/proc" and kind != "bind":
        kind = "proc"  # another is refused
    mount: dict[str, Any] = {"destination": target, "type": kind, "source": kind}
    if kind == "bind":
        mount["source"] = draw(_PATHS)
        options.insert(0, draw(st.sampled_from(["bind", "rbind"])))
    if kind == "tmpfs":
        options.append("size=64k")
    if kind == "overlay":
        options += [f"lowerdir={draw(_PATHS)}" for _ in range(draw(st.integers(1, 3)))]
    if kind in ("cgroup", "overlay"):
        options = [option for option in options if "shared" not in option]
    return {**mount, "options": options}


@st.composite
def _processes(draw: st.DrawFn) -> dict[str, Any]:
    held = draw(_CAPS)
    return {
        "args": draw(st.lists(_NAMES, min_size=1, max_size=3)),
        "env": draw(st.lists(_NAMES.map(lambda name: f"A={name}"), max_size=2)) + ["PATH=/bin:"],
        "cwd": draw(_TARGETS),
        "terminal": draw(st.booleans()),
        "noNewPrivileges": draw(st.booleans()),
        "user": {"uid": draw(st.integers(0, 2**32 - 2)), "gid": draw(st.integers(0, 2**32 - 2))},
        "capabilities": {"bounding": held, "effective": held, "permitted": held},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": draw(st.integers(1, 2**64 - 1))}],
        **draw(st.sampled_from([{}, {"oomScoreAdj": 500}])),
        **draw(st.sampled_from([{}, {"scheduler": {"policy": "SCHED_FIFO", "priority": 1}}])),
        **draw(st.sampled_from([{}, {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 2}}])),
        **draw(st.sampled_from([{}, {"apparmorProfile": "a"}, {"selinuxLabel": "b:c"}])),
    }


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """OCI configs, as far as a plan is made from them."""
    spaces = ["mount", *draw(_NAMESPACES)]
    linux = {
        "namespaces": [{"type": kind} for kind in spaces],
        "maskedPaths": draw(st.lists(_TARGETS, max_size=3)),
        "readonlyPaths": draw(st.lists(_TARGETS, max_size=3)),
        **draw(st.sampled_from([{}, {"personality": {"domain": "LINUX32"}}])),
        **draw(st.sampled_from([{}, {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1,3"}}])),
        "devices": [
            {"path": path, "type": "c", "major": 1, "minor": 3}
            for path in draw(st.lists(_PATHS, max_size=2))
        ],
    }
    if "network" in spaces:
        linux["sysctl"] = draw(st.sampled_from([{}, {"net.ipv4.ip_forward": "1"}]))
        linux["netDevices"] = draw(st.sampled_from([{}, {"eth0": {"name": "eth%d"}}]))
    if "time" in spaces:
        linux["timeOffsets"] = draw(st.sampled_from([{}, {"monotonic": {"secs": -1}}]))
    if "user" in spaces:
        one = [{"containerID": 0, "hostID": 1000, "size": 1}]
        linux |= {"uidMappings": one, "gidMappings": one}
    return {
        "process": draw(_processes()),
        "root": {"path": "rootfs", "readonly": draw(st.booleans())},
        "mounts": draw(st.lists(_mounts(), max_size=6)),
        "linux": linux,
        "hooks": {point: [{"path": "/h"}] for point in draw(st.sets(st.sampled_from(POINTS)))},
        **({"hostname": draw(_NAMES)} if "uts" in spaces else {}),
    }


@st.composite
def roots(draw: st.DrawFn) -> Root:
    """A root of layers, with an upper on the disk or not, or of one directory."""
    files = (("hosts", b"localhost\0\xff\n"),)
    if draw(st.booleans()):
        return Root(directory=draw(_PATHS), scratch="/scratch", files=files)
    lower = tuple(draw(st.lists(_PATHS, min_size=1, max_size=3)))
    upper, work = draw(st.sampled_from([(None, None), ("/state/upper", "/state/work")]))
    return Root(lower=lower, upper=upper, work=work, scratch="/scratch", files=files)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    return Situation(
        cgroups=draw(st.sampled_from([CgroupView(), CgroupView(v1=(("cpu", "cpuset"),))])),
        cgroup_procs=tuple(draw(st.lists(_PATHS, max_size=2))),
        seccomp=draw(st.sampled_from([None, (b"\0" * 16, 0)])),
        switch=draw(st.sampled_from(["pivot", "move", "chroot"])),
        init=draw(st.booleans()),
        dies_with_parent=draw(st.booleans()),
        may_make_nodes=draw(st.booleans()),
    )


def plans() -> st.SearchStrategy[s.Plan]:
    return st.builds(compile, configs(), roots(), situations())


@given(plans())
def test_every_plan_keeps_every_law(plan: s.Plan) -> None:
    assert [breach.law.words for breach in order.breaches(plan)] == []


@given(plans())
def test_every_plan_can_be_sent_and_explained(plan: s.Plan) -> None:
    sent = encode.encode(plan)

    assert len(sent) == encode.PLAN_HEAD.unpack_from(sent)[1]
    assert len(plan.explain().split("\n")) > len(plan.steps)


@given(plans())
def test_every_plan_is_a_script_of_printable_text(plan: s.Plan) -> None:
    script = shell.render(plan)

    assert script.isascii() or script.replace("\n", "").isprintable()
    assert [f"# {n}. " in script for n in range(1, len(plan.steps) + 1)] == [True] * len(plan.steps)


@given(configs(), roots(), situations())
def test_a_plan_depends_on_its_arguments_alone(
    config: dict[str, Any], root: Root, situation: Situation
) -> None:
    assert compile(config, root, situation) == compile(config, root, situation)


def test_a_container_needs_a_mount_namespace() -> None:
    config = {"process": {"args": ["a"], "cwd": "/"}, "linux": {"namespaces": []}}
    with pytest.raises(SpecError, match="would mount on the host") as error:
        compile(config, Root(directory="/r", scratch="/s"), Situation(cgroups=CgroupView()))

    assert error.value.pointer == "/linux/namespaces"


@pytest.mark.parametrize("cwd", ["", "relative", "../x", None])
def test_a_working_directory_must_be_absolute(cwd: str | None) -> None:
    config = {
        "process": {"args": ["a"], "cwd": cwd},
        "linux": {"namespaces": [{"type": "mount"}]},
    }
    with pytest.raises(SpecError) as error:
        compile(config, Root(directory="/r", scratch="/s"), Situation(cgroups=CgroupView()))

    assert error.value.pointer == "/process/cwd"


@pytest.mark.parametrize(
    ("name", "env", "expected"),
    [
        ("sh", ["PATH=/a:/b"], ("/a/sh", "/b/sh")),
        ("sh", ["PATH=/a", "PATH=/b"], ("/b/sh",)),
        ("sh", ["PATH=/a::/b"], ("/a/sh", "./sh", "/b/sh")),
        ("./sh", ["PATH=/a"], ("./sh",)),
        ("/bin/sh", ["PATH=/a"], ("/bin/sh",)),
    ],
)
def test_a_command_is_looked_for_as_a_shell_does(
    name: str, env: list[str], expected: tuple[str, ...]
) -> None:
    assert search(name, env) == expected
