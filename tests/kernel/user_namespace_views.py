"""Run inside a user namespace, as its root: compares newroot-init and the script on one plan.

    unshare --user --map-root-user python user_namespace_views.py ROOTFS SCRATCH CASE

Prints what differs, one line each.  The host's nodes are bound, for none may be made in here.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from newroot.container.compile import Situation, compile
from newroot.plan import steps as s
from newroot.record import replace
from newroot.rootfs.cgroup_mount import CgroupView
from newroot.rootfs.root import Root

#: Each changes a config that has no more than what every kernel lets a user namespace do.
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "read-only": {"root": {"readonly": True}},
    "named": {"hostname": "inside", "domainname": "example.org"},
    "bound": {
        "mounts": [
            {"destination": "/mnt", "type": "bind", "source": "/etc", "options": ["rbind", "ro"]},
            {"destination": "/srv", "type": "bind", "source": "/etc", "options": ["bind", "slave"]},
            {"destination": "/run", "type": "tmpfs", "options": ["nosuid", "mode=700"]},
        ]
    },
}


def load_views() -> ModuleType:
    path = Path(__file__).parent.parent / "root/plan_views.py"
    spec = importlib.util.spec_from_file_location("plan_views", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_plan(rootfs: str, scratch: str, command: tuple[str, ...], case: dict[str, Any]) -> s.Plan:
    every = [f"CAP_{name}" for name in ("CHOWN", "KILL", "SYS_CHROOT", "SETFCAP")]
    config: dict[str, Any] = {
        "process": {
            "args": list(command),
            "env": ["PATH=/bin", "A=b"],
            "cwd": "/tmp",
            "capabilities": {"bounding": every, "effective": every, "permitted": every},
        },
        "linux": {
            "namespaces": [
                {"type": kind} for kind in ("mount", "pid", "uts", "ipc", "network", "cgroup")
            ]
        },
        **case,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            *case.get("mounts", []),
        ],
    }
    root = Root(lower=(rootfs,), scratch=scratch, overlay_options=("userxattr",))
    situation = Situation(cgroups=CgroupView(unified=False), may_make_nodes=False)
    plan = compile(config, root, situation)
    return s.Plan(steps=tuple(map(_as_user, plan.steps)))


def _as_user(step: s.Step) -> s.Step:
    """setgroups(2) is denied where an ordinary user mapped the ids: user_namespaces(7)."""
    return replace(step, keep_groups=True) if isinstance(step, s.SetUser) else step


if __name__ == "__main__":
    views = load_views()
    found = views.differences(
        make_plan(sys.argv[1], sys.argv[2], views.COMMAND, CASES[sys.argv[3]])
    )
    print("\n".join(found))
