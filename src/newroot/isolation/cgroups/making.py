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


def make_directory(directory: str) -> None:
    """Make a container's directory, and those above it.  One that is there must be unused."""
    try:
        try:
            os.mkdir(directory, 0o755)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(directory), 0o755, exist_ok=True)
            os.mkdir(directory, 0o755)
    except FileExistsError:
        _make_anew(directory)
    except OSError as error:
        raise files.failure("mkdir", directory, error) from None


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


def enable(directory: str, names: Collection[str], hierarchy: Hierarchy) -> None:
    """Have the controllers *names* in the cgroup v2 at *directory*, by way of those above it."""
    wanted = [name for name in names if name]
    if not wanted or set(wanted) <= set(files.read(f"{directory}/cgroup.controllers").split()):
        return
    for above in _directories_between(hierarchy.mount, directory):
        control = f"{above}/cgroup.subtree_control"
        enabled = files.read(control).split()
        missing = " ".join(f"+{name}" for name in wanted if name not in enabled)
        if missing:
            _hand_out(control, missing, own=hierarchy.own_directory())
