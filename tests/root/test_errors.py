"""Failures provoked for real: what newroot says of each, and that nothing remains.

Each case is a plan made by hand, carried out by newroot-init; its last step fails.  The words are
the ones in ``plan/diagnose.py`` and docs/reference/errors.md.  What a user namespace refuses is in
tests/kernel/test_errors.py.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import newroot
from newroot.engine import Engine
from newroot.errors import AlreadyExists, StepError
from newroot.images.flat import import_tar
from newroot.isolation.cgroups.cgroup import Cgroup
from newroot.isolation.cgroups.detect import detect
from newroot.linux import syscalls
from newroot.plan import steps as s
from newroot.plan.report import shorten
from newroot.record import record
from newroot.testing.host import host_state
from newroot.testing.needs import needs
from newroot.testing.plans import PRIVATE, failures, without_log
from newroot.testing.roots import find_busybox

pytestmark = needs("root")

#: Other tests' cgroups come and go meanwhile; ours have this in their path.
MARKER = f"newroot-errors-{os.getpid()}"


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Callable[..., StepError]]:
    """Carry out a plan that fails; afterwards nothing of it may be left."""
    with failures(tmp_path) as fails:
        yield fails


def scratch(at: str, *options: str) -> s.MountFs:
    """What a plan made by hand makes, it makes in memory of its own."""
    return s.MountFs(type="tmpfs", source="test", target=at, options=options, on_host=True)


def directories(*paths: str) -> tuple[s.MakeDir, ...]:
    return tuple(s.MakeDir(target=path, on_host=True) for path in paths)


def enter(path: str) -> tuple[s.Step, ...]:
    return s.UseRoot(path=path), s.PivotRoot(root=path)


def overlay(base: str, **changes: object) -> s.MountOverlay:
    usual = {"lower": (f"{base}/a",), "upper": f"{base}/u", "work": f"{base}/w"}
    return s.MountOverlay(**{**usual, "target": f"{base}/m", **changes})  # type: ignore[arg-type]


@record
class Case:
    steps: Callable[[str], tuple[s.Step, ...]]  #: made for a directory, which the texts call T
    says: str  #: all of the message but the step's place
    hint: str
    kernel_log: str = ""  #: the kernel's own words, which older kernels do not say
    namespaces: tuple[str, ...] = ("mount",)


def use(t: str) -> tuple[s.Step, ...]:
    """T/root is the new root."""
    bind = s.BindMount(source=f"{t}/root", target=f"{t}/m", on_host=True)
    return PRIVATE, bind, s.UseRoot(path=f"{t}/m")


def bound(
    target: str, source: str = "a", *, make: bool = True
) -> Callable[[str], tuple[s.Step, ...]]:
    return lambda t: (*use(t), s.BindMount(source=f"{t}/{source}", target=target, make_target=make))


def layers(count: int) -> Callable[[str], tuple[s.Step, ...]]:
    return lambda t: (PRIVATE, overlay(t, lower=tuple(f"/{n}" for n in range(count))))


def in_memory(t: str, *names: str) -> tuple[s.Step, ...]:
    return PRIVATE, scratch(f"{t}/m"), *directories(*(f"{t}/m/{name}" for name in names))


_ALLOW = struct.pack("HBBI", 6, 0, 0, 0x7FFF0000)  # BPF_RET, SECCOMP_RET_ALLOW
_NOT_ROOT = s.SetUser(uid=1000, gid=1000)
_NO_MOUNT_POINT = "bind the directory on itself first: mount --bind"
_PRIVATE_BEFORE = "make the mounts private or slave before: mount --make-rslave /"
_BESIDE = "make two directories beside each other"
_IN_IMAGE = "make in the image what the symlink leads to, or mount somewhere else"
_NO_SPACE = "no space, or no inodes, left on the file system that it is on (ENOSPC)"
_SEE_DF = "see df and df -i; a tmpfs has as much as its size= says"
_SHORTER = "use shorter names"
_FILTER = (
    "it is empty, has more than 4096 instructions, or asks for a flag that this kernel does not "
    "know"
)
_CAPS = (
    "drop what the host does not give (capsh --print shows what there is), or run as root outside "
    "of containers; ambient ones must be permitted and inheritable too"
)
_UPPER = (
    "an overlay on an overlay, NFS or FAT cannot be written to: choose another --root, on ext4, "
    "xfs or btrfs, or keep what is written in memory with --upper memory"
)

_NO_CAPS = s.SetCapabilities(effective=0, permitted=0)
_NO_CAPS_BUT_ADMIN = s.SetCapabilities(effective=1 << 21, permitted=1 << 21)
_BE_ROOT = "run as root; inside another container that one needs CAP_SYS_ADMIN (--privileged)"
_LONG = "/".join("d" * 100 for _ in range(3))


def refuse(call: str, with_errno: int) -> s.LoadSeccomp:
    """A filter that refuses one system call: BPF_LD, BPF_JEQ, two BPF_RET."""
    number = syscalls.number(call, syscalls.native_arch())
    load, compare = struct.pack("HBBI", 0x20, 0, 0, 0), struct.pack("HBBI", 0x15, 0, 1, number)
    refusal = struct.pack("HBBI", 6, 0, 0, 0x50000 | with_errno)
    return s.LoadSeccomp(program=load + compare + refusal + _ALLOW)


CASES: dict[str, Case] = {
    # ---- pivot_root ----
    "a plain directory of the root's own mount cannot become the root": Case(
        steps=lambda t: (PRIVATE, *enter(f"{t}/root")),
        says="pivot_root to T/root: the new root T/root is not a mount point (EBUSY)",
        hint=f"{_NO_MOUNT_POINT} T/root T/root",
    ),
    "a plain directory of another mount cannot become the root": Case(
        steps=lambda t: (*in_memory(t, "x"), *enter(f"{t}/m/x")),
        says="pivot_root to T/m/x: the new root T/m/x is not a mount point (EINVAL)",
        hint=f"{_NO_MOUNT_POINT} T/m/x T/m/x",
    ),
    "the current root cannot become the root": Case(
        steps=lambda t: (PRIVATE, *enter("/")),
        says="pivot_root to /: the new root is the current root (EBUSY)",
        hint="give a directory that is not /; --rootfs /:O runs on an overlay of the host's root",
    ),
    "a root below a shared mount cannot be pivoted to": Case(
        steps=lambda t: (
            PRIVATE,
            scratch(f"{t}/m"),
            s.SetPropagation(target="/", propagation="rshared", on_host=True),
            *enter(f"{t}/m"),
        ),
        says="pivot_root to T/m: the mount / has shared propagation (EINVAL)",
        hint=_PRIVATE_BEFORE,
    ),
    "a shared root cannot be pivoted to": Case(
        steps=lambda t: (
            PRIVATE,
            scratch(f"{t}/m"),
            s.SetPropagation(target=f"{t}/m", propagation="shared", on_host=True),
            *enter(f"{t}/m"),
        ),
        says="pivot_root to T/m: the mount T/m has shared propagation (EINVAL)",
        hint=_PRIVATE_BEFORE,
    ),
    "nothing can be pivoted to from a chroot": Case(
        steps=lambda t: (
            *in_memory(t, "x", "x/y"),
            scratch(f"{t}/m/x/y"),
            s.UseRoot(path=f"{t}/m/x"),
            s.Chroot(root=f"{t}/m/x"),
            *enter("/y"),
        ),
        says="pivot_root to /y: the current root is not a mount point, as inside a chroot (EINVAL)",
        hint="start from outside the chroot, or use --switch chroot",
    ),
    "nothing is moved below a shared mount": Case(
        steps=lambda t: (
            PRIVATE,
            scratch(f"{t}/m"),
            s.SetPropagation(target="/", propagation="rshared", on_host=True),
            s.UseRoot(path=f"{t}/m"),
            s.MoveRoot(root=f"{t}/m"),
        ),
        says="move T/m over / and chroot to it: the mount / has shared propagation (EINVAL)",
        hint=_PRIVATE_BEFORE,
    ),
    "a plain directory cannot be moved over the root": Case(
        steps=lambda t: (PRIVATE, s.UseRoot(path=f"{t}/root"), s.MoveRoot(root=f"{t}/root")),
        says="move T/root over / and chroot to it: the new root T/root is not a mount point "
        "(EINVAL)",
        hint=f"{_NO_MOUNT_POINT} T/root T/root",
    ),
    "a new root that is not there is missed": Case(
        steps=lambda t: (PRIVATE, s.UseRoot(path=f"{t}/none")),
        says="use T/none as the new root: No such file or directory (ENOENT)",
        hint="the new root must be a directory that is there when this step comes",
    ),
    # ---- overlay ----
    "the missing one of several lower directories is named": Case(
        steps=lambda t: (PRIVATE, overlay(t, lower=(f"{t}/a", f"{t}/none", f"{t}/root"))),
        says="mount overlay on T/m (lower=T/a:T/none:T/root, upper=T/u): the lower directory "
        "T/none is not there (ENOENT)",
        hint="for a layer of an image: remove the image and get it again",
    ),
    "a missing upper directory is named": Case(
        steps=lambda t: (PRIVATE, overlay(t, upper=f"{t}/none")),
        says="mount overlay on T/m (lower=T/a, upper=T/none): the upper directory T/none is not "
        "there (ENOENT)",
        hint="for a layer of an image: remove the image and get it again",
    ),
    "a missing work directory is named": Case(
        steps=lambda t: (PRIVATE, overlay(t, work=f"{t}/none")),
        says="mount overlay on T/m (lower=T/a, upper=T/u): the work directory T/none is not there "
        "(ENOENT)",
        hint="for a layer of an image: remove the image and get it again",
    ),
    "a layer that is a file is named": Case(
        steps=lambda t: (PRIVATE, overlay(t, lower=(f"{t}/file",))),
        says="mount overlay on T/m (lower=T/file, upper=T/u): T/file is not a directory (EINVAL)",
        hint="lower, upper and work must be directories",
    ),
    "an overlay on an overlay cannot be written to": Case(
        steps=lambda t: (
            *in_memory(t, "a", "u", "w", "m"),
            overlay(f"{t}/m"),
            *directories(f"{t}/m/m/u", f"{t}/m/m/w"),
            overlay(t, upper=f"{t}/m/m/u", work=f"{t}/m/m/w", target=f"{t}/root"),
        ),
        says="mount overlay on T/root (lower=T/a, upper=T/m/m/u): the upper directory is on a file "
        "system that cannot be an overlay's upper (EINVAL)",
        kernel_log="overlay: filesystem on T/m/m/u not supported as upperdir",
        hint=_UPPER,
    ),
    "a file system without extended attributes cannot be an upper": Case(
        steps=lambda t: (PRIVATE, overlay(t, upper="/proc/sys", work="/proc/driver")),
        says="mount overlay on T/m (lower=T/a, upper=/proc/sys): the upper directory is on proc, "
        "which cannot be an overlay's upper (EINVAL)",
        hint="choose another --root, on ext4, xfs or btrfs, or keep what is written in memory with "
        "--upper memory",
    ),
    "an upper on a read-only mount is refused": Case(
        steps=lambda t: (
            *in_memory(t, "u", "w"),
            s.SetAttr(target=f"{t}/m", flags=("ro",), on_host=True),
            overlay(t, upper=f"{t}/m/u", work=f"{t}/m/w", target=f"{t}/root"),
        ),
        says="mount overlay on T/root (lower=T/a, upper=T/m/u): the upper directory is on a "
        "read-only mount (EINVAL)",
        kernel_log="overlay: filesystem on T/m/u is read-only",
        hint="choose another --root, or keep what is written in memory with --upper memory",
    ),
    "upper and work must be on one mount": Case(
        steps=lambda t: (PRIVATE, scratch(f"{t}/w"), overlay(t)),
        says="mount overlay on T/m (lower=T/a, upper=T/u): upper and work are on different mounts: "
        "T/u and T/w (EINVAL)",
        hint="the work directory must be on the same mount as the upper directory",
    ),
    "upper and work must be two directories": Case(
        steps=lambda t: (PRIVATE, overlay(t, work=f"{t}/u")),
        says="mount overlay on T/m (lower=T/a, upper=T/u): upper and work are one directory, or "
        "one is inside the other: T/u and T/u (EINVAL)",
        hint=_BESIDE,
    ),
    "work must not be inside upper": Case(
        steps=lambda t: (PRIVATE, overlay(t, upper=f"{t}/root", work=f"{t}/root/sub")),
        says="mount overlay on T/m (lower=T/a, upper=T/root): upper and work are one directory, or "
        "one is inside the other: T/root and T/root/sub (EINVAL)",
        hint=_BESIDE,
    ),
    "a layer is named once only": Case(
        steps=lambda t: (PRIVATE, overlay(t, lower=(f"{t}/a", f"{t}/a"))),
        says="mount overlay on T/m (lower=T/a:T/a, upper=T/u): one of the layers, upper or work is "
        "inside another, or is named twice (ELOOP)",
        hint="name each directory once, and none that lies in another",
    ),
    "one lower directory alone is no overlay": Case(
        steps=lambda t: (PRIVATE, s.MountOverlay(lower=(f"{t}/a",), target=f"{t}/m")),
        says="mount overlay on T/m (lower=T/a): an overlay of one lower directory needs an upper "
        "(EINVAL)",
        hint="bind the one directory read-only, or give an upper and a work directory",
    ),
    "the kernel stacks two overlays and no third": Case(
        steps=lambda t: (
            *in_memory(t, "1", "2", "3"),
            s.MountOverlay(lower=(f"{t}/a", f"{t}/u"), target=f"{t}/m/1"),
            s.MountOverlay(lower=(f"{t}/m/1", f"{t}/u"), target=f"{t}/m/2"),
            s.MountOverlay(lower=(f"{t}/m/2", f"{t}/u"), target=f"{t}/m/3"),
        ),
        says="mount overlay on T/m/3 (lower=T/m/2:T/u): T/m/2 is on an overlay that is on an "
        "overlay; the kernel stacks two (EINVAL)",
        hint="take the layers of the overlay below, not the overlay",
    ),
    "an upper in use is refused where the kernel looks": Case(
        steps=lambda t: (
            *in_memory(t, "a", "u", "w", "m", "n"),
            overlay(f"{t}/m", options=("index=on",)),
            overlay(f"{t}/m", options=("index=on",), target=f"{t}/m/n"),
        ),
        says="mount overlay on T/m/n (lower=T/m/a, upper=T/m/u, index=on): the upper or work "
        "directory is in use by another overlay (EBUSY)",
        hint="each container needs an upper and a work directory of its own: end the container "
        "that has these",
    ),
    "an option that overlay does not know is shown": Case(
        steps=lambda t: (PRIVATE, overlay(t, options=("frob=1",))),
        says="mount overlay on T/m (lower=T/a, upper=T/u, frob=1): the file system does not know "
        "one of the options (EINVAL)",
        kernel_log="overlay: Unknown parameter 'frob'",
        hint="see mount(8) for the options of the file system, and this kernel's version",
    ),
    # ---- other mounts ----
    "a wrong value of an option is shown": Case(
        steps=lambda t: (PRIVATE, scratch(f"{t}/m", "size=many")),
        says="mount tmpfs on T/m (size=many): the value of one of the options is wrong (EINVAL)",
        kernel_log="tmpfs: Bad value for 'size'",
        hint="see mount(8) for what the option takes",
    ),
    "a file system that the kernel has not is named": Case(
        steps=lambda t: (
            PRIVATE,
            s.MountFs(type="frobfs", source="x", target=f"{t}/m", on_host=True),
        ),
        says="mount frobfs on T/m: this kernel has no file system frobfs (ENODEV)",
        hint="load it: modprobe frobfs; /proc/filesystems lists what is there",
    ),
    "a bind source that is missing is named": Case(
        steps=bound("/x", "none"),
        says="bind T/none on /x: the source T/none does not exist (ENOENT)",
        hint="make it first; -v, unlike --mount, makes a missing directory",
    ),
    "a tree to hold that is missing is named": Case(
        steps=lambda t: (s.HoldTree(source=f"{t}/none", place=0),),
        says="hold T/none, a peer of the host's: the source T/none does not exist (ENOENT)",
        hint="make it first; -v, unlike --mount, makes a missing directory",
    ),
    "a bind source that leads nowhere is followed": Case(
        steps=bound("/x", "dangling"),
        says="bind T/dangling on /x: the source is a symlink that leads nowhere: T/dangling -> "
        "/nowhere (ENOENT)",
        hint="make what it leads to, or bind something else",
    ),
    "a file cannot be bound on a directory": Case(
        steps=bound("/sub", "file"),
        says="bind T/file on /sub: a file and a directory: T/file is a file, and /sub is a "
        "directory (EINVAL)",
        hint="bind a directory on a directory, and a file on a file",
    ),
    "a directory cannot be bound on a file": Case(
        steps=bound("/file"),
        says="bind T/a on /file: a file and a directory: T/a is a directory, and /file is a file "
        "(EINVAL)",
        hint="bind a directory on a directory, and a file on a file",
    ),
    "a target below a file is refused": Case(
        steps=bound("/file/x"),
        says="bind T/a on /file/x: /file is a file, and a name below it cannot be (ENOTDIR)",
        hint="mount somewhere else, or use another image",
    ),
    "a symlink out of the root leads nowhere": Case(
        steps=bound("/out/x", make=False),
        says="bind T/a on /out/x: /out is a symlink to /nowhere/on/the/host, which is not there in "
        "the new root; a symlink never leads out of it (ENOENT)",
        hint=_IN_IMAGE,
    ),
    "a symlink out of the root by dots leads nowhere": Case(
        steps=bound("/up/x", make=False),
        says="bind T/a on /up/x: /up is a symlink to ../../../../../../../tmp, which is not there "
        "in the new root; a symlink never leads out of it (ENOENT)",
        hint=_IN_IMAGE,
    ),
    "a symlink that leads in a circle is named": Case(
        steps=bound("/loop/x"),
        says="bind T/a on /loop/x: the target leads through a loop of symlinks: /loop is a symlink "
        "to loop (ELOOP)",
        hint="mend the image, or mount somewhere else",
    ),
    "no symlink leads to where proc goes": Case(
        steps=lambda t: (
            *use(t),
            s.MountFs(
                type="proc", source="proc", target="/proc", make_target=True, no_symlinks=True
            ),
        ),
        says="mount proc on /proc: /proc is a symlink to /sub, and the kernel's own file systems "
        "go on no symlink (ELOOP)",
        hint="the image may be hostile (CVE-2019-19921): make it a directory, or use another image",
    ),
    "no magic link of proc leads to a target": Case(
        steps=lambda t: (
            *use(t),
            s.MountFs(type="proc", source="proc", target="/sub"),
            s.BindMount(source=f"{t}/a", target="/sub/self/root/tmp"),
        ),
        says="bind T/a on /sub/self/root/tmp: the target leads through a magic link of proc, which "
        "leaves the new root (ELOOP)",
        hint="give the path itself, not one by way of /proc",
    ),
    "nothing can be made in proc": Case(
        steps=lambda t: (
            *use(t),
            s.MountFs(type="proc", source="proc", target="/sub"),
            s.BindMount(source=f"{t}/a", target="/sub/none", make_target=True),
        ),
        says="bind T/a on /sub/none: nothing can be made in proc (ENOENT)",
        hint="mount on a name that is there already",
    ),
    "a target cannot be made in a read-only root": Case(
        steps=lambda t: (
            *use(t),
            s.SetAttr(target="/", flags=("ro",)),
            s.BindMount(source=f"{t}/a", target="/new", make_target=True),
        ),
        says="bind T/a on /new: the target is not in the new root, and cannot be made there: it is "
        "read-only (EROFS)",
        hint="make the target in the image, or mount the root read-write",
    ),
    "a target that may not be made is missed": Case(
        steps=lambda t: (*use(t), s.BindMount(source=f"{t}/a", target="/new")),
        says="bind T/a on /new: the target /new does not exist (ENOENT)",
        hint="make it first",
    ),
    "a node needs its directory": Case(
        steps=lambda t: (*use(t), s.MakeNode(target="/none/null", kind="c", major=1, minor=3)),
        says="make the node /none/null (c 1:3): the directory that it goes into does not exist "
        "(ENOENT)",
        hint="make the directory first",
    ),
    "a node does not replace what is there": Case(
        steps=lambda t: (*use(t), s.MakeNode(target="/file", kind="c", major=1, minor=3)),
        says="make the node /file (c 1:3): something of that name is there already (EEXIST)",
        hint="remove it, or use another name",
    ),
    "only a mount has attributes": Case(
        steps=lambda t: (PRIVATE, s.SetAttr(target=f"{t}/root", flags=("ro",), on_host=True)),
        says="make T/root ro: it is not a mount point (EINVAL)",
        hint="attributes belong to mounts: bind the place on itself first",
    ),
    # ---- namespaces ----
    "a namespace file that is not there is missed": Case(
        steps=lambda t: (s.SetNamespace(namespace="net", path=f"{t}/none"),),
        says="join the net namespace T/none: there is no such namespace file (ENOENT)",
        hint="the process that it belongs to has ended, or the name was never made: ip netns list, "
        "lsns",
    ),
    "a namespace of another kind is told": Case(
        steps=lambda t: (s.SetNamespace(namespace="net", path="/proc/self/ns/uts"),),
        says="join the net namespace /proc/self/ns/uts: it is a namespace of kind uts (EINVAL)",
        hint="compare with readlink on the file: it says the kind and the number",
    ),
    "a file that is no namespace is told": Case(
        steps=lambda t: (s.SetNamespace(namespace="net", path=f"{t}/file"),),
        says="join the net namespace T/file: T/file is not a namespace (EINVAL)",
        hint="compare with readlink on the file: it says the kind and the number",
    ),
    "one's own user namespace cannot be joined": Case(
        steps=lambda t: (s.SetNamespace(namespace="user", path="/proc/self/ns/user"),),
        says="join the user namespace /proc/self/ns/user: the kernel refuses to join it from here "
        "(EINVAL)",
        hint="a process cannot join the user namespace that it is in, nor the user or mount "
        "namespace while it shares its memory or directory with another",
    ),
    "no user namespace is made inside a chroot": Case(
        steps=lambda t: (
            *use(t),
            s.Chroot(root=f"{t}/m"),
            s.Unshare(namespaces=("user",)),
        ),
        says="new namespaces: user: a user namespace cannot be made inside a chroot (EPERM)",
        hint="start from outside a chroot; or have user namespaces allowed: "
        "user.max_user_namespaces, kernel.unprivileged_userns_clone, "
        "kernel.apparmor_restrict_unprivileged_userns",
    ),
    "a host name has 64 bytes at most": Case(
        steps=lambda t: (s.SetHostname(hostname="x" * 65),),
        says=f"set the hostname to {'x' * 65}: the kernel takes names of at most 64 bytes (EINVAL)",
        hint="choose a shorter one",
        namespaces=("uts",),
    ),
    "an interface that is not there is missed": Case(
        steps=lambda t: (s.LinkUp(interface="eth9"),),
        says="bring eth9 up: there is no such interface in the container's network namespace "
        "(ENODEV)",
        hint="ip link, in that namespace, shows what is there",
        namespaces=("net",),
    ),
    # ---- settings of the kernel ----
    "a setting that is not there is missed": Case(
        steps=lambda t: (s.SetSysctl(name="net.ipv4.none", value="1"),),
        says="set net.ipv4.none = 1: there is no such setting in the container's namespaces "
        "(ENOENT)",
        hint="a module may have to be loaded for it, or it is the host's alone; a slash stands for "
        "a dot within a name: net.ipv4.conf.eth0/1.forwarding",
        namespaces=("mount", "net"),
    ),
    "a value that a setting does not take is refused": Case(
        steps=lambda t: (s.SetSysctl(name="net.ipv4.ip_forward", value="maybe"),),
        says="set net.ipv4.ip_forward = maybe: the kernel does not take this value (EINVAL)",
        hint="see the setting's description: Documentation/admin-guide/sysctl",
        namespaces=("mount", "net"),
    ),
    "a setting that is the host's alone is refused": Case(
        steps=lambda t: (s.SetSysctl(name="net.core.rmem_max", value="65536"),),
        says="set net.core.rmem_max = 65536: the container's namespaces may read this setting, and "
        "not write it (EACCES)",
        hint="set it on the host",
        namespaces=("mount", "net"),
    ),
    # ---- identity ----
    "a soft limit is not above the hard one": Case(
        steps=lambda t: (s.SetRlimit(resource=7, soft=100, hard=10),),
        says="limit RLIMIT_NOFILE to 100:10: the soft limit is above the hard one, or the kernel "
        "does not know the limit (EINVAL)",
        hint="give soft:hard, the soft one not larger",
    ),
    "a capability that was dropped cannot be had back": Case(
        steps=lambda t: (
            s.SetCapabilities(effective=1, permitted=1),
            s.SetCapabilities(effective=3, permitted=3),
        ),
        says="set the capabilities: effective 0x3, permitted 0x3, inheritable 0x0, ambient 0x0: "
        "newroot itself has not got some of these capabilities (EPERM)",
        hint=_CAPS,
    ),
    "the bounding set needs a capability to be dropped from": Case(
        steps=lambda t: (s.SetCapabilities(effective=1, permitted=1), s.SetBounding(keep=1)),
        says="bound the capabilities to 0x0000000000000001: newroot itself has not got some of "
        "these capabilities (EPERM)",
        hint=_CAPS,
    ),
    "an ambient capability that the kernel does not know is refused": Case(
        steps=lambda t: (s.SetCapabilities(effective=1, permitted=1, ambient=1 << 62),),
        says="set the capabilities: effective 0x1, permitted 0x1, inheritable 0x0, ambient "
        "0x4000000000000000: the kernel does not know one of the capabilities (EINVAL)",
        hint="/proc/sys/kernel/cap_last_cap is the last that it knows",
    ),
    "a filter that is none is refused": Case(
        steps=lambda t: (s.LoadSeccomp(program=b"\xff" * 8),),
        says="load a seccomp filter of 1 instructions: the kernel does not take the filter "
        "(EINVAL)",
        hint=_FILTER,
    ),
    "a filter needs a privilege or the lack of all": Case(
        steps=lambda t: (
            _NOT_ROOT,
            s.SetCapabilities(effective=0, permitted=0),
            s.LoadSeccomp(program=_ALLOW),
        ),
        says="load a seccomp filter of 1 instructions: a filter may be loaded with CAP_SYS_ADMIN "
        "or no_new_privs, and neither is there (EACCES)",
        hint="use --security-opt no-new-privileges",
    ),
    "a working directory that is not there is missed": Case(
        steps=lambda t: (s.SetCwd(path="/none/such"),),
        says="change to the directory /none/such: it is not a directory of the container (ENOENT)",
        hint="choose another with -w",
    ),
    "a working directory that the user may not enter is refused": Case(
        steps=lambda t: (
            *in_memory(t),
            s.MakeDir(target=f"{t}/m/secret", mode=0o700, on_host=True),
            s.UseRoot(path=f"{t}/m"),
            s.Chroot(root=f"{t}/m"),
            _NOT_ROOT,
            s.SetCapabilities(effective=0, permitted=0),
            s.SetCwd(path="/secret"),
        ),
        says="change to the directory /secret: the container's user may not go there (EACCES)",
        hint="choose another directory with -w, or another user with -u",
    ),
    # ---- cgroups ----
    "a cgroup that is gone is missed": Case(
        steps=lambda t: (s.JoinCgroup(procs="/sys/fs/cgroup/none-such/cgroup.procs"),),
        says="join the cgroup /sys/fs/cgroup/none-such: the cgroup is not there (ENOENT)",
        hint="somebody removed it between its making and now",
    ),
    # ---- privileges that newroot has not got itself ----
    "mounting takes a privilege": Case(
        steps=lambda t: (PRIVATE, _NO_CAPS, scratch(f"{t}/m")),
        says="mount tmpfs on T/m: newroot may not mount here (EPERM)",
        hint=_BE_ROOT,
    ),
    "entering a root takes a privilege": Case(
        steps=lambda t: (*in_memory(t), s.UseRoot(path=f"{t}/m"), _NO_CAPS, s.PivotRoot(root="x")),
        says="pivot_root to x: newroot may not mount here (EPERM)",
        hint=_BE_ROOT,
    ),
    "making namespaces takes a privilege": Case(
        steps=lambda t: (_NO_CAPS, s.Unshare(namespaces=("uts",))),
        says="new namespaces: uts: Operation not permitted (EPERM)",
        hint="this needs root, or a user namespace of your own",
    ),
    "becoming another user takes a privilege": Case(
        steps=lambda t: (_NO_CAPS, s.SetUser(uid=1000, gid=0, keep_groups=True)),
        says="become uid 1000, gid 0, umask 0022: newroot may not become another user here (EPERM)",
        hint="this needs root (CAP_SETUID and CAP_SETGID), or a user namespace",
    ),
    "lowering the badness takes a privilege": Case(
        steps=lambda t: (_NO_CAPS_BUT_ADMIN, s.SetOomScore(score=-1000)),
        says="set oom_score_adj to -1000: to lower it takes CAP_SYS_RESOURCE (EACCES)",
        hint="give no lower score than the one newroot itself has",
        namespaces=("mount", "pid"),
    ),
    # ---- what an outer filter hides; ENOMEM is the filter's word too ----
    "a filter may refuse the command": Case(
        steps=lambda t: (refuse("execve", errno.EPERM), s.Exec(paths=("/x",), argv=("/x",))),
        says="execute /x: the seccomp filter or a security module refuses execve (EPERM)",
        hint="allow execve in the profile, or try --security-opt seccomp=unconfined",
    ),
    "a filter may hide a system call": Case(
        steps=lambda t: (PRIVATE, refuse("fsopen", errno.ENOSYS), scratch(f"{t}/m")),
        says="mount tmpfs on T/m: this kernel does not have the system call, or an outer seccomp "
        "filter hides it (ENOSYS)",
        hint="newroot needs Linux 5.14; inside another container, a newer engine or --security-opt "
        "seccomp=unconfined there",
    ),
    "a filter may hide filters": Case(
        steps=lambda t: (refuse("seccomp", errno.ENOSYS), s.LoadSeccomp(program=_ALLOW)),
        says="load a seccomp filter of 1 instructions: this kernel has no seccomp filters, or an "
        "outer filter hides them (ENOSYS)",
        hint="use --security-opt seccomp=unconfined",
    ),
    "the kernel may have no memory": Case(
        steps=lambda t: (PRIVATE, refuse("fsmount", errno.ENOMEM), scratch(f"{t}/m")),
        says="mount tmpfs on T/m: the kernel has no memory for it (ENOMEM)",
        hint="the host is short of memory, or the container's memory limit (-m) is too small even "
        "for its start",
    ),
    # ---- no room ----
    "there may be too many open files": Case(
        steps=lambda t: (PRIVATE, s.SetRlimit(resource=7, soft=4, hard=4), scratch(f"{t}/m")),
        says="mount tmpfs on T/m: too many open files (EMFILE)",
        hint="raise the limit of newroot itself (ulimit -n), or fs.file-max",
    ),
    "there may be too many processes": Case(
        steps=lambda t: (s.SetRlimit(resource=6, soft=0, hard=0), _NOT_ROOT, _NO_CAPS, s.Reap()),
        says="stay as init: a limit of processes is reached (EAGAIN)",
        hint="look at --ulimit nproc, --pids-limit and kernel.pid_max",
    ),
    "a full file system is said to be full": Case(
        steps=lambda t: (
            PRIVATE,
            scratch(f"{t}/m", "size=4096"),
            s.WriteFile(target=f"{t}/m/file", data=bytes(9000)),
        ),
        says=f"write T/m/file (9000 bytes): {_NO_SPACE}",
        hint=_SEE_DF,
    ),
    "a file system without inodes is said to be full": Case(
        steps=lambda t: (PRIVATE, scratch(f"{t}/m", "nr_inodes=1"), *directories(f"{t}/m/x")),
        says=f"make the directory T/m/x: {_NO_SPACE}",
        hint=_SEE_DF,
    ),
    "a name of more than 255 bytes is too long": Case(
        steps=bound("/" + "n" * 256),
        says=f"bind T/a on /{'n' * 256}: a name has more than 255 bytes, or the path more than "
        "4095 (ENAMETOOLONG)",
        hint=_SHORTER,
    ),
}


@pytest.fixture
def t(tmp_path: Path) -> str:
    """Directories that the plans use."""
    for name in ("a", "m", "u", "w", "root/sub"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").write_text("a file")
    (tmp_path / "dangling").symlink_to("/nowhere")
    root = tmp_path / "root"
    (root / "file").write_text("a file")
    (root / "out").symlink_to("/nowhere/on/the/host")
    (root / "up").symlink_to("../../../../../../../tmp")
    (root / "loop").symlink_to("loop")
    (root / "proc").symlink_to("/sub")
    return str(tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_failure_is_explained(name: str, t: str, attempt: Callable[..., StepError]) -> None:
    case = CASES[name]
    steps = case.steps(t)

    error = attempt(*steps, namespaces=case.namespaces)

    total = len(steps) + 1
    assert f"step {total} of {total}, {case.says}" == without_log(error).replace(t, "T")
    assert case.kernel_log in (error.kernel_log.replace(t, "T"), "")
    assert case.hint == (error.hint or "").replace(t, "T")
    assert (total, total) == (error.index, error.total)


def test_layers_beyond_the_kernels_are_counted(t: str, attempt: Callable[..., StepError]) -> None:
    lower = tuple(f"{t}/many/{n}" for n in range(501))
    for path in lower:
        os.makedirs(path)

    error = attempt(PRIVATE, overlay(t, lower=lower))

    assert _plain(error, t).startswith("step 3 of 3, mount overlay on T/m (lower=T/many/0:")
    assert len(str(error)) < 800, "the 501 names are not all in the message"
    assert str(error).endswith(
        "501 layers, and the kernel takes 500 (EINVAL) [kernel: overlay: too many lower "
        "directories, limit is 500]"
    )
    assert error.hint == "flatten the image: import the export of a container as one layer"


def _plain(error: StepError, t: str) -> str:
    return str(error).replace(t, "T")


# ---- limits that are a namespace's own, or newroot's ----


def test_long_paths_of_many_layers_do_not_fit(t: str, attempt: Callable[..., StepError]) -> None:
    lower = tuple(f"{t}/{_LONG}/{n}" for n in range(14))
    for path in lower:
        os.makedirs(path)

    error = attempt(PRIVATE, overlay(t, lower=lower))

    assert str(error).endswith(": the layers' paths are too long together (ENAMETOOLONG)")
    assert error.hint == (
        "fsconfig(2) takes 255 bytes each, mount(2) a page for all: use a shorter --root"
    )


def test_volatile_upper_is_used_once(t: str, attempt: Callable[..., StepError]) -> None:
    mount = overlay(t, options=("volatile",))
    with pytest.raises(AssertionError, match="it did not fail"):
        attempt(PRIVATE, mount)

    error = attempt(PRIVATE, mount)

    assert _plain(error, t) == (
        "step 3 of 3, mount overlay on T/m (lower=T/a, upper=T/u, volatile): its last use, which "
        "was volatile, was not ended in order: what is in the upper directory may be damaged "
        "(EINVAL)"
    )
    assert (error.hint or "").replace(t, "T") == (
        "remove the container; or, to look at what is left, the directory "
        "T/w/work/incompat/volatile"
    )


def test_upper_stays_over_its_layers(t: str, attempt: Callable[..., StepError]) -> None:
    with pytest.raises(AssertionError, match="it did not fail"):
        attempt(PRIVATE, overlay(t, options=("index=on",)))

    error = attempt(PRIVATE, overlay(t, options=("index=on",), lower=(f"{t}/root",)))

    assert _plain(error, t) == (
        "step 3 of 3, mount overlay on T/m (lower=T/root, upper=T/u, index=on): the upper "
        "directory was made over other layers (ESTALE)"
    )
    assert error.hint == (
        "the layers below must be the ones it was made over; without index=on this is not looked at"
    )


def test_program_that_is_being_written_is_told(t: str, attempt: Callable[..., StepError]) -> None:
    program = f"{t}/root/program"
    shutil.copy(find_busybox(), program)
    with open(program, "ab"):
        error = attempt(
            *use(t), s.PivotRoot(root="m"), s.Exec(paths=("/program",), argv=("/program",))
        )

    assert str(error) == (
        "step 6 of 6, execute /program: somebody has the program open for writing (ETXTBSY)"
    )
    assert error.hint == "wait until it is written"


def test_interpreters_that_are_scripts_have_a_depth(
    t: str, attempt: Callable[..., StepError]
) -> None:
    for n in range(8):
        Path(f"{t}/root/{n}").write_text(f"#!/{n + 1}\n")
        Path(f"{t}/root/{n}").chmod(0o755)

    error = attempt(*use(t), s.PivotRoot(root="m"), s.Exec(paths=("/0",), argv=("/0",)))

    assert str(error) == (
        "step 6 of 6, execute /0: its interpreters are scripts in turn, more than four deep (ELOOP)"
    )
    assert error.hint == "name a program as the interpreter"


@pytest.fixture
def cgroup_v2() -> Iterator[str]:
    """A cgroup of version 2 that hands a controller down."""
    unified = detect().unified
    if unified is None or not unified.controllers:
        pytest.skip("needs a cgroup v2 hierarchy with a controller")
    path = unified.directory(f"/{MARKER}")
    os.makedirs(f"{path}/below")
    try:
        Path(unified.directory("/"), "cgroup.subtree_control").read_text()
        (controller, *_) = Path(path, "cgroup.controllers").read_text().split() or [""]
        if not controller:
            pytest.skip("needs a controller that the top cgroup hands down")
        Path(path, "cgroup.subtree_control").write_text(f"+{controller}")
        yield path
    finally:
        os.rmdir(f"{path}/below")
        os.rmdir(path)


def test_cgroup_that_hands_controllers_down_holds_no_process(
    cgroup_v2: str, attempt: Callable[..., StepError]
) -> None:
    error = attempt(s.JoinCgroup(procs=f"{cgroup_v2}/cgroup.procs"))

    assert str(error) == (
        f"step 2 of 2, join the cgroup {cgroup_v2}: this cgroup may hold no processes: it hands "
        "controllers down, or is threaded (EBUSY)"
    )
    assert error.hint == "choose another cgroup path"


def test_cpuset_without_cpus_holds_no_process(attempt: Callable[..., StepError]) -> None:
    cpuset = detect().find("cpuset")
    if cpuset is None or cpuset.version != 1:
        pytest.skip("needs the cpuset controller of cgroup v1")
    path = cpuset.directory(f"/{MARKER}")
    os.mkdir(path)
    try:
        error = attempt(s.JoinCgroup(procs=f"{path}/cgroup.procs"))
    finally:
        os.rmdir(path)

    assert str(error) == (
        f"step 2 of 2, join the cgroup {path}: the cgroup's cpuset has no CPU or no memory node "
        "(ENOSPC)"
    )
    assert error.hint == (
        "give --cpuset-cpus, or set cpuset.cpus and cpuset.mems of the cgroups above"
    )


def test_hard_limit_cannot_be_raised_without_the_privilege(
    attempt: Callable[..., StepError],
) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    error = attempt(
        s.SetCapabilities(effective=0, permitted=0),
        s.SetRlimit(resource=resource.RLIMIT_NOFILE, soft=hard + 1, hard=hard + 1),
    )

    assert str(error) == (
        f"step 3 of 3, limit RLIMIT_NOFILE to {hard + 1}:{hard + 1}: to raise a hard limit takes "
        f"CAP_SYS_RESOURCE, and newroot's own is {hard} (EPERM)"
    )
    assert error.hint == (
        "ask for no more than the hard limit that newroot itself has, or raise that one: ulimit "
        "-H, LimitNOFILE= and the like"
    )


def test_mounts_have_a_limit(t: str, attempt: Callable[..., StepError]) -> None:
    most = int(Path("/proc/sys/fs/mount-max").read_text())
    # Bound into itself with all below it, a tree doubles.
    doubled = [
        step
        for n in range(most.bit_length())
        for step in (
            *directories(f"{t}/m/{n}"),
            s.BindMount(source=f"{t}/m", target=f"{t}/m/{n}", on_host=True),
        )
    ]

    error = attempt(PRIVATE, scratch(f"{t}/m"), *doubled)

    assert _plain(error, t).partition(", ")[2] == (
        f"bind T/m on {_plain(error, t).split(' on ')[1].split(':')[0]}: more mounts than a mount "
        "namespace may have (ENOSPC)"
    )
    assert error.hint == f"/proc/sys/fs/mount-max is {most}: raise it, or bind less"


def test_cgroup_of_others_cannot_be_joined(attempt: Callable[..., StepError]) -> None:
    top = detect().hierarchies[0].directory("/")

    error = attempt(
        s.SetUser(uid=1000, gid=1000),
        s.SetCapabilities(effective=0, permitted=0),
        s.JoinCgroup(procs=f"{top}/cgroup.procs"),
    )

    assert str(error) == (
        f"step 4 of 4, join the cgroup {top}: newroot may not put processes into this cgroup "
        "(EACCES)"
    )
    assert error.hint == (
        "be root, or have this part of the tree delegated: systemd-run --user --scope -p "
        "Delegate=yes -- COMMAND"
    )


def test_cgroup_file_system_may_be_read_only(t: str, attempt: Callable[..., StepError]) -> None:
    top = detect().hierarchies[0].directory("/")

    error = attempt(
        PRIVATE,
        s.BindMount(source=top, target=f"{t}/m", flags=("ro",), on_host=True),
        s.JoinCgroup(procs=f"{t}/m/cgroup.procs"),
    )

    assert _plain(error, t) == (
        "step 4 of 4, join the cgroup T/m: the cgroup file system is mounted read-only here (EROFS)"
    )
    assert error.hint == "have it mounted read-write, or run without limits"


# ---- the command, in a container of the engine's ----

X86, ARM64 = ("x86_64", 62), ("aarch64", 183)


def elf(machine: int, loader: str | None = None) -> bytes:
    """The head of a 64-bit program for *machine*: elf(5)."""
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    text = (loader or "").encode() + b"\0"
    count = 1 if loader else 0
    head = ident + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    interp = struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(text), len(text), 1) if loader else b""
    return (head + interp + text).ljust(4096, b"\0")


@record
class Command:
    says: str  #: what follows "step N of N, execute …: "
    hint: str
    code: int
    path: str = "/x"  #: where the file is put; the command, unless *argv* says otherwise
    data: bytes | None = None  #: None: no file is put there
    mode: int = 0o755
    argv: tuple[str, ...] = ()
    words: tuple[tuple[str, Any], ...] = ()  #: for Engine.run
    link: str = ""  #: a symlink is put there


_OTHER = ARM64 if os.uname().machine == "x86_64" else X86
_LIBC = (
    "the program was built for another C library, or another distribution's layout: use an image "
    "that has this loader, or link the program statically"
)
_INTERPRETER = "install the interpreter in the image, or change the script's first line"
_HERE = {"x86_64": 62, "aarch64": 183}.get(os.uname().machine, 62)

COMMANDS: dict[str, Command] = {
    "a command that is not in PATH": Command(
        argv=("frobnicate",),
        says="command not found in the container's PATH (ENOENT)",
        hint="looked in /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; is it "
        "installed in the image?",
        code=127,
    ),
    "a command that is in another directory than PATH has": Command(
        argv=("ls",),
        words=(("env", {"PATH": "/opt/bin:/tmp"}),),
        says="command not found in the container's PATH (ENOENT)",
        hint="looked in /opt/bin:/tmp; it is /bin/ls: give its whole path, or set PATH with -e",
        code=127,
    ),
    "words that were quoted as one": Command(
        argv=("ls -l /",),
        says="no command of this name, which has a space in it (ENOENT)",
        hint="give the command and its arguments as words of their own, without quotes around them "
        "all; or run a shell: sh -c 'ls -l /'",
        code=127,
    ),
    "a path that is not there": Command(
        argv=("/opt/none",),
        says="there is no /opt/none in the container's root (ENOENT)",
        hint="the path is the container's, not the host's: is the image the right one, is the "
        "directory mounted (-v)?",
        code=127,
    ),
    "a path below a file": Command(
        argv=("/etc/passwd/sh",),
        says="/etc/passwd is a file, and a name below it cannot be (ENOTDIR)",
        hint="give the command's whole path",
        code=126,
    ),
    "a symlink that leads nowhere": Command(
        link="/opt/none",
        says="/x is a symlink to /opt/none, which is not there in the container's root (ENOENT)",
        hint="make in the image what the symlink leads to",
        code=127,
    ),
    "a script whose interpreter is missing": Command(
        data=b"#! /usr/bin/python3 -I\nprint(1)\n",
        says="/usr/bin/python3, the interpreter of /x, is not in the container's root (ENOENT)",
        hint=_INTERPRETER,
        code=127,
    ),
    "a script that is interpreted by a script whose interpreter is missing": Command(
        data=b"#!/inner\n",
        says="/opt/none, the interpreter of /inner, is not in the container's root (ENOENT)",
        hint=_INTERPRETER,
        code=127,
    ),
    "a script with a carriage return": Command(
        data=b"#!/bin/sh\r\necho\r\n",
        says="the first line of /x ends in a carriage return, which becomes part of the "
        "interpreter's name (ENOENT)",
        hint="convert the script to Unix line ends: sed -i 's/\\r$//'",
        code=127,
    ),
    "a program whose loader is missing": Command(
        data=elf(_HERE, "/lib/ld-musl-of-others.so.1"),
        says="/lib/ld-musl-of-others.so.1, the loader of /x, is not in the container's root "
        "(ENOENT)",
        hint=_LIBC,
        code=127,
    ),
    "a program for another machine": Command(
        data=elf(_OTHER[1]),
        says=f"/x is for {_OTHER[0]}, and this machine is {os.uname().machine} (ENOEXEC)",
        hint="use an image for this machine's architecture; or have an emulator registered: "
        "qemu-user-static and binfmt_misc",
        code=126,
    ),
    "text without an interpreter line": Command(
        data=b"echo hello\n",
        says="/x is text without an interpreter line (#!) (ENOEXEC)",
        hint="make its first line #!/bin/sh, or run it by a shell: sh /x",
        code=126,
    ),
    "an empty file": Command(
        data=b"",
        says="/x is an empty file (ENOEXEC)",
        hint="was the file copied in full?",
        code=126,
    ),
    "bytes that are no program": Command(
        data=b"\x00\x01\x02",
        says="it is in no format that this kernel executes (ENOEXEC)",
        hint="is it a program, whole, and for this machine? see file(1)",
        code=126,
    ),
    "a directory": Command(
        argv=("/etc",),
        says="/etc is not a regular file (EACCES)",
        hint="name a program, not a directory or a device",
        code=126,
    ),
    "a file without the executable bit": Command(
        data=b"#!/bin/sh\n",
        mode=0o644,
        says="/x is not executable (mode 0644) (EACCES)",
        hint="chmod +x it in the image, or run it by its interpreter",
        code=126,
    ),
    "a file that the user may not execute": Command(
        data=b"#!/bin/sh\n",
        mode=0o700,
        words=(("user", "1000:1000"),),
        says="the container's user may not go there (uid 1000, mode 0700, owner 0: /x) (EACCES)",
        hint="run as another user with -u, or change the mode in the image",
        code=126,
    ),
    "words that are too long": Command(
        argv=("true", "x" * 200_000),
        says="the command's words and environment are too long (E2BIG)",
        hint="one word may have 128 KiB, all together a quarter of the stack limit (--ulimit "
        "stack=…): pass data by stdin or a file",
        code=126,
    ),
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.mark.parametrize("name", COMMANDS)
def test_command_that_cannot_be_executed_is_explained(
    name: str, engine: Engine, tiny_root: Path
) -> None:
    case = COMMANDS[name]
    (tiny_root / "inner").write_bytes(b"#!/opt/none\n")
    (tiny_root / "inner").chmod(0o755)
    file = tiny_root / case.path[1:]
    if case.link:
        file.symlink_to(case.link)
    elif case.data is not None:
        file.write_bytes(case.data)
        file.chmod(case.mode)
    argv = case.argv or (case.path,)

    result = engine.run(
        rootfs=f"{tiny_root}:O", command=list(argv), capture_output=True, **dict(case.words)
    )

    error = result.error
    assert error is not None
    assert str(error) == (
        f"step {error.total} of {error.total}, {shorten('execute ' + ' '.join(argv))}: {case.says}"
    )
    assert (case.hint, case.code, "start") == (error.hint, result.returncode, result.fault)


def test_command_on_a_mount_with_noexec_is_explained(
    engine: Engine, tiny_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/x").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "tools/x").chmod(0o755)

    error = engine.run(
        rootfs=str(tiny_root),
        command=["/tools/x"],
        volumes=[f"{tmp_path}/tools:/tools:noexec"],
        capture_output=True,
    ).error

    assert error is not None
    assert str(error).partition(", ")[2] == (
        "execute /tools/x: it is on a mount with noexec, /tools (EACCES)"
    )
    assert error.hint == "mount it with exec, or run the interpreter and give it the file: sh FILE"


def test_interpreter_in_a_volume_is_seen(engine: Engine, tiny_root: Path, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/x").write_bytes(b"#!/tools/none\n")
    (tmp_path / "tools/x").chmod(0o755)

    error = engine.run(
        rootfs=f"{tiny_root}:O",
        command=["/tools/x"],
        volumes=[f"{tmp_path}/tools:/tools"],
        capture_output=True,
    ).error

    assert error is not None
    assert str(error).partition(", ")[2] == (
        "execute /tools/x: /tools/none, the interpreter of /tools/x, is not in the container's "
        "root (ENOENT)"
    )


# ---- a host that runs from an initramfs ----

_ON_ROOTFS = """
import ctypes, os

