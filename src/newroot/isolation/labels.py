"""``process.apparmorProfile`` and ``selinuxLabel``: what a security module makes of the command.

The kernel gives the label when the command is executed, so newroot-init asks for it beforehand.  A
host without the module cannot give one: that is an error, for whoever asked relies on it.
"""

from __future__ import annotations

import os

from newroot.errors import SpecError, UnsupportedError
from newroot.plan import steps as s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: module -> (the property, the directory that is there when the module is at work)
MODULES = {
    "apparmor": ("apparmorProfile", "sys/kernel/security/apparmor"),
    "selinux": ("selinuxLabel", "sys/fs/selinux"),
}


def label_steps(process: dict[str, Any]) -> tuple[s.Step, ...]:
    """The steps that ask for *process*'s labels."""
    steps: list[s.Step] = []
    for module, (key, _) in MODULES.items():
        label = process.get(key)
        if not label:
            continue
        if not isinstance(label, str) or "\n" in label or "\0" in label:
            raise SpecError(f"not a label: {label!r:.100}", pointer=f"/process/{key}")
        steps.append(s.SetLabel(module=module, label=label, why="asked for"))
    return tuple(steps)


def check_labels(process: dict[str, Any], root: str = "/") -> None:
    """Raise UnsupportedError where this host has not the module that *process* relies on.

    runc says so when it starts the container; here it is said before anything is made.
    """
    for module, (key, place) in MODULES.items():
        path = os.path.join(root, place)
        if process.get(key) and not os.path.isdir(path):
            raise UnsupportedError(
                f"/process/{key}: {module} is not enabled on this host",
                feature=module,
                tried=f"{path} is not there",
                hint=f"leave {key} out of the config",
            )
