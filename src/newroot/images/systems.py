"""Images of a distribution's own packages, installed by its own tools: ``image bootstrap``.

    debian, ubuntu          mmdebstrap, else debootstrap
    fedora, centos, rocky   dnf --installroot
    alpine                  apk, or a minirootfs file that is here already

Each tool is asked for a root in a private directory; what it made goes through our own packer into
one layer, owners, attributes and all.  With SOURCE_DATE_EPOCH no time in it is later, what the
tools leave of logs and caches is not in it, and the same packages give the same image as far as the
tools do (rpm writes the time of installation into its database before version 4.20).
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile

from newroot.errors import ImageError, UnsupportedError, UsageError
from newroot.images.flat import import_tar, source_date_epoch, timestamp
from newroot.images.pack import Packer, gathered
from newroot.linux.merged_tree import walk
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from newroot.images.store import Image, ImageStore

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SAID_MAX = 600


@record
class Wanted:
    """What to bootstrap; what is left out is the distribution's default."""

    release: str
    mirror: str | None = None
    packages: tuple[str, ...] = ()  #: for rpm and apk all that is asked for, for deb in addition
    variant: str | None = None  #: mmdebstrap's and debootstrap's word
    keyring: str | None = None  #: a file of keys that packages or the mirror are signed with


@record
class System:
    """One distribution."""

    release: str  #: by default
    make: Callable[[str, Wanted, dict[str, str]], None]  #: fills a directory
    command: tuple[str, ...]
    #: what the tools leave that is not the system's; with a slash at the end, all in a directory
    without: tuple[str, ...] = ()


def bootstrap_system(
    store: ImageStore,
    system: str,
    name: str | None = None,
    *,
    mirror: str | None = None,
    packages: Sequence[str] = (),
    variant: str | None = None,
    keyring: str | None = None,
) -> Image:
    """Make an image of *system*, as ``debian`` or ``debian:trixie``, and call it *name*.

    Raises UsageError for a system that is not known, UnsupportedError when its tool is not here,
    ImageError when the tool fails; nothing is left then.
    """
    distribution, _, release = system.partition(":")
    known = SYSTEMS.get(distribution)
    if known is None:
        raise UsageError(f"bootstrap {system!r}", hint=f"one of {', '.join(SYSTEMS)}, busybox")
    wanted = Wanted(
        release=release or known.release,
        mirror=mirror,
        packages=tuple(packages),
        variant=variant,
        keyring=keyring,
    )
    epoch = source_date_epoch(os.environ)
    os.makedirs(store.root, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.root, prefix=".bootstrap-") as directory:
        root = f"{directory}/root"
        os.mkdir(root, 0o755)
        # The tools are newroot's guests: none of the caller's settings is theirs to see.
        keep = ("PATH", "SOURCE_DATE_EPOCH", "http_proxy", "https_proxy", "no_proxy", "TMPDIR")
        environment = {key: os.environ[key] for key in keep if key in os.environ}
        known.make(root, wanted, {**environment, "LC_ALL": "C.UTF-8", "HOME": directory})
        chunks = gathered(_members(root, known.without, epoch))
        return import_tar(
            store,
            io.BufferedReader(_Chunks(chunks)),
            name or f"{distribution}:{wanted.release}",
            command=known.command,
            env={"PATH": PATH},
            created=timestamp(epoch),
            created_by=f"newroot image bootstrap {distribution}:{wanted.release}",
        )


def _members(root: str, without: tuple[str, ...], epoch: int | None) -> Iterator[bytes]:
    packer = Packer(what="the bootstrapped root", epoch=epoch)
    for found in walk([root], without=_Left(without)):
        yield from packer.file(found.path, found.parent, found.name, found.status)
    yield packer.end()


class _Left:
    """Paths that tools leave behind; one that ends with a slash stays, and is emptied."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        self._paths = frozenset(map(os.fsencode, paths))

    def __contains__(self, path: object) -> bool:
        return isinstance(path, bytes) and (
            path in self._paths or path.rpartition(b"/")[0] + b"/" in self._paths
        )


class _Chunks(io.RawIOBase):
    """Chunks as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if not self._left:
            self._left = next(self._chunks, b"")
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


# ── tools ────────────────────────────────────────────────────────────────────────────────────


def _find(*tools: tuple[str, str]) -> str:
    """The first of *tools* (program, Debian's package) that is here."""
    for program, _ in tools:
        found = shutil.which(program)
        if found is not None:
            return found
    names = " or ".join(program for program, _ in tools)
    raise UnsupportedError(
        f"bootstrap: there is no {names} on this host",
        feature=tools[0][0],
        tried=f"looked for {names} in PATH",
        hint=f"apt-get install {tools[0][1]}",
    )


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip().replace("\n", "; ")[-_SAID_MAX:]
        raise ImageError(
            f"bootstrap: {os.path.basename(command[0])} failed with code {done.returncode}: {said}",
            hint="it was " + " ".join(command),
        )


