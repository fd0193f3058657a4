"""An ordinary user's ``newroot-oci`` makes a container that has a user namespace of its own.

Only who has CAP_SYS_ADMIN can put a root together (``plan/divide.py``).  So ``create`` and ``run``
first go into a user namespace with all ids that the user has, where they have it, and the
container's own is made in there: from then on all is as if podman had called from its namespace.
Nobody has to go in afterwards: who owns a namespace has every capability in those below it,
whoever made them (user_namespaces(7)), so ``exec``, ``kill`` and ``delete`` work from outside.
"""

from __future__ import annotations

import os

from newroot.errors import SpecError
from newroot.linux import idmap
from newroot.linux.user_namespaces import may_unshare
from newroot.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from newroot.container.bundle import Bundle
    from newroot.isolation.own_ids import OwnIds
    from newroot.linux.idmap import IdMap


def enter(bundle: Bundle) -> Bundle:
    """Go where the container's user namespace can be made; the *bundle* as it is to be read there.

    Nothing where that is here.  For a process of one thread, which cannot come back.  Raises
    SpecError for ids that the user has not, and what ``isolation.rootless.enter()`` raises.
    """
    if may_unshare() or not _makes_user_namespace(bundle.config):
        return bundle
    from newroot.isolation.own_ids import own_ids
    from newroot.isolation.rootless import enter_new

    ids = own_ids(os.geteuid(), os.getegid())
    linux = translated(bundle.config["linux"], ids)
    enter_new(ids)
    return replace(bundle, config={**bundle.config, "linux": linux})


def _makes_user_namespace(config: dict[str, Any]) -> bool:
    spaces = (config.get("linux") or {}).get("namespaces") or ()
    return any(space.get("type") == "user" and not space.get("path") for space in spaces)


def translated(linux: dict[str, Any], ids: OwnIds) -> dict[str, Any]:
    """``linux`` with the ids of the container's map as those in the namespace of *ids* know them.

    Raises SpecError for one that is not among *ids*.
    """
    changed = dict(linux)
    for key, file, own in (
        ("uidMappings", "/etc/subuid", ids.uids),
        ("gidMappings", "/etc/subgid", ids.gids),
    ):
        pointer = f"/linux/{key}"
        hint = f"there are {_ranges(own)}: one's own id, and those of {file}"
        lines = idmap.from_oci(linux.get(key), pointer=pointer)
        changed[key] = [
            {"containerID": part.container_id, "hostID": part.host_id, "size": part.size}
            for index, line in enumerate(lines)
            for part in _parts(line, own, f"{pointer}/{index}", hint)
        ]
    return changed


def _parts(line: IdMap, own: tuple[IdMap, ...], pointer: str, hint: str) -> Iterator[IdMap]:
    """*line* in as many as it takes, for what is one range outside may be several inside."""
    done = 0
    while done < line.size:
        first = line.host_id + done
        there = next((m for m in own if 0 <= first - m.host_id < m.size), None)
        if there is None:
            raise SpecError(
                f"the id {first} is not the caller's to map", pointer=pointer, hint=hint
            )
        offset = first - there.host_id
        size = min(there.size - offset, line.size - done)
        yield idmap.IdMap(
            container_id=line.container_id + done, host_id=there.container_id + offset, size=size
        )
        done += size


def _ranges(maps: tuple[IdMap, ...]) -> str:
    return ", ".join(
        str(m.host_id) if m.size == 1 else f"{m.host_id}-{m.host_id + m.size - 1}" for m in maps
    )
