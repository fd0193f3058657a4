"""What is done to the kernel for each setting: one file a case, so that a change shows in a diff.

What depends on the host or on chance is left out: ids, sizes of files, the length of a filter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from newroot.container.compile import Situation, compile
from newroot.container.python_words import settings_of
from newroot.container.source import Source, directory_source
from newroot.engine import Engine
from newroot.plan import order
from newroot.plan import steps as s
from newroot.plan.divide import divide
from newroot.record import replace
from newroot.rootfs.cgroup_mount import CgroupView
from newroot.rootfs.root import Root

CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "on-disk": {"upper": "disk"},
    "read-only": {"read_only": True, "tmpfs": ["/run", "/tmp:size=1m,exec"]},
    "user": {"user": "u", "workdir": "/home/u"},
    "user-by-number": {"user": "5:6"},
    "init": {"init": True, "stop_signal": "SIGINT"},
    "terminal": {"tty": True, "interactive": True},
    "no-new-privileges": {"security_opt": ["no-new-privileges"]},
    "seccomp-unconfined": {"security_opt": ["seccomp=unconfined"]},
    "masks": {"security_opt": ["mask=/etc:/usr/lib", "unmask=/proc/sys:/proc/acpi"]},
    "capabilities": {"cap_drop": ["ALL"], "cap_add": ["CHOWN", "SYS_ADMIN"]},
    "host-namespaces": {"network": "host", "pid": "host", "uts": "host", "cgroupns": "host"},
    "host-ipc": {"ipc": "host"},
    "sysctls": {"sysctl": ["net.ipv4.ip_forward=1", "kernel.shmmni=99"]},
    "limits": {"ulimit": ["nofile=10:20", "core=-1"]},
    "binds": {
        "volume": ["/etc:/mnt/etc:ro", "/usr:/mnt/usr:rslave", "/etc/hostname:/etc/motd"],
        "mount": ["type=bind,source=/usr,target=/a/b,bind-recursive=disabled"],
    },
    "shared-bind": {"volume": ["/usr:/mnt:rshared"]},
    "volumes": {"volume": ["data:/data", "cache:/var/cache:ro"]},
    "overlay-mount": {
        "mount": ["type=overlay,source=/usr/lib,lowerdir=/usr/bin,target=/mnt"],
    },
    "tmpfs": {"mount": ["type=tmpfs,target=/t,tmpfs-size=1048576,tmpfs-mode=1770"]},
    "device": {"device": ["/dev/null:/dev/other"]},
    "move": {"switch": "move"},
    "chroot": {"switch": "chroot"},
    "environment": {"env": {"A": "b"}, "hostname": "named"},
    "dev-bound": {"volume": ["/dev:/dev"]},
}


@pytest.fixture
def explain(tmp_path: Path) -> Iterator[Callable[..., s.Plan]]:
    root = tmp_path / "base"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/root:\nu:x:1000:1001::/home/u:\n")
    (root / "etc/group").write_text("root:x:0:\nwheel:x:10:u\n")
    (tmp_path / "top").mkdir()
    layers = (str(tmp_path / "top"), str(root))
    with Engine(tmp_path / "state") as engine:
        starter: Any = engine._starter
        starter.blueprints.may_make_nodes = True  # whoever runs this test, and where
        starter.blueprints.has_kcore = True

        def plan(source: Source | None = None, **words: Any) -> s.Plan:
            image = Source(lower=layers, name="image", key="image")
            made: s.Plan = starter.explain(
                replace(settings_of(words), command=("sh", "-c", "id")), source or image
            )
            return made

        yield plan


def _text(plan: s.Plan, top: Path) -> str:
    text = plan.explain().replace(str(top), "")
    for pattern, stands_for in (
        (r"\b[0-9a-f]{64}\b", "ID"),
        (r"(hostname to )[0-9a-f]{12}\b", r"\1ID"),
        (r"\(\d+ bytes\)", "(… bytes)"),
        (r"\d+ instructions", "… instructions"),
    ):
        text = re.sub(pattern, stands_for, text)
    return text


@pytest.mark.parametrize("name", CASES)
def test_the_plan_of(
    name: str, explain: Callable[..., s.Plan], tmp_path: Path, golden: Callable[..., None]
) -> None:
    plan = explain(**CASES[name])
    order.check(plan)

    assert order.hidden(plan) == ()
    golden(name, _text(plan, tmp_path))


@pytest.mark.parametrize(("name", "suffix"), [("directory", ""), ("directory-overlaid", ":O")])
def test_the_plan_of_a_root_that_is_a(
    name: str,
    suffix: str,
    explain: Callable[..., s.Plan],
    tmp_path: Path,
    golden: Callable[..., None],
) -> None:
    plan = explain(directory_source(f"{tmp_path / 'base'}{suffix}"))
    order.check(plan)

    golden(name, _text(plan, tmp_path))


#: As little as a config.json may say; and one that joins what is there.
CONFIGS: dict[str, dict[str, Any]] = {
    "oci-least": {
        "process": {"args": ["/a"], "cwd": "/"},
        "linux": {"namespaces": [{"type": "mount"}]},
    },
    "oci-joining-pid": {
        "process": {"args": ["/a"], "cwd": "/"},
        "linux": {
            "namespaces": [
                {"type": "user"},
                {"type": "mount"},
                {"type": "pid", "path": "/proc/7/ns/pid"},
                {"type": "network", "path": "/proc/7/ns/net"},
                {"type": "time"},
            ],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
            "timeOffsets": {"boottime": {"secs": -7, "nanosecs": 5}},
        },
    },
    "oci-user-namespace": {
        "process": {"args": ["/a"], "cwd": "/"},
        "linux": {
            "namespaces": [{"type": kind} for kind in ("mount", "user", "pid")],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
        },
    },
    "oci-joining": {
        "process": {
            "args": ["a"],
            "env": ["PATH=/x:/y"],
            "cwd": "/w",
            "oomScoreAdj": -5,
            "user": {"uid": 1, "gid": 2, "additionalGids": [3, 4], "umask": 0o77},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 6}],
        },
        "domainname": "example.org",
        "linux": {
            "namespaces": [
                {"type": "mount"},
                {"type": "uts"},
                {"type": "network", "path": "/run/netns/a"},
                {"type": "cgroup"},
            ],
            "devices": [{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200}],
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/c", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
            {"destination": "/b", "type": "bind", "source": "rel", "options": ["rbind", "rro"]},
        ],
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_plan_of_a_config(name: str, golden: Callable[..., None]) -> None:
    view = CgroupView(v1=(("cpu", "cpuacct"), ("pids",), ("name=systemd",)))
    situation = Situation(cgroups=view, cgroup_procs=("/cg/cgroup.procs",), bundle="/bundle")
    plan = compile(CONFIGS[name], Root(directory="/bundle/rootfs", scratch="/s"), situation)
    order.check(plan)

    golden(name, plan.explain())


def test_the_plan_of_a_root_with_layers_that_are_files(golden: Callable[..., None]) -> None:
    lower = ("/l/2.erofs", "/l/1", "/l/0.erofs")
    root = Root(lower=lower, upper="/c/upper", work="/c/work", scratch="/s", idmap="/u")
    plan = compile(CONFIGS["oci-least"], root, Situation(cgroups=CgroupView()))
    order.check(plan)

    golden("layers-as-erofs", plan.explain())


def test_a_plan_divided_at_a_user_namespace(golden: Callable[..., None]) -> None:
    config = dict(CONFIGS["oci-user-namespace"])
    config["mounts"] = CONFIGS["oci-joining"]["mounts"]
    root = Root(lower=("/l/2", "/l/1"), upper="/c/upper", work="/c/work", scratch="/s", idmap="/u")
    situation = Situation(cgroups=CgroupView(), may_make_nodes=False)
    divided = divide(compile(config, root, situation), 2**41 - 1)

    golden("divided-outside", divided.outside.explain())
    golden("divided-inside", divided.inside.explain())
