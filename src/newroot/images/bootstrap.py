"""Images from what the host has: so far, from its static busybox.

The same busybox gives the same digest every time: nothing in the image knows when or where it was
made.
"""

from __future__ import annotations

import io
import struct
import subprocess
import tarfile

from newroot.errors import UsageError
from newroot.images.flat import import_tar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.images.store import Image, ImageStore

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_EPOCH = "1970-01-01T00:00:00Z"
_PT_INTERP = 3

_DIRECTORIES = {
    "bin": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "proc": 0o755, "root": 0o700,
    "run": 0o755, "sbin": 0o755, "sys": 0o755, "tmp": 0o1777, "usr": 0o755, "usr/bin": 0o755,
    "usr/sbin": 0o755, "var": 0o755, "var/tmp": 0o1777,
}  # fmt: skip
_FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
        "bin:x:2:2:bin:/bin:/bin/false\n"
        "nobody:x:65534:65534:nobody:/home:/bin/false\n"
    ),
    "etc/group": "root:x:0:\ndaemon:x:1:\nbin:x:2:\nnogroup:x:65534:\n",
}


def bootstrap_busybox(
    store: ImageStore, name: str = "busybox", busybox: str = "/bin/busybox"
) -> Image:
    """Make an image of a static *busybox* with all its applets, and call it *name*.

    Raises UsageError when there is no busybox there, or it needs a loader that the image would
    not have.
    """
    program = _static_program(busybox)
    return import_tar(
        store,
        io.BytesIO(_root(program, _applets(busybox))),
        name,
        command=["sh"],
        env={"PATH": PATH},
        created=_EPOCH,
        created_by="newroot image bootstrap busybox",
    )


def _static_program(path: str) -> bytes:
    hint = "apt-get install busybox-static, or name another with busybox="
    try:
        with open(path, "rb") as file:
            program = file.read()
    except OSError as error:
        raise UsageError(f"read {path}: {error.strerror}", hint=hint) from None
    if not program.startswith(b"\x7fELF"):
        raise UsageError(f"read {path}: it is not a program (ELF)", hint=hint)
    if _PT_INTERP in _segment_types(program):
        raise UsageError(f"read {path}: it is not static but needs a loader", hint=hint)
    return program


def _segment_types(program: bytes) -> list[int]:
    """The p_type of every program header: elf(5)."""
    order = "<" if program[5] == 1 else ">"
    wide = program[4] == 2
    (start,) = struct.unpack_from(order + ("Q" if wide else "I"), program, 32 if wide else 28)
    size, count = struct.unpack_from(order + "HH", program, 54 if wide else 42)
    return [struct.unpack_from(order + "I", program, start + i * size)[0] for i in range(count)]


def _applets(busybox: str) -> list[str]:
    done = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout:
        raise UsageError(f"run {busybox} --list-full: it lists no applets")
    return sorted(set(done.stdout.split()) - {"bin/busybox"})


def _root(program: bytes, applets: list[str]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode in _DIRECTORIES.items():
            tar.addfile(_member(name, tarfile.DIRTYPE, mode))
        _add_file(tar, "bin/busybox", 0o755, program)
        for applet in applets:
            link = _member(applet, tarfile.LNKTYPE, 0o755)
            link.linkname = "bin/busybox"
            tar.addfile(link)
        for name, text in _FILES.items():
            _add_file(tar, name, 0o644, text.encode())
    return made.getvalue()


def _add_file(tar: tarfile.TarFile, name: str, mode: int, data: bytes) -> None:
    member = _member(name, tarfile.REGTYPE, mode)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _member(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = mode
    return member
