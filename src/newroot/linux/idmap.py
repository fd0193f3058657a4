"""Id maps: which ids inside a user namespace are which ids outside: user_namespaces(7).

Pure but for ``read_subids``.  A map is a tuple of ``IdMap``, one for each line of uid_map.  The
messages speak of ``container_id`` and ``host_id``, as the OCI runtime specification does.
"""

from __future__ import annotations

import os

from newroot.errors import SpecError, UsageError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: 4294967295 is (uid_t) -1, "leave it as it is" to chown(2), so no map may hold it.
MAX_ID = 0xFFFF_FFFE
#: Since Linux 4.15; it was 5 before: user_namespaces(7).
MAX_LINES = 340


@record
class IdMap:
    """*size* ids from *container_id* on are the ids from *host_id* on."""

    container_id: int
    host_id: int
    size: int


IDENTITY = (IdMap(container_id=0, host_id=0, size=MAX_ID + 1),)


def parse(text: str) -> tuple[IdMap, ...]:
    """Parse the lines of /proc/PID/uid_map, or ``0:100000:65536`` with commas or newlines between.

    Raises UsageError when a line is not three numbers.
    """
    lines = text.replace(",", "\n").split("\n")
    return tuple(_parse_line(line) for line in lines if line.strip())


def format(maps: Iterable[IdMap]) -> str:
    """The text for /proc/PID/uid_map."""
    return "".join(f"{each.container_id} {each.host_id} {each.size}\n" for each in maps)


def from_oci(untrusted: object, *, pointer: str) -> tuple[IdMap, ...]:
    """Read ``uidMappings`` of a runtime config; *pointer* is where it stands.  Raises SpecError."""
    if untrusted is None:
        return ()
    if not isinstance(untrusted, list):
        raise SpecError("must be a list of id maps", pointer=pointer)
    maps = tuple(_from_oci(item, f"{pointer}/{i}") for i, item in enumerate(untrusted))
    validate(maps, pointer=pointer)
    return maps


def validate(maps: Sequence[IdMap], *, pointer: str | None = None) -> None:
    """Refuse what the kernel would refuse with a bare EINVAL.

    Raises UsageError, or SpecError below *pointer* when there is one.
    """
    if len(maps) > MAX_LINES:
        raise _wrong(f"{len(maps)} lines are more than the kernel's {MAX_LINES}", pointer)
    for index, each in enumerate(maps):
        here = None if pointer is None else f"{pointer}/{index}"
        if each.size < 1:
            raise _wrong("the size of an id map must be at least 1", here)
        for what, start in (("container_id", each.container_id), ("host_id", each.host_id)):
            if start < 0 or start + each.size - 1 > MAX_ID:
                raise _wrong(f"{what} {start} with size {each.size} goes beyond {MAX_ID}", here)
    _refuse_overlap(maps, "container_id", pointer)
    _refuse_overlap(maps, "host_id", pointer)


def to_host(maps: Iterable[IdMap], container_id: int) -> int | None:
    """The id outside of *container_id*; None when it has none."""
    for each in maps:
        if 0 <= container_id - each.container_id < each.size:
            return each.host_id + container_id - each.container_id
    return None


def to_container(maps: Iterable[IdMap], host_id: int) -> int | None:
    """The id inside of *host_id*; None when it has none."""
    for each in maps:
        if 0 <= host_id - each.host_id < each.size:
            return each.container_id + host_id - each.host_id
    return None


def read_subids(
    path: str, *, name: str, number: int, text: bytes | None = None
) -> tuple[tuple[int, int], ...]:
    """The ranges (first, size) that /etc/subuid or /etc/subgid gives to a user: subuid(5).

    Lines may name the user or write its number; broken lines are passed over, as
    newuidmap(1) does.  A missing file is no ranges.  *text* stands in for the file.
    """
    if text is None:
        try:
            with open(path, "rb") as file:
                text = file.read()
        except FileNotFoundError:
            return ()
    owners = (os.fsencode(name), b"%d" % number)
    found = (_subid_line(line, owners) for line in text.split(b"\n"))
    return tuple(each for each in found if each is not None)


def rootless(own_id: int, subids: Iterable[tuple[int, int]]) -> tuple[IdMap, ...]:
    """The usual map of a rootless container: root is *own_id*, the rest are its *subids*."""
    maps = [IdMap(container_id=0, host_id=own_id, size=1)]
    following = 1
    for first, size in subids:
        maps.append(IdMap(container_id=following, host_id=first, size=size))
        following += size
    return tuple(maps)


def _parse_line(line: str) -> IdMap:
    fields = line.replace(":", " ").split()
    if len(fields) != 3 or not all(map(_is_number, fields)):
        raise UsageError(
            f"{line.strip()!r} is not an id map", hint="write CONTAINER_ID:HOST_ID:SIZE"
        )
    container_id, host_id, size = map(int, fields)
    return IdMap(container_id=container_id, host_id=host_id, size=size)


def _from_oci(untrusted: object, pointer: str) -> IdMap:
    if not isinstance(untrusted, dict):
        raise SpecError("must be an object", pointer=pointer)
    return IdMap(
        container_id=_number(untrusted, "containerID", pointer),
        host_id=_number(untrusted, "hostID", pointer),
        size=_number(untrusted, "size", pointer),
    )


def _number(untrusted: dict[str, object], key: str, pointer: str) -> int:
    value = untrusted.get(key)
    if value is None:
        raise SpecError("missing", pointer=f"{pointer}/{key}")
    if type(value) is not int or not 0 <= value <= 0xFFFF_FFFF:
        raise SpecError("must be an integer from 0 to 4294967295", pointer=f"{pointer}/{key}")
    return value


def _refuse_overlap(maps: Sequence[IdMap], side: str, pointer: str | None) -> None:
    end = 0
    for start, size in sorted((getattr(each, side), each.size) for each in maps):
        if start < end:
            raise _wrong(f"{side} {start} is mapped twice", pointer)
        end = start + size


def _wrong(message: str, pointer: str | None) -> UsageError:
    return UsageError(message) if pointer is None else SpecError(message, pointer=pointer)


def _subid_line(line: bytes, owners: tuple[bytes, bytes]) -> tuple[int, int] | None:
    fields = line.split(b":")
    if len(fields) != 3 or fields[0] not in owners:
        return None
    first, size = (field.decode("ascii", "replace").strip() for field in fields[1:])
    if not _is_number(first) or not _is_number(size):
        return None
    usable = int(size) > 0 and int(first) + int(size) - 1 <= MAX_ID
    return (int(first), int(size)) if usable else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10
