"""Which cgroup hierarchies this host has, where they are mounted, and where we are in them.

Everything comes from /proc/self/mountinfo and /proc/self/cgroup (and, for cgroup v2, one
cgroup.controllers), each read once; nothing is assumed of /sys/fs/cgroup.  So it is also right in
a container whose cgroup mount is read-only, shows only a subtree, or is not there.  The answer
may be kept for as long as the process lives: neither mounts nor our own place move by themselves.
"""

from __future__ import annotations

import os

from newroot.errors import SyscallError
from newroot.isolation.cgroups import files
from newroot.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The child into which we move ourselves when we sit where controllers must be handed out
#: (cgroup.py, ``_make_room``).  What is relative to our own cgroup is relative to its parent.
SELF_LEAF = "newroot.self"


@record
class Hierarchy:
    """One mounted cgroup hierarchy."""

    version: int  #: 1 or 2
    controllers: tuple[str, ...]  #: v1: ("cpu", "cpuacct"); v2: what its cgroup.controllers says
    mount: str  #: where it is mounted
    root: str  #: which cgroup the mount shows as its top; "/" but in a container
    own: str  #: the cgroup that we are in, as /proc/self/cgroup names it
    readonly: bool

    def directory(self, path: str) -> str:
        """Where the cgroup *path* is in the file system.

        As runc's cgroupfs driver decides it: an absolute path counts from the top of the mount,
        and so leaves whatever cgroup we are in ourselves; a relative one counts from our own
        cgroup on v1, and on v2 from its parent, for a cgroup v2 with processes in it (us) cannot
        hand out controllers.  Where that parent is not ours to write, as in a systemd unit with
        Delegate=yes, it counts from our own cgroup on v2 too.
        """
        if path.startswith("/"):
            return self.mount.rstrip("/") + path.rstrip("/")
        return f"{self.base()}/{path}"

    def own_directory(self) -> str:
        """The directory of the cgroup that we are in, as far as the mount shows it."""
        own = self.own.removesuffix("/" + SELF_LEAF) or "/"
        root = self.root.rstrip("/")
        if own != self.root and not own.startswith(root + "/"):
            # In a container without a cgroup namespace of its own, /proc/self/cgroup can name a
            # place that the mount does not show.  The top of the mount is the nearest to it.
            return self.mount.rstrip("/")
        return (self.mount.rstrip("/") + own[len(root) :]).rstrip("/")

    def base(self) -> str:
        """The directory that relative paths count from."""
        own = self.own_directory()
        above = os.path.dirname(own)
        inside = len(above) >= len(self.mount.rstrip("/"))
        if self.version == 2 and inside and os.access(above, os.W_OK):
            return above
        return own


@record
class CgroupHost:
    """The cgroup hierarchies of this host, as this process sees them."""

    mode: str  #: "v1", "v2", "hybrid" (v1 controllers beside a cgroup2 mount) or "none"
    hierarchies: tuple[Hierarchy, ...]
    delegated: bool  #: the top is not ours to write, only (perhaps) a part below it
    why: str  #: what stands in the way, if anything does: "mounted read-only", "not mounted"

    @property
    def unified(self) -> Hierarchy | None:
        """The cgroup v2 hierarchy."""
        return next((h for h in self.hierarchies if h.version == 2), None)

    def find(self, controller: str) -> Hierarchy | None:
        """The hierarchy that *controller* lives in."""
        return next((h for h in self.hierarchies if controller in h.controllers), None)

    def default_path(self, container_id: str) -> str:
        """The cgroup of a container for which nobody chose one.

        ``/newroot/<id>``, or ``newroot/<id>`` relative to our own cgroup where the top of the
        hierarchy is not ours.
        """
        return f"{'' if self.delegated else '/'}newroot/{container_id}"


