"""What a security module makes of the command, ``process.apparmorProfile`` and ``selinuxLabel``,
and of the files on the container's own file systems, ``linux.mountLabel``.

The kernel gives the label when the command is executed, so newroot-init asks for it beforehand.  A
host without the module cannot give one: that is an error, for whoever asked relies on it.
"""

from __future__ import annotations

import os

from newroot.errors import SpecError, UnsupportedError
from newroot.plan import steps as s
from newroot.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: module -> (the property, the directory that is there when the module is at work)
MODULES = {
    "apparmor": ("apparmorProfile", "sys/kernel/security/apparmor"),
    "selinux": ("selinuxLabel", "sys/fs/selinux"),
}


#: File systems whose labels are the policy's own, as runc leaves them: rootfs_linux.go.
_OF_POLICY = frozenset(("proc", "sysfs", "mqueue", "cgroup", "cgroup2"))


def labelled(steps: tuple[s.Step, ...], label: str) -> tuple[s.Step, ...]:
    """*steps* with SELinux's *label* on all files of each new file system: mount(8), context=."""
    _check_label(label, "/linux/mountLabel")
    return tuple(
        replace(step, options=(f"context={label}", *step.options))
        if isinstance(step, s.MountFs) and step.type not in _OF_POLICY
        else step
        for step in steps
    )


def _check_label(label: object, pointer: str) -> None:
    if not isinstance(label, str) or "\n" in label or "\0" in label:
        raise SpecError(f"not a label: {label!r:.100}", pointer=pointer)


def label_steps(process: dict[str, Any]) -> tuple[s.Step, ...]:
    """The steps that ask for *process*'s labels."""
    steps: list[s.Step] = []
    for module, (key, _) in MODULES.items():
        label = process.get(key)
        if not label:
            continue
        _check_label(label, f"/process/{key}")
        steps.append(s.SetLabel(module=module, label=label, why="asked for"))
    return tuple(steps)


def check_labels(process: dict[str, Any], linux: dict[str, Any], root: str = "/") -> None:
    """Raise UnsupportedError where this host has not the module that a label relies on.

    runc says so when it starts the container; here it is said before anything is made.
    """
    for module, (key, place) in MODULES.items():
        if process.get(key):
            _check_module(module, f"/process/{key}", os.path.join(root, place))
    if linux.get("mountLabel"):
        _check_module("selinux", "/linux/mountLabel", os.path.join(root, MODULES["selinux"][1]))


def _check_module(module: str, pointer: str, path: str) -> None:
    if not os.path.isdir(path):
        raise UnsupportedError(
            f"{pointer}: {module} is not enabled on this host",
            feature=module,
            tried=f"{path} is not there",
            hint=f"leave {pointer.rpartition('/')[2]} out of the config",
        )
