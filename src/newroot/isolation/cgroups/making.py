"""Make a cgroup's directory fit to be joined: parents, cpusets, controllers handed down.

What differs between the versions is here: a v1 cpuset is empty until it is filled from the one
above, and a v2 controller is only there when every cgroup above hands it down, which none can do
that has processes itself.
"""

from __future__ import annotations

import errno
import os

from newroot.errors import AlreadyExists, SyscallError
from newroot.isolation.cgroups import files
from newroot.isolation.cgroups.detect import SELF_LEAF
from newroot.linux.user_namespaces import is_in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from newroot.isolation.cgroups.detect import Hierarchy


def _directories_between(top: str, bottom: str) -> list[str]:
    """*top* and what lies on the way to *bottom*, which is not among them."""
    found = []
    above = os.path.dirname(bottom)
    while len(above) >= len(top.rstrip("/")) and above != "/":
        found.append(above)
        above = os.path.dirname(above)
    return found[::-1]


#: On a directory that was made only to hold a container's: whoever empties it may remove it.
_MADE_BY_US = "newroot.made"
_ATTEMPTS = 8


def make_directory(directory: str, *, existing: str = "anew", mark: bool = False) -> bool:
    """Make a container's directory, and those above it.  Return whether it is new.

    One that is there must be unused and is made "anew"; or, as *existing* says, it is taken as it
    is, with the limits that somebody gave it, when it is "unused", or in "any" case.  With *mark*
    the directories above that were not there are marked, so that ``remove_marked_parents`` takes
    them away.
    """
    for _ in range(_ATTEMPTS):
        try:
            os.mkdir(directory, 0o755)
            return True
        except FileNotFoundError:
            _make_above(directory, mark=mark)
        except FileExistsError:
            if existing == "anew":
                _make_anew(directory)
            elif existing == "unused":
                _check_unused(directory)
            return existing == "anew"
        except OSError as error:
            raise files.failure("mkdir", directory, error) from None
    # Each time somebody removed the one above, which the last of their containers left empty.
    raise files.failure("mkdir", directory, OSError(errno.ENOENT, ""))


def _make_above(directory: str, *, mark: bool) -> None:
    above = os.path.dirname(directory)
    if os.path.isdir(above):
        return
    _make_above(above, mark=mark)
    try:
        os.mkdir(above, 0o755)
    except (FileExistsError, FileNotFoundError):
        return  # somebody else is as busy as we are: the caller tries again
    except OSError as error:
        raise files.failure("mkdir", above, error) from None
    if mark:
        try:
            os.setxattr(above, _mark(), b"")
        except OSError:
            pass  # then it stays, as it would without a mark


def _mark() -> str:
    # trusted.* is the host's root's alone: a container that may write to its cgroups cannot mark
    # one.  And a user's, made from within a user namespace, is removed from outside of it.
    kind = "trusted" if os.geteuid() == 0 and not is_in_user_namespace() else "user"
    return f"{kind}.{_MADE_BY_US}"


def remove_marked_parents(directory: str, mount: str) -> None:
    """Remove the directories above *directory* that were made for it alone and are empty now."""
    above = os.path.dirname(directory)
    while len(above) > len(mount.rstrip("/")):
        try:
            os.getxattr(above, _mark())
            os.rmdir(above)
        except OSError:
            return  # not ours, or another container is in it
        above = os.path.dirname(above)


def _check_unused(directory: str) -> None:
    from newroot.isolation.cgroups import members

    if members.processes(directory):
        raise AlreadyExists(
            f"use cgroup {directory}: processes are in it",
            hint="choose another cgroup path, or stop what runs there: see its cgroup.procs",
        )


def _make_anew(directory: str) -> None:
    # A leftover has old limits; and rmdir(2) tells one in use from one that is not, at once.
    try:
        os.rmdir(directory)
        os.mkdir(directory, 0o755)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY, errno.EEXIST):
            raise AlreadyExists(
                f"make cgroup {directory}: it is there, and in use",
                hint="choose another cgroup path, or stop what runs there: see its cgroup.procs",
            ) from None
        raise files.failure("mkdir", directory, error) from None


