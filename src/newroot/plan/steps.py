"""Every step that a start is made of.  Read this page and you know what a container is.

A step is data: what to do and on what.  ``explain()`` is the one sentence that ``--explain``, an
error, a golden test and a log all show.  ``why`` is the reason that whoever made the plan gives.
A *target* is a path below the new root, resolved there whatever symlinks the image has, or a path
of the host where ``on_host`` says so.  A *source* is always a path of the host.
newroot-init has one C function for each step, of the same name.
"""

from __future__ import annotations

from newroot.linux import constants
from newroot.record import record

#: The time namespace that one has made, and is not in yet: time_namespaces(7).
OWN_TIME = "/proc/self/ns/time_for_children"


@record
class Step:
    """One thing that newroot-init does."""

    why: str = ""  #: the reason, for a person; not sent to newroot-init

    def explain(self) -> str:
        raise NotImplementedError


# ---- namespaces: what the process will be alone with ----


@record
class Unshare(Step):
    """Be in new namespaces.  As the plan's first step it is done by clone, and costs no more."""

    namespaces: tuple[str, ...]  #: of mount uts ipc pid net cgroup user

    def explain(self) -> str:
        return f"new namespaces: {', '.join(self.namespaces)}"


@record
class SetNamespace(Step):
    """Join a namespace that is there already: setns(2)."""

    namespace: str
    path: str  #: /proc/PID/ns/… or a file that such a one is bound to
    root: tuple[int, int] | None = None  #: of a user namespace, where known: its root out here

    def explain(self) -> str:
        return f"join the {self.namespace} namespace {self.path}"


@record
class JoinProcess(Step):
    """Join all these namespaces of a process at once: setns(2) on its pidfd.

    One call, so that the kernel asks for each with the rights that the user namespace among them
    gives, and so that they all are that process's, whatever becomes of it meanwhile.
    """

    namespaces: tuple[str, ...]
    pid: int = 0  #: for a person; 0: who made the mounts, and is gone
    fd: int = 0  #: its pidfd's number among the plan's own: ``Launcher.launch(own=…)``

    def explain(self) -> str:
        whose = f"of process {self.pid}" if self.pid else "that were made first"
        return f"join the namespaces {whose}: {', '.join(self.namespaces)}"


@record
class Birth(Step):
    """Go on in a child, born where this process has joined, and in new namespaces.

    Nobody moves to another pid namespace but by being born there: pid_namespaces(7).
    """

    namespaces: tuple[str, ...] = ()  #: the new ones

    def explain(self) -> str:
        new = f", in new namespaces: {', '.join(self.namespaces)}" if self.namespaces else ""
        return f"be born there{new}"


@record
class MapIds(Step):
    """Wait until the parent has mapped user and group ids: user_namespaces(7)."""

    uids: tuple[tuple[int, int, int], ...]  #: (inside, outside, how many)
    gids: tuple[tuple[int, int, int], ...]

    def explain(self) -> str:
        if not self.uids and not self.gids:
            return "be root where ids are mapped already"
        return f"map uids {_ranges(self.uids)} and gids {_ranges(self.gids)}"


@record
class Wait(Step):
    """Wait until the parent says go on."""

    reason: str

    def explain(self) -> str:
        return f"wait: {self.reason}"


@record
class AwaitStart(Step):
    """Be a created container: wait at a socket until somebody starts it.

    Whether the command is there is asked first, so that its absence is the creator's to hear.
    """

    paths: tuple[str, ...]  #: of the command
    listener: int = 0  #: the socket's number among the plan's own descriptors

    def explain(self) -> str:
        return "wait until it is started"


@record
class DieWithParent(Step):
    """Die when the launcher dies: PR_SET_PDEATHSIG."""

    def explain(self) -> str:
        return "die with the launcher"


@record
class NewSession(Step):
    """Lead a session of its own, away from the caller's terminal: setsid(2)."""

    def explain(self) -> str:
        return "lead a new session"


@record
class JoinCgroup(Step):
    """Go into a cgroup, before its namespace is made, so that it is that namespace's root."""

    procs: str  #: the cgroup.procs file

    def explain(self) -> str:
        kind = "cgroup" if self.procs.endswith("/cgroup.procs") else "resource group"
        return f"join the {kind} {self.procs.rpartition('/')[0]}"


@record
class SetHostname(Step):
    hostname: str

    def explain(self) -> str:
        return f"set the hostname to {self.hostname}"


@record
class SetDomainname(Step):
    domainname: str

    def explain(self) -> str:
        return f"set the domain name to {self.domainname}"