from newroot.linux import syscalls
from newroot.plan import diagnose, exec_failure, host, launcher, report, steps as s, view
from newroot.testing.roots import find_busybox
from newroot.testing.plans import run_plan

syscalls.name_of(0)  # what is imported late is imported now: the file system goes
libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


# Every mount namespace has the kernel's own rootfs below all.  With the root detached, a setns()
# to one's own namespace ends on it: fs/namespace.c, mntns_install().
with open(launcher.binary_path(), "rb") as file:
    program = file.read()
mine = os.open("/proc/self/ns/mnt", os.O_RDONLY)
check(libc.umount2(b"/", 2))
check(libc.setns(mine, 0x20000))
check(libc.mount(b"proc", b"/proc", b"proc", 0, None))
check(libc.mount(b"devtmpfs", b"/dev", b"devtmpfs", 0, None))
check(libc.mount(b"tmpfs", b"/mnt", b"tmpfs", 0, None))
os.makedirs("/mnt/newroot/native")
os.makedirs("/mnt/root")
with open("/mnt/newroot/native/newroot-init", "wb") as file:
    file.write(program)
launcher.__file__ = "/mnt/newroot/plan/launcher.py"

started = launcher.Launcher()
new = s.MountFs(type="tmpfs", source="test", target="/mnt/root", on_host=True)
use = s.UseRoot(path="/mnt/root")
private = s.SetPropagation(target="/", propagation="rprivate", on_host=True)
error = run_plan(started, private, new, use, s.PivotRoot(root="/mnt/root"))
print(error)
print(error.hint)
print(type(run_plan(started, private, new, use, s.MoveRoot(root="/mnt/root"))).__name__)
started.close()
"""


@needs("util-linux")
def test_host_on_an_initramfs_is_told_to_move() -> None:
    for place in ("/proc", "/dev", "/mnt"):
        if place[1:] not in _rootfs():
            pytest.skip(f"the rootfs below this host's root has no {place} to mount on")

    done = subprocess.run(
        ["unshare", "-m", "--propagation=private", sys.executable, "-c", _ON_ROOTFS],
        env={**os.environ, "PYTHONPATH": str(Path(newroot.__file__).parent.parent)},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "step 5 of 5, pivot_root to /mnt/root: the host runs from an initramfs (rootfs), which "
        "cannot be pivoted away from (EINVAL)",
        "use --switch move",
        "Ended",  # and moving is possible there
    ]


def _rootfs() -> list[str]:
    """The names in the rootfs that is below the root of every mount namespace."""
    look = (
        "import ctypes, os; libc = ctypes.CDLL(None); mine = os.open('/proc/self/ns/mnt', 0); "
        "assert libc.umount2(b'/', 2) == 0 and libc.setns(mine, 0x20000) == 0; "
        "print(*os.listdir('/'))"
    )
    command = ["unshare", "-m", "--propagation=private", sys.executable, "-S", "-c", look]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


# ---- on our side of a start ----


def test_name_in_use_is_told(engine: Engine, tiny_root: Path) -> None:
    with engine.popen(
        rootfs=f"{tiny_root}:O", command=["cat"], name="first", stdin=subprocess.PIPE
    ):
        with pytest.raises(AlreadyExists) as caught:
            engine.run(rootfs=f"{tiny_root}:O", command=["true"], name="first")

    (holder,) = re.findall("container ([0-9a-f]{12})", str(caught.value))
    assert f"the name first is in use by container {holder}" == str(caught.value)
    assert caught.value.hint == "remove it first: newroot rm first; or choose another name"


def test_cgroup_that_may_not_be_made_is_told() -> None:
    host, path = detect(), f"/{MARKER}"
    program = textwrap.dedent(
        """
        import os, sys
        from newroot.errors import SyscallError
        from newroot.isolation.cgroups import cgroup, detect, resources, resources_v1
        host = detect.detect()
        os.setresuid(1000, 1000, 1000)
        try:
            cgroup.Cgroup.create(sys.argv[1], {"pids": {"limit": 10}}, host=host)
        except SyscallError as error:
            print(error)
            print(error.hint)
        """
    )
    directory = next(h for h in host.hierarchies if h.version == 2 or "pids" in h.controllers)

    done = subprocess.run(
        [sys.executable, "-c", program, path],
        env={**os.environ, "PYTHONPATH": str(Path(newroot.__file__).parent.parent)},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"mkdir {directory.directory(path)}: Permission denied (EACCES)",
        "be root, or have this part of the cgroup tree delegated: systemd-run --user --scope -p "
        "Delegate=yes -- COMMAND",
    ]
    assert host_state(marker=path[1:]).cgroups == set()


_FULL = """
mount -t tmpfs -o size=64k full "$1"
run () { "$0" -m newroot.cli.main --root "$1" run --name "$3" --rootfs "$2" true; }
run "$1" "$2" first
files=$(find "$1" | sort)
head -c 1m /dev/zero >"$1/fill" 2>/dev/null
run "$1" "$2" second
echo $?
rm "$1/fill"
test "$files" = "$(find "$1" | sort)" && echo "nothing is left"
"""


@needs("util-linux")
def test_full_disk_is_told(tiny_root: Path, tmp_path: Path) -> None:
    place = tmp_path / "full"
    place.mkdir()

    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", _FULL, sys.executable, place, f"{tiny_root}:O"],
        env={**os.environ, "PYTHONPATH": str(Path(newroot.__file__).parent.parent)},
        capture_output=True,
        text=True,
    )

    said, hint = done.stderr.splitlines()
    pattern = r"newroot: write .*/state.json: No space left on device \(ENOSPC\)"
    assert re.fullmatch(pattern, said)
    assert hint == "hint: the disk is full: newroot system df shows what newroot holds"
    assert done.stdout.splitlines() == ["125", "nothing is left"]


def test_clone_at_the_limit_of_processes_is_told(tmp_path: Path) -> None:
    host = detect()
    cgroup = Cgroup.create(f"/{MARKER}", {"pids": {"limit": 2}}, host=host)
    program = textwrap.dedent(
        """
        import os, sys
        for procs in sys.argv[1:]:
            with open(procs, "w") as file:
                file.write("0")
        from newroot.errors import SyscallError
        from newroot.plan import encode, steps as s
        from newroot.plan.launcher import Launcher
        launcher = Launcher()  # the second process
        plan = s.Plan(steps=(s.SetCwd(path="/none"),))
        launch = launcher.launch(encode.encode(plan), 0, (0, 1, 2))
        try:
            launch.wait_ended()
        except SyscallError as error:
            print(error)
            print(error.hint)
        launch.close()
        launcher.close()
        """
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, *cgroup.procs_paths],
            env={**os.environ, "PYTHONPATH": str(Path(newroot.__file__).parent.parent)},
            capture_output=True,
            text=True,
        )
    finally:
        cgroup.kill()
        cgroup.remove()

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "starting a process in new namespaces: a limit of processes is reached (EAGAIN)",
        "look at ulimit -u, kernel.pid_max, and the pids.max of newroot's own cgroup",
    ]


# ---- what is left, and what the command line says ----


def _ready(engine: Engine) -> set[str]:
    """The process that waits for the next start (decisions/0013), which a start replaces."""
    assert engine._launcher is not None
    pid = engine._launcher.pid
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


@pytest.mark.serial  # it counts every cgroup of newroot's on the host
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"sysctls": {"net.ipv4.none": "1"}}, "there is no such setting"),
        ({"command": ["/none"]}, "there is no /none in the container's root"),
    ],
)
def test_nothing_is_left_of_a_start_that_failed(
    words: dict[str, Any], says: str, tiny_root: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "root.tar"
    subprocess.run(["tar", "-C", tiny_root, "-cf", archive, "."], check=True)
    usual: dict[str, Any] = {"command": ["true"], "upper": "disk", "memory": "64m", "name": "mine"}
    with Engine(tmp_path / "engine") as engine:
        with open(archive, "rb") as file:
            import_tar(engine.images, file, "tiny")
        engine.run("tiny", **usual)
        before = host_state(engine.root, marker="/newroot/")
        ready = _ready(engine)

        with pytest.raises(StepError, match=says):
            engine.popen("tiny", **{**usual, **words})

        changes = before.changes(host_state(engine.root, marker="/newroot/"))
        ready |= _ready(engine)
        left = [line for line in changes if not ready & set(line.split())]
        assert [line for line in left if "mounts:" not in line or str(tmp_path) in line] == []
        assert engine.run("tiny", **usual).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says", "hint"),
    [
        (
            ["--sysctl", "net.ipv4.none=1", "ROOT:O", "true"],
            125,
            "set net.ipv4.none = 1: there is no such setting in the container's namespaces "
            "(ENOENT)",
            "a module may have to be loaded for it",
        ),
        (
            ["ROOT:O", "/etc/passwd"],
            126,
            "execute /etc/passwd: /etc/passwd is not executable (mode 0644) (EACCES)",
            "chmod +x it in the image",
        ),
        (
            ["ROOT:O", "frobnicate"],
            127,
            "execute frobnicate: command not found in the container's PATH (ENOENT)",
            "looked in /usr/local/sbin:",
        ),
    ],
)
def test_command_line_says_it_in_two_lines_and_a_code(
    arguments: list[str], code: int, says: str, hint: str, tiny_root: Path, tmp_path: Path
) -> None:
    *flags, root, command = arguments
    done = subprocess.run(
        [sys.executable, "-m", "newroot.cli.main", "--root", tmp_path / "engine", "run", "--rm",
         *flags, "--rootfs", root.replace("ROOT", str(tiny_root)), command],
        env={**os.environ, "PYTHONPATH": str(Path(newroot.__file__).parent.parent)},
        capture_output=True,
        text=True,
    )  # fmt: skip

    line, tip = done.stderr.splitlines()
    assert (code, "") == (done.returncode, done.stdout)
    assert re.fullmatch(rf"newroot: step \d+ of \d+, {re.escape(says)}", line)
    assert tip.startswith(f"hint: {hint}")
