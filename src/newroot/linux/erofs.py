"""Layers that are one EROFS file: read without mounting them anywhere.

A file system that fsmount(2) gives has no place in any mount namespace: it is there for whoever
holds a descriptor of it, and gone with the last one.  Takes Linux 6.12 (file-backed mounts, commit
fb176750266a) and CAP_SYS_ADMIN in the first user namespace.
"""

from __future__ import annotations

import errno
import os

from newroot.errors import UnsupportedError
from newroot.linux import constants as c


def open_layer(path: str, flags: int) -> int:
    """A descriptor of a layer's root, whether it is a directory or an EROFS file.

    *flags* are open(2)'s.  Raises OSError; UnsupportedError where the kernel cannot read it.
    """
    if not path.endswith(c.EROFS_SUFFIX):
        return os.open(path, flags)
    mount = _mounted(path)
    try:
        return os.open(".", flags & ~os.O_NOFOLLOW, dir_fd=mount)
    finally:
        os.close(mount)


def _mounted(path: str) -> int:
    from newroot.linux.syscalls import call

    os.stat(path)  # the plain reasons first, in open(2)'s words
    try:
        context = call("fsopen", b"erofs", c.FSOPEN_CLOEXEC)
        try:
            call("fsconfig", context, c.FSCONFIG_SET_FLAG, b"ro", None, 0)
            call("fsconfig", context, c.FSCONFIG_SET_STRING, b"source", os.fsencode(path), 0)
            call("fsconfig", context, c.FSCONFIG_CMD_CREATE, None, None, 0)
            return call("fsmount", context, c.FSMOUNT_CLOEXEC, c.MOUNT_ATTR_RDONLY)
        finally:
            os.close(context)
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: str, error: OSError) -> UnsupportedError:
    number = error.errno or 0
    hints = {
        errno.ENODEV: "this kernel has no EROFS: modprobe erofs, or use layers as directories",
        errno.ENOTBLK: "EROFS straight from a file takes Linux 6.12 and CONFIG_EROFS_FS_BACKED_BY"
        "_FILE",
        errno.EPERM: "only root of the whole machine may mount EROFS",
    }
    return UnsupportedError(
        f"read the layer {path}: {os.strerror(number)} ({errno.errorcode.get(number, number)})",
        feature="erofs",
        tried=f"{error.filename}",
        hint=hints.get(number),
    )
