"""Small root filesystems, made of what the host has: no network, a few milliseconds.

``tiny_root`` needs a statically linked busybox (Debian: ``busybox-static``), because a root of one
program has no loader and no libraries.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

from newroot.testing.needs import Missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike

_DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var/tmp")
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/os-release": "ID=tiny\nNAME=tiny\n",
}
_STICKY = ("tmp", "var/tmp")


@cache
def find_busybox() -> str:
    """The path of a static busybox that works, or raise ``Missing``."""
    candidates = [shutil.which("busybox.static"), shutil.which("busybox"), "/bin/busybox"]
    for candidate in candidates:
        if candidate is None or not os.access(candidate, os.X_OK):
            continue
        if not _is_static(candidate):
            continue
        return os.path.realpath(candidate)
    raise Missing("no statically linked busybox (Debian: busybox-static)")


def tiny_root(path: str | PathLike[str]) -> str:
    """Make a root filesystem with busybox and its applets at *path*, and return the path.

    The tree belongs to whoever calls.  Raises ``Missing`` without a static busybox.
    """
    root = os.fspath(path)
    for directory in _DIRECTORIES:
        os.makedirs(os.path.join(root, directory), exist_ok=True)
    for directory in _STICKY:
        os.chmod(os.path.join(root, directory), 0o1777)
    for name, content in _FILES.items():
        with open(os.path.join(root, name), "w") as file:
            file.write(content)
    busybox = find_busybox()
    shutil.copy(busybox, os.path.join(root, "bin/busybox"))
    for applet in _applets(busybox):
        os.symlink("busybox", os.path.join(root, "bin", applet))
    return root


@cache
def _applets(busybox: str) -> tuple[str, ...]:
    listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    return tuple(name for name in listed.stdout.split() if name != "busybox")


def _is_static(path: str) -> bool:
    # PT_INTERP holds the loader's path; a static program has no such segment (elf(5)).
    with open(path, "rb") as file:
        head = file.read(4096)
    if head[:4] != b"\x7fELF" or head[4] != 2:
        return False
    at = int.from_bytes(head[32:40], "little")
    size, count = (int.from_bytes(head[n : n + 2], "little") for n in (54, 56))
    kinds = {
        int.from_bytes(head[at + n * size : at + n * size + 4], "little") for n in range(count)
    }
    return 3 not in kinds  # PT_INTERP