def _debian(root: str, wanted: Wanted, environment: dict[str, str]) -> None:
    tool = _find(("mmdebstrap", "mmdebstrap"), ("debootstrap", "debootstrap"))
    command = [tool, f"--variant={wanted.variant or 'minbase'}"]
    if wanted.packages:
        command.append(f"--include={','.join(wanted.packages)}")
    if wanted.keyring:
        command.append(f"--keyring={wanted.keyring}")
    if tool.endswith("mmdebstrap"):
        command.append("--format=directory")
    _run([*command, wanted.release, root, *([wanted.mirror] if wanted.mirror else [])], environment)


def _dnf(mirror: str, packages: tuple[str, ...]) -> Callable[[str, Wanted, dict[str, str]], None]:
    """*mirror* has ``{release}`` and ``{arch}`` in it."""

    def make(root: str, wanted: Wanted, environment: dict[str, str]) -> None:
        tool = _find(("dnf", "dnf"), ("dnf5", "dnf5"))
        where = (wanted.mirror or mirror).format(release=wanted.release, arch=os.uname().machine)
        if wanted.keyring is None and not where.startswith(("https://", "file://")):
            raise UsageError(
                f"bootstrap from {where}: nothing says that its packages are genuine",
                hint="--keyring FILE, or an https:// mirror",
            )
        command = [
            tool, "-y", "--quiet", f"--installroot={root}", f"--releasever={wanted.release}",
            f"--repofrompath=newroot,{where}", "--repo=newroot",
            "--setopt=install_weak_deps=False", "--setopt=keepcache=False",
            "--setopt=tsflags=nodocs",
            f"--setopt=newroot.gpgcheck={int(wanted.keyring is not None)}",
        ]  # fmt: skip
        if wanted.keyring is not None:
            command.append(f"--setopt=newroot.gpgkey=file://{os.path.abspath(wanted.keyring)}")
        _run([*command, "install", *(wanted.packages or packages)], environment)

    return make


def _apk(root: str, wanted: Wanted, environment: dict[str, str]) -> None:
    mirror = wanted.mirror or f"https://dl-cdn.alpinelinux.org/alpine/v{wanted.release}/main"
    if os.path.isfile(mirror):
        _run(["tar", "-x", "--numeric-owner", "-p", "-f", mirror, "-C", root], environment)
        return
    tool = _find(("apk", "apk-tools"), ("apk.static", "apk-tools"))
    keys = ["--keys-dir", wanted.keyring] if wanted.keyring else []
    command = [tool, "--root", root, "--initdb", "--update-cache", "--no-cache", "-X", mirror]
    _run([*command, *keys, "add", *(wanted.packages or ("alpine-base",))], environment)


_RPM_LEFT = (
    "var/cache/dnf", "var/cache/libdnf5", "var/lib/dnf", "var/log/dnf.log",
    "var/log/dnf.librepo.log",
    "var/log/dnf.rpm.log", "var/log/hawkey.log", "dev/", "proc/", "sys/",
)  # fmt: skip
_DEB_LEFT = (
    "var/cache/apt/archives/", "var/cache/apt/pkgcache.bin", "var/cache/apt/srcpkgcache.bin",
    "var/lib/apt/lists/", "var/log/apt/", "var/log/dpkg.log", "var/log/bootstrap.log",
    "var/log/alternatives.log", "var/cache/ldconfig/aux-cache", "etc/machine-id", "dev/",
)  # fmt: skip
_RPM_BASE = ("basesystem", "bash", "coreutils", "glibc-minimal-langpack")

SYSTEMS = {
    "debian": System(release="stable", make=_debian, command=("bash",), without=_DEB_LEFT),
    "ubuntu": System(release="noble", make=_debian, command=("bash",), without=_DEB_LEFT),
    "fedora": System(
        release="43",
        make=_dnf(
            "https://dl.fedoraproject.org/pub/fedora/linux/releases/{release}/Everything/{arch}/os/",
            (*_RPM_BASE, "fedora-release-container"),
        ),
        command=("bash",),
        without=_RPM_LEFT,
    ),
    "centos": System(
        release="10",
        make=_dnf(
            "https://mirror.stream.centos.org/{release}-stream/BaseOS/{arch}/os/",
            (*_RPM_BASE, "centos-stream-release"),
        ),
        command=("bash",),
        without=_RPM_LEFT,
    ),
    "rocky": System(
        release="10",
        make=_dnf(
            "https://dl.rockylinux.org/pub/rocky/{release}/BaseOS/{arch}/os/",
            (*_RPM_BASE, "rocky-release"),
        ),
        command=("bash",),
        without=_RPM_LEFT,
    ),
    "alpine": System(release="3.22", make=_apk, command=("sh",)),
}
