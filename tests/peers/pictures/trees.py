"""An image with one of everything, and what a container would see of a root, to be compared."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from newroot.images.store import Image


def run(*command: object, **options) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, **options
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


# ── an image with one of everything ──────────────────────────────────────────────────────────


def fill_first(root: Path) -> None:
    for name in ("etc", "usr/lib", "gone", "opaque/old", "becomes-file", "var/empty"):
        (root / name).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    os.chown(root / "etc/passwd", 12, 34)
    (root / "usr/lib/setuid").write_bytes(b"x" * 100_000)
    os.chmod(root / "usr/lib/setuid", 0o4711)
    os.link(root / "usr/lib/setuid", root / "usr/lib/hard")
    os.symlink("/etc/passwd", root / "absolute")
    os.symlink("usr/lib", root / "lib")
    os.mkfifo(root / "fifo", 0o620)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(root / "etc", "user.note", b"a directory")
    os.setxattr(root / "etc/passwd", "user.note", b"two\nlines")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(root / "etc/passwd", "security.capability", capability)
    (root / ("long" * 40)).write_text("a long name")
    os.makedirs(root / "/".join(["deep" * 20] * 8))
    Path(os.fsdecode(bytes(os.fsencode(root)) + b"/caf\xe9")).write_text("no text")
    with open(root / "sparse", "wb") as file:
        file.seek(8 << 20)
        file.write(b"end")
    (root / "gone/file").write_text("x")
    (root / "opaque/old/file").write_text("x")
    (root / "replaced").write_text("old")
    os.chmod(root / "var/empty", 0o1777)
    for path in (root / "etc/passwd", root / "var/empty"):
        os.utime(path, ns=(0, 1_600_000_000_123_456_789))


def fill_second(root: Path) -> None:
    run("rm", "-r", root / "gone", root / "opaque", root / "becomes-file")
    (root / "opaque").mkdir(mode=0o750)
    (root / "opaque/new").write_text("new")
    (root / "becomes-file").write_text("now a file")
    (root / "replaced").unlink()
    (root / "replaced").mkdir()
    (root / "replaced/now").write_text("a directory")
    (root / "usr/lib/added").write_text("added")


def fill_third(root: Path) -> None:
    (root / "replaced/now").unlink()
    os.chmod(root / "usr/lib/added", 0o600)
    (root / "gone").mkdir()
    (root / "gone/again").write_text("x")


def tree(root: Path) -> dict[str, object]:
    """Everything that a container could see of a root."""
    found: dict[str, object] = {}
    links: dict[tuple[int, int], list[str]] = {}
    for directory, names, files in os.walk(root):
        for name in ["", *files, *(n for n in names if os.path.islink(os.path.join(directory, n)))]:
            path = os.path.join(directory, name).rstrip("/")
            status = os.lstat(path)
            key = os.path.relpath(path, root)
            found[key] = describe(path, status)
            if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
                links.setdefault((status.st_dev, status.st_ino), []).append(key)
    # An overlay goes on counting the links of a file that it has copied up.
    found["hard links"] = sorted(sorted(group) for group in links.values() if len(group) > 1)
    return found


def describe(path: str, status: os.stat_result) -> tuple[object, ...]:
    content: object = None
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    xattrs = {
        key: os.getxattr(path, key, follow_symlinks=False)
        for key in os.listxattr(path, follow_symlinks=False)
        if ".overlay." not in key
    }
    times = None if os.path.basename(path) in ("rootfs", "merged") else status.st_mtime_ns
    return (
        oct(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_rdev,
        times,
        content,
        xattrs,
    )


@contextlib.contextmanager
def merged(image: Image, directory: Path) -> Iterator[Path]:
    """An image's layers under one overlay, read-only."""
    target, empty = directory / "merged", directory / "empty"
    target.mkdir()
    empty.mkdir()
    lower = ":".join([*image.layers, str(empty)])  # two at least, or it needs an upper
    run("mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={lower}", target)
    try:
        yield target
    finally:
        run("umount", target)


def same(expected: dict[str, object], image: Image, directory: Path) -> None:
    with merged(image, directory) as root:
        ours = tree(root)
    differing = {
        key: (expected.get(key), ours.get(key))
        for key in expected.keys() | ours.keys()
        if expected.get(key) != ours.get(key)
    }

    assert {} == differing
