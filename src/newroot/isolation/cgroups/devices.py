"""Device rules: which devices a container may read, write and make.  Pure.

OCI gives a list of allow and deny entries, applied in order.  v1 takes such a list in files, v2
takes a program, and both are made here from the same settled ``Rules``: a default and its
exceptions.  The settling follows the v1 controller (security/device_cgroup.c) as runc does, and
refuses, as runc does, the one case in which v1 would silently allow what was denied.
"""

from __future__ import annotations

from newroot.errors import SpecError
from newroot.isolation.cgroups.resources import UINT32, Section
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    T = TypeVar("T")

#: Any major or minor number.
ANY = -1
_ACCESS = "rwm"

#: Allowed after whatever the document says, as in runc and crun: bundles count on them, the one
#: of ``runc spec`` among them, which denies everything.
_ALWAYS = (
    ("c", ANY, ANY, "m"),
    ("b", ANY, ANY, "m"),
    ("c", 1, 3, "rwm"),  # /dev/null
    ("c", 1, 5, "rwm"),  # /dev/zero
    ("c", 1, 7, "rwm"),  # /dev/full
    ("c", 1, 8, "rwm"),  # /dev/random
    ("c", 1, 9, "rwm"),  # /dev/urandom
    ("c", 5, 0, "rwm"),  # /dev/tty
    ("c", 5, 2, "rwm"),  # /dev/ptmx
    ("c", 10, 200, "rwm"),  # /dev/net/tun, again since runc 1.2.4
    ("c", 136, ANY, "rwm"),  # /dev/pts/*
)


@record
class Rule:
    """An exception from the default: a device, and what of it the exception covers."""

    kind: str  #: "b" or "c"
    major: int  #: or ANY
    minor: int  #: or ANY
    access: str  #: of "rwm", in this order

    def line(self) -> str:
        """As devices.allow and devices.deny take it."""
        return f"{self.kind} {_number(self.major)}:{_number(self.minor)} {self.access}"


@record
class Rules:
    """What holds for every device, and the exceptions from it."""

    allow: bool
    exceptions: tuple[Rule, ...]


def read_rules(top: Section) -> Rules:
    """Settle the ``devices`` of an OCI resources object.

    Raises SpecError for a wrong entry, and for one that denies a part of what an earlier entry
    allows with a wildcard (or the other way round), which cgroup v1 would ignore.
    """
    settling = _Settling()
    for entry in top.sections("devices"):
        _settle(settling, entry)
    for kind, major, minor, access in _ALWAYS:
        if not settling.default:
            settling.add((kind, major, minor), set(access))
        else:
            settling.exceptions.pop((kind, major, minor), None)
    return settling.rules()


def remember(known: dict[str, T], top: Section, make: Callable[[Section], T]) -> T:
    """``make(top)``, or what it gave for the same ``devices`` before.

    Nearly every container has the same rules, and settling them takes longer than making it.
    """
    key = repr(top.values.get("devices"))
    if key not in known:
        made = make(top)
        if len(known) >= 16:
            known.clear()
        known[key] = made
        return made
    return known[key]


def v1_lines(rules: Rules) -> Iterator[tuple[str, str]]:
    """File and line, in order.  The first resets whatever the cgroup inherited."""
    first, rest = ("allow", "deny") if rules.allow else ("deny", "allow")
    yield f"devices.{first}", "a *:* rwm"
    for rule in rules.exceptions:
        yield f"devices.{rest}", rule.line()


class _Settling:
    def __init__(self) -> None:
        self.default = False  # as runc: what nobody allowed is denied
        self.exceptions: dict[tuple[str, int, int], set[str]] = {}

    def reset(self, *, allow: bool) -> None:
        self.default = allow
        self.exceptions = {}

    def add(self, device: tuple[str, int, int], access: set[str]) -> None:
        self.exceptions.setdefault(device, set()).update(access)

    def take(self, device: tuple[str, int, int], access: set[str]) -> None:
        left = self.exceptions.get(device, set()) - access
        self.exceptions.pop(device, None)
        if left:
            self.exceptions[device] = left

    def wider(self, device: tuple[str, int, int], access: set[str]) -> str | None:
        """A wildcard exception that *device* would have to make a hole in."""
        kind, major, minor = device
        for other in ((kind, ANY, minor), (kind, major, ANY), (kind, ANY, ANY)):
            if other != device and self.exceptions.get(other, set()) & access:
                return _rule(other, self.exceptions[other]).line()
        return None

    def rules(self) -> Rules:
        ordered = sorted(self.exceptions.items())
        return Rules(allow=self.default, exceptions=tuple(_rule(d, a) for d, a in ordered))


def _settle(settling: _Settling, entry: Section) -> None:
    allow = entry.flag("allow")
    kind = entry.text("type") or "a"
    if kind not in ("a", "b", "c"):
        raise entry.wrong("type", f"{kind!r} is not a, b or c")
    access = set(entry.text("access") or _ACCESS)
    if not access <= set(_ACCESS):
        raise entry.wrong("access", f"{entry.text('access')!r} has more than r, w and m")
    major, minor = _major_minor(entry, "major"), _major_minor(entry, "minor")
    if kind == "a":
        # The kernel takes "a" as every device and every access, whatever else is said.
        settling.reset(allow=allow)
        return
    device = (kind, major, minor)
    if allow != settling.default:
        settling.add(device, access)
        return
    hole = settling.wider(device, access)
    if hole is not None:
        said = "allow" if allow else "deny"
        rule = _rule(device, access).line()
        raise SpecError(
            f"cannot {said} {rule!r} as an exception from the earlier {hole!r}",
            pointer=entry.pointer,
            hint="put the narrow rule first, or name the devices of the wide one",
        )
    settling.take(device, access)


def _major_minor(entry: Section, name: str) -> int:
    value = entry.find_integer(name, (ANY, UINT32[1]))
    return ANY if value is None else value


def _rule(device: tuple[str, int, int], access: set[str]) -> Rule:
    kind, major, minor = device
    ordered = "".join(letter for letter in _ACCESS if letter in access)
    return Rule(kind=kind, major=major, minor=minor, access=ordered)


def _number(value: int) -> str:
    return "*" if value == ANY else str(value)
