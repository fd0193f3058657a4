"""Read and write the lines of /proc/PID/mountinfo: proc_pid_mountinfo(5).

Pure: text in, records out.  Paths are ``str`` with surrogate escapes, as ``os.fsdecode`` makes
them, so any bytes that the kernel can hold survive the round trip.  The kernel escapes space, tab,
newline, backslash (and ``#`` in the source) as octal; everything else it writes as it is.
"""

from __future__ import annotations

import os

from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


@record
class Mount:
    """One mount, as mountinfo tells it."""

    id: int
    parent: int
    dev: tuple[int, int]
    root: str  #: which directory of the file system is mounted; ``//deleted`` ends a removed one
    mount_point: str
    options: tuple[str, ...]  #: of this mount: ``rw``, ``nosuid``, ``relatime``
    shared: int | None = None  #: peer group
    master: int | None = None  #: peer group that it receives from
    propagate_from: int | None = None
    unbindable: bool = False
    other_fields: tuple[str, ...] = ()  #: optional fields that we do not know; keep them
    fstype: str
    source: str
    super_options: tuple[str, ...]  #: of the file system, shared by all its mounts

    @property
    def propagation(self) -> str:
        """``shared``, ``slave``, ``shared,slave``, ``unbindable`` or ``private``."""
        if self.shared is not None:
            return "shared" if self.master is None else "shared,slave"
        if self.master is not None:
            return "slave"
        return "unbindable" if self.unbindable else "private"

    @property
    def readonly(self) -> bool:
        """Whether writing is refused, by the mount or by the file system below it."""
        return "ro" in self.options or "ro" in self.super_options


def read_mounts(pid: int | str = "self") -> tuple[Mount, ...]:
    """The mounts that process *pid* sees, in the kernel's order.

    Raises OSError when there is no such process.
    """
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        return parse_mountinfo(file.read())


def parse_mountinfo(text: bytes | str) -> tuple[Mount, ...]:
    """Parse a whole mountinfo file.  Raises ValueError that names the line that cannot be one."""
    decoded = os.fsdecode(text)
    # Not splitlines(): a path may hold \r, \f or U+2028, which the kernel does not escape.
    return tuple(parse_mount(line) for line in decoded.split("\n") if line)


def parse_mount(line: str) -> Mount:
    """Parse one line.  Raises ValueError."""
    # Not split(): only the single space divides; \x0b or U+00A0 may be inside a path.
    fields = line.rstrip("\n").split(" ")
    try:
        dash = fields.index("-", 6)
        major, minor = fields[2].split(":")
        fstype, source, super_options = (fields[dash + 1 :] + ["", "", ""])[:3]
        return Mount(
            id=int(fields[0]),
            parent=int(fields[1]),
            dev=(int(major), int(minor)),
            root=unescape(fields[3]),
            mount_point=unescape(fields[4]),
            options=_options(fields[5]),
            fstype=unescape(fstype),
            source=unescape(source),
            super_options=_options(super_options),
            **_optional(fields[6:dash]),  # type: ignore[arg-type]
        )
    except (ValueError, IndexError):
        raise ValueError(f"not a line of mountinfo: {line[:200]!r}") from None


def format_mounts(mounts: Iterable[Mount]) -> str:
    """The mountinfo file of *mounts*: the inverse of ``parse_mountinfo``."""
    return "".join(format_mount(mount) + "\n" for mount in mounts)


def format_mount(mount: Mount) -> str:
    """The line of *mount*, without its newline: the inverse of ``parse_mount``."""
    tagged = (("shared", mount.shared), ("master", mount.master))
    optional = [f"{tag}:{group}" for tag, group in tagged if group is not None]
    if mount.propagate_from is not None:
        optional.append(f"propagate_from:{mount.propagate_from}")
    if mount.unbindable:
        optional.append("unbindable")
    return " ".join(
        (
            f"{mount.id} {mount.parent} {mount.dev[0]}:{mount.dev[1]}",
            escape(mount.root),
            escape(mount.mount_point),
            ",".join(map(escape, mount.options)),
            *optional,
            *mount.other_fields,
            "-",
            escape(mount.fstype),
            escape(mount.source),
            ",".join(map(escape, mount.super_options)),
        )
    )


def unescape(text: str) -> str:
    """Undo the kernel's octal escapes: ``\\040`` is a space."""
    if "\\" not in text:
        return text
    first, *rest = os.fsencode(text).split(b"\\")
    return os.fsdecode(b"".join((first, *map(_unescape_one, rest))))


def escape(text: str) -> str:
    """Escape what the kernel escapes in a mount table: mangle() in fs/seq_file.c."""
    for char in "\\ \t\n#":
        text = text.replace(char, f"\\{ord(char):03o}")
    return text


def _unescape_one(after_backslash: bytes) -> bytes:
    digits = after_backslash[:3]
    if len(digits) == 3 and all(0x30 <= digit <= 0x37 for digit in digits) and digits < b"400":
        return bytes((int(digits, 8),)) + after_backslash[3:]
    return b"\\" + after_backslash


def _options(field: str) -> tuple[str, ...]:
    # overlay escapes a comma in a path as "\,", and prints the backslash as \134.
    return tuple(map(unescape, field.split(","))) if field else ()


def _optional(fields: list[str]) -> dict[str, object]:
    known: dict[str, object] = {}
    other = []
    for field in fields:
        tag, colon, group = field.partition(":")
        if tag in ("shared", "master", "propagate_from") and colon:
            known[tag] = int(group)
        elif field == "unbindable":
            known["unbindable"] = True
        else:
            other.append(field)
    return {**known, "other_fields": tuple(other)}
