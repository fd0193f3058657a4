"""Change a container's limits while it runs, and note the new ones beside its state.

Some limits only mean something together: memory+swap and memory, a quota and its period.  So a
change is completed from what was there before, as runc completes it from its state, and what
holds afterwards is kept in ``<root>/<id>/config.json`` for the next change.
"""

from __future__ import annotations

import os

from newroot.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.oci_state import OciContainer

#: Members that are written together when one of them changes.
_TOGETHER = (("memory", ("limit", "swap")), ("cpu", ("quota", "period", "burst")))


def update_resources(container: OciContainer, changes: dict[str, Any]) -> None:
    """Apply *changes*, an OCI resources object; what it leaves out stays as it is.

    Device rules in it are ignored, as by runc.  Raises as Cgroup.update() does; limits that were
    written before the one that was refused stay.
    """
    changes = {k: v for k, v in changes.items() if k != "devices" and v not in (None, {}, [])}
    if not changes:
        return
    cgroup = container.cgroup()
    if not cgroup.places:
        raise UnsupportedError(
            f"limit {container.id}: it has no cgroup",
            feature="cgroups",
            hint="create it without --cgroup-manager disabled, and not without any cgroup",
        )
    config = container.config()
    linux = config.setdefault("linux", {})
    before = linux.get("resources") or {}
    cgroup.update(completed(changes, before))
    linux["resources"] = merged(before, changes)
    _write(f"{container.directory}/config.json", config)


def completed(changes: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """*changes* with what they must be read together with.  Pure."""
    found = dict(changes)
    for section, members in _TOGETHER:
        new, old = changes.get(section), before.get(section)
        if isinstance(new, dict) and isinstance(old, dict) and any(m in new for m in members):
            kept = {m: old[m] for m in members if m in old and m not in new}
            if section == "memory" and new.get("limit") == -1:
                kept.pop("swap", None)  # no limit on memory is none on swap, unless one is given
            found[section] = {**kept, **new}
    return found


def merged(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """What holds after *changes*.  Pure."""
    result = dict(before)
    for name, value in changes.items():
        old = result.get(name)
        both = isinstance(value, dict) and isinstance(old, dict)
        result[name] = {**old, **value} if both and old is not None else value
    return result


def _write(path: str, document: dict[str, Any]) -> None:
    from newroot.oci import json

    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(json.dumps(document))
    os.rename(f"{path}.new", path)