def delegate(directory: str, uid: int) -> None:
    """Give the cgroup v2 at *directory* to *uid*, as cgroup-v2.rst, Delegation, wants it: the
    directory and those of its files by which its owner makes and fills cgroups below it."""
    listed = files.find("/sys/kernel/cgroup/delegate")
    names = (listed or "cgroup.procs\ncgroup.threads\ncgroup.subtree_control").split()
    for path in (directory, *(f"{directory}/{name}" for name in names)):
        try:
            os.chown(path, uid, -1)
        except FileNotFoundError:
            continue  # a controller's file, and the controller is not here
        except OSError as error:
            raise files.failure("chown", path, error) from None


def inherit_cpuset(directory: str, mount: str) -> None:
    """Fill the cpuset of a new v1 cgroup from the one above: a new one is empty, and nobody may
    join an empty one (cpuset(7), Error conditions, ENOSPC)."""
    above = os.path.dirname(directory)
    if len(above) > len(mount) and not files.read(f"{above}/cpuset.cpus").strip():
        inherit_cpuset(above, mount)
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not files.read(f"{directory}/{file}").strip():
            files.write(f"{directory}/{file}", files.read(f"{above}/{file}").strip())


def _hand_out(control: str, value: str, *, own: str) -> None:
    """Enable controllers for the children of a cgroup, making room when it is we who sit in it."""
    try:
        files.write(control, value)
    except SyscallError as error:
        if error.errno != errno.EBUSY or os.path.dirname(control) != own:
            raise
        if not _make_room(own):
            raise
        files.write(control, value)


def _make_room(own: str) -> bool:
    """Move ourselves out of our own cgroup into its child ``newroot.self``.

    cgroup v2 lets no cgroup have both processes and children with controllers.  Only we and our
    descendants are moved: when somebody else is there too it is not ours to rearrange.
    """
    inside = [int(pid) for pid in files.read(f"{own}/cgroup.procs").split()]
    if not all(_is_ours(pid) for pid in inside):
        return False
    leaf = f"{own}/{SELF_LEAF}"
    try:
        os.mkdir(leaf, 0o755)
    except FileExistsError:
        pass
    except OSError as error:
        raise files.failure("mkdir", leaf, error) from None
    for pid in inside:
        try:
            files.write(f"{leaf}/cgroup.procs", str(pid))
        except SyscallError as error:
            if error.errno != errno.ESRCH:
                raise
    return True


def _is_ours(pid: int) -> bool:
    """Whether *pid* is this process or one that descends from it."""
    while pid > 1:
        if pid == os.getpid():
            return True
        stat = files.find(f"/proc/{pid}/stat")
        if stat is None:
            return True  # it has exited: no obstacle
        pid = int(stat.rpartition(")")[2].split()[1])
    return pid == os.getpid()


def enable(
    directory: str, names: Collection[str], hierarchy: Hierarchy, *, also: Collection[str] = ()
) -> None:
    """Have the controllers *names* in the cgroup v2 at *directory*, by way of those above it.

    And *also* those, as far as the kernel and the cgroups above allow.
    """
    wanted = [name for name in names if name]
    also = [name for name in also if name and name not in wanted]
    here = set(files.read(f"{directory}/cgroup.controllers").split())
    if here.issuperset(wanted) and here.issuperset(also):
        return
    for above in _directories_between(hierarchy.mount, directory):
        control = f"{above}/cgroup.subtree_control"
        enabled = files.read(control).split()
        missing = " ".join(f"+{name}" for name in wanted if name not in enabled)
        if missing:
            _hand_out(control, missing, own=hierarchy.own_directory())
        for name in also:
            if name not in enabled:
                try:
                    _hand_out(control, f"+{name}", own=hierarchy.own_directory())
                except SyscallError:
                    continue
