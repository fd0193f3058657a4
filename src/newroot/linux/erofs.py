"""Layers that are one EROFS file: read without mounting them anywhere.

A file system that fsmount(2) gives has no place in any mount namespace: it is there for whoever
holds a descriptor of it, and gone with the last one.  Takes Linux 6.12 (file-backed mounts, commit
fb176750266a) and CAP_SYS_ADMIN in the first user namespace.
"""

from __future__ import annotations

import errno
import os

from newroot.errors import ImageError, NewrootError, UnsupportedError
from newroot.linux import constants as c
from newroot.linux.paths import EROFS_SUFFIX


def open_layer(path: str, flags: int) -> int:
    """A descriptor of a layer's root, whether it is a directory or an EROFS file.

    *flags* are open(2)'s.  Raises OSError; UnsupportedError where EROFS cannot be had here,
    ImageError when the file is damaged.
    """
    if not path.endswith(EROFS_SUFFIX):
        return os.open(path, flags)
    mount = _mounted(path)
    try:
        return os.open(".", flags & ~os.O_NOFOLLOW, dir_fd=mount)
    finally:
        os.close(mount)


def why_not(directory: str) -> str | None:
    """Why an EROFS file in *directory* cannot be mounted here, found out by mounting one."""
    from newroot.linux.erofs_format import nothing

    fd = os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, nothing())
        os.close(_mounted(f"/proc/self/fd/{fd}"))
    except NewrootError as error:
        return error.hint or str(error)
    finally:
        os.close(fd)
    return None


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


def _refused(path: str, error: OSError) -> NewrootError:
    number = error.errno or 0
    words = f"read the layer {path}: {os.strerror(number)} ({errno.errorcode.get(number, number)})"
    hints = {
        errno.ENODEV: "this kernel has no EROFS: modprobe erofs, or use layers as directories",
        errno.ENOTBLK: "EROFS straight from a file takes Linux 6.12 and CONFIG_EROFS_FS_BACKED_BY"
        "_FILE",
        errno.EPERM: "only root of the whole machine may mount EROFS",
    }
    if number not in hints:
        return ImageError(words, hint="newroot doctor --repair makes it anew from its blob")
    return UnsupportedError(words, feature="erofs", tried=str(error.filename), hint=hints[number])