def detect() -> CgroupHost:
    """Ask the kernel which cgroup hierarchies there are."""
    host = read_host(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
    unified = host.unified
    if unified is not None:
        controllers = tuple(_read(f"{unified.mount}/cgroup.controllers").split())
        host = _with_controllers(host, unified, controllers)
    if host.hierarchies and not os.access((unified or host.hierarchies[0]).mount, os.W_OK):
        host = replace(host, delegated=True)
    return host


def read_host(mountinfo: str, own_cgroups: str) -> CgroupHost:
    """What the two files say.  Pure; the controllers of cgroup v2 are in neither."""
    own = dict(_own_cgroups(own_cgroups))
    hierarchies: dict[tuple[str, ...], Hierarchy] = {}
    for mount in _visible_cgroup_mounts(mountinfo):
        version, names, target, root, readonly = mount
        known = tuple(name for name in names if name in own) if version == 1 else ()
        if version == 1 and not known:
            continue
        first = hierarchies.get(known)
        if first is None or (first.readonly and not readonly):
            hierarchies[known] = Hierarchy(
                version=version,
                controllers=known,
                mount=target,
                root=root,
                own=own.get(known[0] if known else "", "/"),
                readonly=readonly,
            )
    found = tuple(hierarchies.values())
    return CgroupHost(mode=_mode(found), hierarchies=found, delegated=False, why=_why(found))


def _mode(hierarchies: Iterable[Hierarchy]) -> str:
    # A named hierarchy (name=systemd) has no controller: it makes no host a v1 host.
    v1 = any(
        not name.startswith("name=")
        for h in hierarchies
        if h.version == 1
        for name in h.controllers
    )
    v2 = any(h.version == 2 for h in hierarchies)
    return {(True, True): "hybrid", (True, False): "v1", (False, True): "v2"}.get((v1, v2), "none")


def _why(hierarchies: tuple[Hierarchy, ...]) -> str:
    if not hierarchies:
        return "no cgroup file system is mounted here"
    if all(h.readonly for h in hierarchies):
        return "the cgroup file system is mounted read-only here"
    return ""


def _own_cgroups(text: str) -> Iterator[tuple[str, str]]:
    """Controller (or name=…, or "" for v2) and our path in its hierarchy: cgroups(7)."""
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            yield name, path


def _visible_cgroup_mounts(text: str) -> list[tuple[int, tuple[str, ...], str, str, bool]]:
    """Version, options, mount point, root and read-only of the mounts that no later one covers.

    The lines of a mountinfo are in the order of mounting.
    """
    kept: list[tuple[int, tuple[str, ...], str, str, bool]] = []
    above: set[str] = set()  # where a later mount would cover one that is kept
    for line in text.splitlines():
        if not kept and " - cgroup" not in line:
            continue
        head, _, tail = line.partition(" - ")
        _, _, _, root, target, options = head.split(" ", 6)[:6]
        target = _unescape(target)
        if target in above:
            kept = [k for k in kept if k[2] != target and not k[2].startswith(target + "/")]
        kind, _, super_options = tail.split(" ", 2)
        if kind not in ("cgroup", "cgroup2"):
            continue
        names = tuple(super_options.split(","))
        readonly = "ro" in options.split(",") or "ro" in names
        kept.append((1 if kind == "cgroup" else 2, names, target, _unescape(root), readonly))
        above.update(_prefixes(target))
    return kept


def _prefixes(path: str) -> Iterator[str]:
    """*path* and the directories above it, but "/": nobody lives under a mount over that."""
    while len(path) > 1:
        yield path
        path = path.rpartition("/")[0]


def _unescape(path: str) -> str:
    """A mountinfo path as it is: space, tab, newline and backslash come as octal (proc(5))."""
    if "\\" not in path:
        return path
    first, *rest = path.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def _with_controllers(
    host: CgroupHost, unified: Hierarchy, controllers: tuple[str, ...]
) -> CgroupHost:
    changed = tuple(
        replace(h, controllers=controllers) if h is unified else h for h in host.hierarchies
    )
    return replace(host, hierarchies=changed)


def _read(path: str) -> str:
    """The whole of a /proc or cgroup file; "" when it is not there for us."""
    try:
        return files.find(path) or ""
    except SyscallError:
        return ""