@record
class SetClocks(Step):
    """Shift the clocks of a new time namespace, before anybody is in it: time_namespaces(7)."""

    offsets: tuple[tuple[str, int, int], ...]  #: clock, seconds, nanoseconds

    def explain(self) -> str:
        shown = (f"{clock} by {s}.{ns:09} s" for clock, s, ns in self.offsets)
        return f"shift the clocks: {', '.join(shown)}"


@record
class MoveInterfaces(Step):
    """Wait until the parent has moved interfaces of the host in here: network_namespaces(7)."""

    interfaces: tuple[tuple[str, str], ...]  #: (name on the host, name in here)

    def explain(self) -> str:
        shown = (a if a == b else f"{a} as {b}" for a, b in self.interfaces)
        return f"move interfaces of the host in: {', '.join(shown)}"


@record
class LinkUp(Step):
    """Bring a network interface up."""

    interface: str

    def explain(self) -> str:
        return f"bring {self.interface} up"


# ---- the root: what the process will see ----


@record
class SetPropagation(Step):
    """Say whether mounts made here and there are seen there and here: mount_namespaces(7)."""

    target: str
    propagation: str  #: private, slave, shared or unbindable; with an r in front for all below
    on_host: bool = False

    def explain(self) -> str:
        return f"make {self.target} {self.propagation}"


@record
class MakeDir(Step):
    target: str
    mode: int = 0o755
    on_host: bool = False
    make_target: bool = False  #: with its parents, if they are missing, as mkdir -p

    def explain(self) -> str:
        return f"make the directory {self.target}"


@record
class WriteFile(Step):
    """Make a file of the host's side, with these bytes."""

    target: str
    data: bytes
    mode: int = 0o644

    def explain(self) -> str:
        return f"write {self.target} ({len(self.data)} bytes)"


@record
class MountFs(Step):
    """Mount a file system of the kernel's own."""

    type: str
    source: str
    target: str
    options: tuple[str, ...] = ()  #: the file system's own: size=64m, mode=1777, newinstance
    flags: tuple[str, ...] = ()  #: the mount's: ro nosuid nodev noexec noatime …
    on_host: bool = False
    make_target: bool = False
    no_symlinks: bool = False  #: refuse a target that a symlink leads to (CVE-2019-19921)
    in_proc: bool = False  #: a target in a proc file system will do (CVE-2019-16884)
    like_target: bool = False  #: the last option, mode=…, becomes the target's, if it is there
    copy_up: bool = False  #: it begins with what the target has: files, links, nodes

    def explain(self) -> str:
        copy_up = ("tmpcopyup",) if self.copy_up else ()
        options = ",".join(self.flags + self.options + copy_up)
        return f"mount {self.type} on {self.target}" + (f" ({options})" if options else "")


@record
class MountOverlay(Step):
    """Mount an overlay of *lower*, topmost first, on a directory of the host."""

    lower: tuple[str, ...]
    upper: str | None = None
    work: str | None = None
    target: str
    options: tuple[str, ...] = ()  #: volatile, userxattr, …
    flags: tuple[str, ...] = ()

    def explain(self) -> str:
        parts = [f"lower={':'.join(self.lower)}"]
        if self.upper is not None:
            parts.append(f"upper={self.upper}")
        parts.extend(self.options)
        return f"mount overlay on {self.target} ({', '.join(parts)})"


@record
class HoldTree(Step):
    """Take a clone of *source* while our mounts are still peers of the host's.

    A later BindMount with the same *place* puts it in the root; mounts made on either side are
    then seen on both: mount_namespaces(7).
    """

    source: str
    place: int
    recursive: bool = True

    def explain(self) -> str:
        return f"hold {self.source}, a peer of the host's"


@record
class BindMount(Step):
    """Show a file or directory of the host at *target* too."""

    source: str
    target: str
    recursive: bool = True  #: with the mounts below *source*
    flags: tuple[str, ...] = ()
    recursive_flags: tuple[str, ...] = ()  #: for the mounts below it too
    propagation: str | None = None
    on_host: bool = False
    make_target: bool = False
    place: int | None = None  #: of a HoldTree, whose clone is used
    idmap: str | None = None  #: a user namespace: ids on this mount are as they are in there
    recursive_idmap: bool = False
    in_proc: bool = False  #: a target in a proc file system will do (CVE-2019-16884)
    of_proc: bool = False  #: and nothing but a proc file system may be the source

    def explain(self) -> str:
        below = tuple("r" + flag for flag in self.recursive_flags)
        idmap = () if self.idmap is None else ("ridmap" if self.recursive_idmap else "idmap",)
        propagation = (self.propagation,) if self.propagation else ()
        options = ",".join((*self.flags, *below, *idmap, *propagation))
        return f"bind {self.source} on {self.target}" + (f" ({options})" if options else "")


