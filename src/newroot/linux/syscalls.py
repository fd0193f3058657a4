"""System calls by name and number, for each architecture that newroot makes filters for.

Architectures are called what ``uname -m`` calls them.  The tables are text until they are asked
for: one takes some 150 microseconds to read.
"""

from __future__ import annotations

from newroot.errors import UnsupportedError

#: x32 is the x86_64 kernel entered with this bit set in the number: syscall(2).
X32_SYSCALL_BIT = 0x4000_0000

ARCHES = ("x86_64", "i386", "x32", "aarch64", "arm")

_tables: dict[str, dict[str, int]] = {}


def native_arch() -> str:
    """The architecture of this kernel, also where personality(2) hides it (``setarch i686``).

    Raises UnsupportedError when there is no table for it.
    """
    import os
    import sys

    machine = os.uname().machine
    wide = sys.maxsize > 2**32
    if machine in ("x86_64", "amd64") or (machine[:1] == "i" and machine[2:] == "86"):
        return "x86_64" if wide or machine == "x86_64" else "i386"
    if machine.startswith(("aarch64", "arm64", "armv8")):
        return "aarch64" if wide or machine.startswith("aarch64") else "arm"
    if machine.startswith("arm"):
        return "arm"
    raise UnsupportedError(
        f"newroot has no system call numbers for {machine}",
        feature=f"seccomp on {machine}",
        tried="uname -m",
    )


def table(arch: str) -> dict[str, int]:
    """Every system call of *arch*, by name.  Do not change it; it is shared.

    x32 numbers carry their bit.  Raises KeyError for an architecture not in ``ARCHES``.
    """
    if arch not in _tables:
        _tables[arch] = _read(arch)
    return _tables[arch]


def number(name: str, arch: str) -> int | None:
    """The number of a system call; None when *arch* does not have it."""
    return table(arch).get(name)


def call(name: str, *args: object) -> int:
    """Make a system call.  Raises OSError with the call as its file name."""
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    number = table(native_arch())[name]
    words = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    libc.syscall.restype = ctypes.c_long
    result: int = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed), name)
    return result


def name_of(number: int, arch: str | None = None) -> str | None:
    """The name of a system call's number on *arch*, by default this machine's; None if unknown."""
    return next((name for name, n in table(arch or native_arch()).items() if n == number), None)


def _read(arch: str) -> dict[str, int]:
    from newroot.linux import syscall_tables

    if arch not in ARCHES:
        raise KeyError(arch)
    following = bit = X32_SYSCALL_BIT if arch == "x32" else 0
    numbers: dict[str, int] = {}
    text: str = getattr(syscall_tables, arch.upper())
    for word in text.split():
        if word.isdigit():
            following = bit + int(word)
        else:
            numbers[word] = following
            following += 1
    return numbers
