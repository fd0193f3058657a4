"""``--fake-chown``: where a user namespace has one id, calls that want others say that they did it.

An image's package manager gives files to users that such a namespace does not have, and the kernel
says EINVAL.  A filter that returns 0 and does nothing lets it go on; every file stays the one id's,
as it would have been anyway.  The calls are those that Charliecloud's root emulation found to be
enough for dpkg, rpm and apk; apt, which looks whether it has become _apt, wants
``-o APT::Sandbox::User=root``.

Nothing is gained by it: what is not done needs no permission.
"""

from __future__ import annotations

import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OWNERS = (
    *("chown", "chown32", "lchown", "lchown32", "fchown", "fchown32", "fchownat"),
    *("setgroups", "setgroups32"),
)
#: Those of a device; a fifo, a socket or a plain file is made as ever.
_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)
_KIND = 0o170000  # S_IFMT: inode(7)
_MODE_OF = (("mknod", 1), ("mknodat", 2))


def fake_ids_filter() -> tuple[bytes, int]:
    """The program and its flags, for every architecture that this machine's kernel can be entered
    by: loaded beside a container's own filter, of whose refusals it takes none away."""
    from newroot.isolation.seccomp import compile_filter

    return compile_filter(fake_ids_profile())


def fake_ids_profile() -> dict[str, Any]:
    """The same as an OCI seccomp object."""
    from newroot.isolation.seccomp_default import own_architectures

    done = {"action": "SCMP_ACT_ERRNO", "errnoRet": 0}
    devices = [
        {"names": [name], **done, "args": [_is_kind(place, kind)]}
        for name, place in _MODE_OF
        for kind in _DEVICES
    ]
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": own_architectures(),
        "syscalls": [{"names": list(_OWNERS), **done}, *devices],
    }


def _is_kind(argument: int, kind: int) -> dict[str, Any]:
    return {
        "index": argument,
        "value": _KIND,
        "valueTwo": kind,
        "op": "SCMP_CMP_MASKED_EQ",
    }