@record
class SetAttr(Step):
    """Change the attributes of a mount: mount_setattr(2)."""

    target: str
    flags: tuple[str, ...]
    recursive: bool = False
    on_host: bool = False

    def explain(self) -> str:
        below = " and the mounts below it" if self.recursive else ""
        return f"make {self.target}{below} {','.join(self.flags)}"


@record
class UseRoot(Step):
    """From here on, targets are below this directory."""

    path: str

    def explain(self) -> str:
        return f"use {self.path} as the new root"


@record
class MakeNode(Step):
    """Make a device node, fifo or socket: mknod(2)."""

    target: str
    kind: str  #: c, b or p, as in mknod(1)
    major: int = 0
    minor: int = 0
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    if_missing: bool = False
    same_node: bool = False  #: with if_missing: one that is there must be the very same device

    def explain(self) -> str:
        return f"make the node {self.target} ({self.kind} {self.major}:{self.minor})"


@record
class MakeSymlink(Step):
    target: str
    to: str
    if_missing: bool = False

    def explain(self) -> str:
        return f"make the link {self.target} -> {self.to}"


@record
class Mask(Step):
    """Hide a file behind /dev/null, or a directory behind an empty one, if it is there."""

    target: str

    def explain(self) -> str:
        return f"mask {self.target}"


@record
class MakeReadonly(Step):
    """Bind a place on itself, read-only, if it is there."""

    target: str

    def explain(self) -> str:
        return f"make {self.target} read-only"


@record
class OpenTerminal(Step):
    """Open a terminal in the container's own devpts, and hand its other end to the caller."""

    rows: int = 0
    columns: int = 0
    uid: int = 0
    console: bool = True  #: show it as /dev/console: it is the container's own

    def explain(self) -> str:
        return "open a terminal"


@record
class SetSysctl(Step):
    name: str  #: net.ipv4.ip_forward; a slash stands for a dot within a name: sysctl(8)
    value: str

    def explain(self) -> str:
        return f"set {self.name} = {self.value}"


@record
class PivotRoot(Step):
    """Make the new root the root, and the old one a mount on top of it: pivot_root(2)."""

    root: str

    def explain(self) -> str:
        return f"pivot_root to {self.root}"


@record
class MoveRoot(Step):
    """Move the new root over the old one: for a host whose root is an initramfs."""

    root: str

    def explain(self) -> str:
        return f"move {self.root} over / and chroot to it"


@record
class Chroot(Step):
    """Take the new root as root, and leave the old one where it is.  The weakest way."""

    root: str

    def explain(self) -> str:
        return f"chroot to {self.root}"


@record
class DetachOldRoot(Step):
    """Let go of the old root, with all that is mounted on it: umount2(2), MNT_DETACH."""

    def explain(self) -> str:
        return "detach the old root"


# ---- identity: who the process is, and what it may do ----


@record
class SetOomScore(Step):
    score: int

    def explain(self) -> str:
        return f"set oom_score_adj to {self.score}"


@record
class SetScheduler(Step):
    """Say which scheduler runs the process, and how often: sched_setattr(2)."""

    policy: int  #: SCHED_FIFO and the like
    flags: int = 0  #: SCHED_FLAG_*
    nice: int = 0
    priority: int = 0
    runtime_ns: int = 0
    deadline_ns: int = 0
    period_ns: int = 0

    def explain(self) -> str:
        values = (
            f"{name} {getattr(self, name)}"
            for name in ("nice", "priority", "runtime_ns", "deadline_ns", "period_ns", "flags")
            if getattr(self, name)
        )
        return ", ".join([f"be scheduled by policy {_name('SCHED_', self.policy)}", *values])


@record
class SetAffinity(Step):
    """Run on these processors only: sched_setaffinity(2)."""

    cpus: tuple[int, ...]

    def explain(self) -> str:
        return f"run on the processors {','.join(map(str, self.cpus))}"


@record
class SetIoPriority(Step):
    """Take turns with others at a disk: ioprio_set(2)."""

    scheduling_class: int  #: IOPRIO_CLASS_*
    priority: int

    def explain(self) -> str:
        name = _name("IOPRIO_CLASS_", self.scheduling_class)
        return f"set the io priority to {name} {self.priority}"


@record
class SetMemoryPolicy(Step):
    """Say which NUMA nodes memory comes from: set_mempolicy(2)."""

    mode: int  #: MPOL_* with MPOL_F_*
    nodes: tuple[int, ...] = ()

    def explain(self) -> str:
        nodes = f" on the nodes {','.join(map(str, self.nodes))}" if self.nodes else ""
        return f"set the memory policy to {self.mode:#x}{nodes}"


