"""The attributes of a mount by their names in mount(8), as mount_setattr(2) takes them.

Each row is (bits to set, bits to clear).  The access-time modes are one field of three bits; its
words are those of mount(2), where strictatime goes before noatime, and that before relatime,
which is the default: fs/namespace.c, path_mount.
"""

from __future__ import annotations

from newroot.errors import UsageError
from newroot.linux import constants as k

_ATIME = k.MOUNT_ATTR__ATIME
#: Each turns one of mount(2)'s flags on or off, or means what is the case anyway.
_ATIME_WORDS: dict[str, tuple[str, bool]] = {
    "relatime": ("", True),
    "norelatime": ("", True),
    "strictatime": ("strict", True),
    "nostrictatime": ("strict", False),
    "noatime": ("no", True),
    "atime": ("no", False),
}

ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (k.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, k.MOUNT_ATTR_RDONLY),
    "nosuid": (k.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, k.MOUNT_ATTR_NOSUID),
    "nodev": (k.MOUNT_ATTR_NODEV, 0),
    "dev": (0, k.MOUNT_ATTR_NODEV),
    "noexec": (k.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, k.MOUNT_ATTR_NOEXEC),
    "nosymfollow": (k.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, k.MOUNT_ATTR_NOSYMFOLLOW),
    **dict.fromkeys(_ATIME_WORDS, (0, 0)),
    "nodiratime": (k.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, k.MOUNT_ATTR_NODIRATIME),
}

PROPAGATIONS: dict[str, int] = {
    "shared": k.MS_SHARED,
    "slave": k.MS_SLAVE,
    "private": k.MS_PRIVATE,
    "unbindable": k.MS_UNBINDABLE,
}


def attribute_bits(flags: tuple[str, ...]) -> tuple[int, int]:
    """The bits to set and to clear for *flags*; a later flag wins over an earlier one.

    Raises UsageError for a name that mount(8) does not know as an attribute.
    """
    set_, clear = 0, 0
    times: dict[str, bool] = {}
    for flag in flags:
        if flag not in ATTRIBUTES:
            raise UsageError(f"unknown mount flag {flag!r}")
        if flag in _ATIME_WORDS:
            name, on = _ATIME_WORDS[flag]
            times[name] = on
            continue
        bits, off = ATTRIBUTES[flag]
        set_ = (set_ & ~off) | bits
        clear = (clear & ~bits) | off
    if times:
        clear |= _ATIME
        if times.get("strict"):
            set_ |= k.MOUNT_ATTR_STRICTATIME
        elif times.get("no"):
            set_ |= k.MOUNT_ATTR_NOATIME
    return set_, clear


def propagation_bits(name: str) -> tuple[int, bool]:
    """The MS_* of a propagation and whether it goes for all mounts below: ``rslave``."""
    plain = name[1:] if name[0] == "r" and name[1:] in PROPAGATIONS else name
    if plain not in PROPAGATIONS:
        raise UsageError(f"unknown mount propagation {name!r}")
    return PROPAGATIONS[plain], plain != name
