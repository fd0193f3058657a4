"""What two mount tables show differently, path by path.

Two mounts are the same when they show the same directory of the same file system; how they show it
(read-only, nosuid, propagation) may differ, and is then said.  Ids and peer groups are the
kernel's own numbers and are not compared.
"""

from __future__ import annotations

from newroot.linux.mountinfo import read_mounts
from newroot.observe.table import in_order
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from newroot.linux.mountinfo import Mount

    Place = int | str | Iterable[Mount]

_SAME, _A, _B, _DIFFERS = "same", "a", "b", "differs"


@record
class Difference:
    """One mount point of two tables."""

    path: str
    kind: str  #: ``same``; ``a`` or ``b``: only that one has it; ``differs``
    a: Mount | None = None
    b: Mount | None = None
    fields: tuple[str, ...] = ()  #: what differs: ``files``, ``source``, ``options``, …


def diff(a: Place, b: Place = "self", *, same: bool = False) -> tuple[Difference, ...]:
    """What processes *a* and *b* see differently; with *same* also what they see alike.

    Either may be a mount table instead.  In the order of *a*, then what only *b* has.  Raises
    OSError when there is no such process.
    """
    theirs = _by_path(_table(b))
    found = []
    for mount, _ in in_order(_table(a)):
        others = theirs.get(mount.mount_point, [])
        found.append(_compare(mount, others))
    found += [
        Difference(path=mount.mount_point, kind=_B, b=mount)
        for mounts in theirs.values()
        for mount in mounts
    ]
    return tuple(found if same else (entry for entry in found if entry.kind != _SAME))


def _table(place: Place) -> tuple[Mount, ...]:
    return read_mounts(place) if isinstance(place, int | str) else tuple(place)


def _by_path(table: tuple[Mount, ...]) -> dict[str, list[Mount]]:
    by_path: dict[str, list[Mount]] = {}
    for mount, _ in in_order(table):
        by_path.setdefault(mount.mount_point, []).append(mount)
    return by_path


def _compare(mount: Mount, others: list[Mount]) -> Difference:
    """Pair *mount* with one of *others* at the same path, which is then taken from them."""
    if not others:
        return Difference(path=mount.mount_point, kind=_A, a=mount)
    # Of several mounts at one path the one with the same files is meant.
    other = next((o for o in others if (o.dev, o.root) == (mount.dev, mount.root)), others[0])
    others.remove(other)
    fields = tuple(_fields(mount, other))
    kind = _DIFFERS if fields else _SAME
    return Difference(path=mount.mount_point, kind=kind, a=mount, b=other, fields=fields)


def _fields(a: Mount, b: Mount) -> Iterable[str]:
    if (a.dev, a.root) != (b.dev, b.root):
        yield "files"
    if a.fstype != b.fstype:
        yield "type"
    if a.source != b.source:
        yield "source"
    if a.options != b.options:
        yield "options"
    if a.super_options != b.super_options:
        yield "file system options"
    if a.propagation != b.propagation:
        yield "propagation"