@record
class SetPersonality(Step):
    """See the system as another kind of machine would: personality(2)."""

    personality: int  #: PER_*

    def explain(self) -> str:
        return f"set the personality to {self.personality:#x}"


@record
class SetLabel(Step):
    """Get a security module's label when the command is executed: proc_pid_attr(5)."""

    module: str  #: apparmor or selinux
    label: str

    def explain(self) -> str:
        return f"get the {self.module} label {self.label} at the next exec"


@record
class SetRlimit(Step):
    resource: int  #: RLIMIT_NOFILE and the like
    soft: int
    hard: int

    def explain(self) -> str:
        return f"limit {_name('RLIMIT_', self.resource)} to {_limit(self.soft)}:{_limit(self.hard)}"


@record
class SetBounding(Step):
    """Drop from the bounding set all capabilities but these: capabilities(7)."""

    keep: int  #: a mask, bit n is capability number n

    def explain(self) -> str:
        return f"bound the capabilities to {self.keep:#018x}"


@record
class SetUser(Step):
    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    umask: int = 0o022
    keep_groups: bool = False  #: setgroups is denied in this user namespace

    def explain(self) -> str:
        groups = "" if self.keep_groups else f", groups {list(self.groups)}"
        return f"become uid {self.uid}, gid {self.gid}{groups}, umask {self.umask:04o}"


@record
class SetCapabilities(Step):
    """Masks, bit n is capability number n."""

    effective: int
    permitted: int
    inheritable: int = 0
    ambient: int | None = 0  #: None: as they are

    def explain(self) -> str:
        ambient = "" if self.ambient is None else f", ambient {self.ambient:#x}"
        return (
            f"set the capabilities: effective {self.effective:#x}, permitted {self.permitted:#x}, "
            f"inheritable {self.inheritable:#x}{ambient}"
        )


@record
class SetNoNewPrivs(Step):
    """No program can give more privileges from here on: PR_SET_NO_NEW_PRIVS."""

    def explain(self) -> str:
        return "gain no new privileges"


@record
class LoadSeccomp(Step):
    """Load a filter of system calls: seccomp(2)."""

    program: bytes  #: struct sock_filter[]
    flags: int = 0  #: SECCOMP_FILTER_FLAG_*

    def explain(self) -> str:
        return f"load a seccomp filter of {len(self.program) // 8} instructions"


@record
class NewKeyring(Step):
    """Have a session keyring of one's own, without the caller's keys: session-keyring(7)."""

    name: str | None = None
    for_others: bool = False  #: searched by others: its owner is another one in a user namespace

    def explain(self) -> str:
        return "have a new session keyring" + (f", {self.name}" if self.name else "")


@record
class SetCwd(Step):
    path: str
    before_user: bool = False  #: where the user may not go; who may not either tries again as it

    def explain(self) -> str:
        return f"change to the directory {self.path}" + (
            " while every way is open" if self.before_user else ""
        )


@record
class Reap(Step):
    """Go on in a child, and stay as an init that forwards signals and collects orphans."""

    def explain(self) -> str:
        return "stay as init"


@record
class RunHook(Step):
    """Run a program of the config's, with the container's state on its standard input."""

    point: str  #: createContainer or startContainer
    path: str
    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    timeout_s: int = 0  #: 0: as long as it takes
    on_host: bool = False  #: the path is the host's; its working directory is the new root

    def explain(self) -> str:
        return f"run the {self.point} hook {self.path}"


@record
class Exec(Step):
    """Become the command: the first of *paths* that is there, as a shell tries PATH."""

    paths: tuple[str, ...]
    argv: tuple[str, ...]
    env: tuple[str, ...] = ()  #: NAME=value

    def explain(self) -> str:
        return f"execute {' '.join(self.argv)}"


@record
class Plan:
    """An ordered list of steps; the last one is the command."""

    steps: tuple[Step, ...]

    def explain(self) -> str:
        """One line a step."""
        return "".join(f"{n:3} {step.explain()}\n" for n, step in enumerate(self.steps, 1))


def _ranges(ranges: tuple[tuple[int, int, int], ...]) -> str:
    return " ".join(f"{inside}:{outside}:{size}" for inside, outside, size in ranges)


def _name(prefix: str, value: int) -> str:
    names = (name for name in vars(constants) if name.startswith(prefix))
    return next((name for name in names if getattr(constants, name) == value), str(value))


def _limit(value: int) -> str:
    return "unlimited" if value >= 2**64 - 1 or value < 0 else str(value)
