"""``USER[:GROUP]`` looked up in a container's own /etc/passwd and /etc/group, as Docker does it.

Pure: the files come through *read*, which the caller points into the image.  Both are the image's
and so may hold anything.  A line that is no line of passwd(5) or group(5) is passed over, and with
it any id that is no number or too large: nothing in there is taken for an id of 0 by mistake.

The semantics are those of GetExecUser and GetAdditionalGroups in moby/sys, user/user.go: a number
is always an id, never a name (CVE-2016-3697); the first entry that fits is the one; supplementary
groups come from /etc/group only when no group is asked for.
"""

from __future__ import annotations

import os

from newroot.errors import UsageError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Read = Callable[[str], bytes | None]

#: Docker's range; the kernel's goes further, but 2^32 - 1 is "no id" to it.
MAX_ID = 0x7FFF_FFFF

PASSWD = "/etc/passwd"
GROUP = "/etc/group"


@record
class User:
    """Who a container's process is."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()  #: supplementary
    home: str = "/"
    name: str | None = None  #: None for an id without an entry


def resolve(spec: str, read: Read, *, additional: Iterable[str] = ()) -> User:
    """Find the user that *spec* (``USER[:GROUP]``, empty for root) names.

    *read* returns the contents of a file of the container, or None without one.
    *additional* are the groups of ``--group-add``, names or numbers.  Raises UsageError for a
    name that is in neither file, and for an id out of range.
    """
    user_text, _, group_text = spec.partition(":")
    user = _find_user(user_text or "0", read)
    groups = user.groups
    if group_text:
        gid = _find_group(group_text, read)
    else:
        gid = user.gid
        if user.name is not None:
            groups = _groups_of(user.name, read)
    extra = (_find_group(text, read) for text in additional)
    return User(
        uid=user.uid,
        gid=gid,
        groups=tuple(dict.fromkeys((*groups, *extra))),
        home=user.home,
        name=user.name,
    )


def home_of(uid: int, read: Read) -> str:
    """The home directory of *uid*: ``/`` for one without an entry.  Any id will do."""
    return _find_user(str(uid), read).home if 0 <= uid <= MAX_ID else "/"


def _find_user(text: str, read: Read) -> User:
    wanted = _number(text)
    name = os.fsencode(text)
    for fields in _lines(read, PASSWD, 4):
        uid, gid = _id(fields[2]), _id(fields[3])
        if uid is None or gid is None:
            continue
        if (uid == wanted) if wanted is not None else (fields[0] == name):
            home = fields[5] if len(fields) > 5 and b"\0" not in fields[5] else b""
            return User(
                uid=uid, gid=gid, home=os.fsdecode(home) or "/", name=os.fsdecode(fields[0])
            )
    if wanted is None:
        raise UsageError(
            f"no user {text!r} in the container's {PASSWD}",
            hint="name one that the image has, or a number",
        )
    return User(uid=_in_range(wanted, text))


def _find_group(text: str, read: Read) -> int:
    wanted = _number(text)
    if wanted is not None:
        return _in_range(wanted, text)
    name = os.fsencode(text)
    for fields in _lines(read, GROUP, 3):
        gid = _id(fields[2])
        if gid is not None and fields[0] == name:
            return gid
    raise UsageError(
        f"no group {text!r} in the container's {GROUP}",
        hint="name one that the image has, or a number",
    )


def _groups_of(name: str, read: Read) -> tuple[int, ...]:
    member = os.fsencode(name)
    if not member:
        return ()
    found = (
        _id(fields[2])
        for fields in _lines(read, GROUP, 4)
        if member in fields[3] and member in fields[3].split(b",")
    )
    return tuple(dict.fromkeys(gid for gid in found if gid is not None))


def _lines(read: Read, path: str, least: int) -> Iterator[list[bytes]]:
    """The lines of *path* with at least so many fields."""
    for line in (read(path) or b"").split(b"\n"):
        fields = line.strip().split(b":")
        if len(fields) >= least:
            yield fields


def _id(field: bytes) -> int | None:
    text = field.decode("ascii", "replace")
    number = _number(text)
    return number if number is not None and 0 <= number <= MAX_ID else None


def _number(text: str) -> int | None:
    """*text* as a number, where Go's Atoi would take it for one; sizes beyond sense included."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    # int() refuses more than 4,300 digits, and nobody needs to know which number it is.
    value = int(digits.lstrip("0")[:32] or "0")
    return -value if text[0] == "-" else value


def _in_range(number: int, text: str) -> int:
    if not 0 <= number <= MAX_ID:
        raise UsageError(f"{text:.40} is not an id: ids go from 0 to {MAX_ID}")
    return number
