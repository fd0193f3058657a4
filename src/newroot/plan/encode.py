"""A plan becomes bytes for newroot-init: ``native/wire.h`` says the same in C.

Each step is one self-contained run of bytes: a head, then its text, with offsets counted from the
step's own start.  So a step's bytes do not depend on its place, and an engine that starts the same
container a thousand times encodes only the steps that differ.
"""

from __future__ import annotations

from struct import Struct

from newroot.errors import UsageError
from newroot.linux import constants as k
from newroot.plan import steps as s
from newroot.plan.mountflags import attribute_bits, propagation_bits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAGIC = int.from_bytes(b"newroot1", "little")
PLAN_HEAD = Struct("=QII")  #: struct plan
STEP_HEAD = Struct("=IHHIIIIQQQ")  #: struct step
MOST_STEPS = 1024  #: MAX_STEPS

ON_HOST, MAKE_TARGET, IF_PRESENT, RECURSIVE = 1, 2, 4, 8
ATTR_RECURSIVE, NO_SYMLINKS, KEEP_GROUPS, PROPAGATION_RECURSIVE = 16, 32, 64, 128
IDMAP_RECURSIVE, NO_CONSOLE, IN_PROC, PROC_SOURCE, LIKE_TARGET = 256, 512, 1024, 2048, 4096
COPY_UP, SAME_NODE = 8192, 16384

NAMESPACES: dict[str, int] = {
    "mount": k.CLONE_NEWNS,
    "uts": k.CLONE_NEWUTS,
    "ipc": k.CLONE_NEWIPC,
    "user": k.CLONE_NEWUSER,
    "pid": k.CLONE_NEWPID,
    "net": k.CLONE_NEWNET,
    "cgroup": k.CLONE_NEWCGROUP,
    "time": k.CLONE_NEWTIME,
}

S_IF = {"c": 0o020000, "b": 0o060000, "p": 0o010000, "u": 0o020000}

_PAGE = 4096  #: the most that mount(2) takes as options
_FSCONFIG = 255  #: the most that fsconfig(2) takes as one value


def _bytes(value: str) -> bytes:
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"half a surrogate pair in {value!r:.80}") from None


class _Text:
    """The text behind one step's head."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = STEP_HEAD.size

    def add(self, data: bytes, align: int = 1) -> int:
        pad = -self.size % align
        at = self.size + pad
        self.parts.append(b"\0" * pad + data)
        self.size = at + len(data)
        return at

    def string(self, value: str) -> int:
        raw = _bytes(value)
        if b"\0" in raw:
            raise UsageError(f"a NUL byte in {value!r}")
        return self.add(raw + b"\0")

    def list(self, values: tuple[str, ...] | list[str]) -> int:
        raw = [_bytes(value) for value in values]
        joined = b"\0".join(raw)
        if raw and joined.count(b"\0") != len(raw) - 1:
            raise UsageError(f"a NUL byte in {values!r}")
        words = len(raw) + 2
        at = self.add(b"", 8)
        place = at + 8 * words
        slots = [len(raw)]
        for item in raw:
            slots.append(place)
            place += len(item) + 1
        slots.append(0)
        self.add(Struct(f"={words}Q").pack(*slots) + joined + b"\0")
        return at


def _head(
    op: int,
    text: _Text,
    flags: int = 0,
    a: int = 0,
    b: int = 0,
    c: int = 0,
    d: int = 0,
    x: int = 0,
    y: int = 0,
    z: int = 0,
) -> bytes:
    tail = 8 + -text.size % 8
    size = text.size + tail
    head = STEP_HEAD.pack(size, op, flags, a, b, c, d, x, y, z)
    return b"".join((head, *text.parts, b"\0" * tail))


def clone_flags(namespaces: tuple[str, ...]) -> int:
    """The CLONE_NEW* bits of *namespaces*."""
    try:
        return sum(NAMESPACES[name] for name in namespaces)
    except KeyError as name:
        raise UsageError(f"unknown namespace {name}") from None


def _place(step: Any) -> int:
    """The flags of a step that say where its target is and whether it may be made."""
    return (
        (ON_HOST if getattr(step, "on_host", False) else 0)
        | (MAKE_TARGET if getattr(step, "make_target", False) else 0)
        | (IF_PRESENT if getattr(step, "if_missing", False) else 0)
        | (RECURSIVE if getattr(step, "recursive", False) else 0)
        | (NO_SYMLINKS if getattr(step, "no_symlinks", False) else 0)
        | (IN_PROC if getattr(step, "in_proc", False) else 0)
        | (PROC_SOURCE if getattr(step, "of_proc", False) else 0)
        | (LIKE_TARGET if getattr(step, "like_target", False) else 0)
        | (COPY_UP if getattr(step, "copy_up", False) else 0)
        | (SAME_NODE if getattr(step, "same_node", False) else 0)
    )


def _fs_options(step: s.MountFs, attributes: int) -> list[str]:
    """What goes to fsconfig(2); a read-only mount asks it of the file system too, as mount(8).
    Not of a tmpfs, which is nobody else's, and is written to first.
    """
    readonly = attributes & k.MOUNT_ATTR_RDONLY and step.type != "tmpfs"
    return [f"source={step.source}", *step.options, *(["ro"] if readonly else [])]


def escape_layer(path: str) -> str:
    """A layer's path as overlay's option parser wants it: Documentation/filesystems/overlayfs."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def overlay_options(step: s.MountOverlay) -> tuple[list[str], str | None]:
    """The options one by one for fsconfig(2), and as one line for mount(2) if a page holds it."""
    upper = []
    if step.upper is not None and step.work is not None:
        upper = [f"upperdir={_unparsed(step.upper)}", f"workdir={_unparsed(step.work)}"]
    ro = ["ro"] if "ro" in step.flags else []
    new = [f"lowerdir+={path}" for path in step.lower]
    old = ["lowerdir=" + ":".join(map(escape_layer, step.lower))]
    if step.upper is not None and step.work is not None:
        old += [f"upperdir={escape_layer(step.upper)}", f"workdir={escape_layer(step.work)}"]
    line = ",".join(old + list(step.options))
    options = [*new, *upper, "source=overlay", *step.options, *ro]
    if any(_length(option.partition("=")[2]) > _FSCONFIG for option in options):
        options = []
    return options, line if _length(line) < _PAGE else None


def _length(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _unparsed(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")


def _unshare(step: s.Unshare, t: _Text) -> bytes:
    return _head(1, t, x=clone_flags(step.namespaces))


def _set_namespace(step: s.SetNamespace, t: _Text) -> bytes:
    return _head(2, t, a=t.string(step.path), x=clone_flags((step.namespace,)))


def _set_propagation(step: s.SetPropagation, t: _Text) -> bytes:
    bits, recursive = propagation_bits(step.propagation)
    flags = _place(step) | (PROPAGATION_RECURSIVE if recursive else 0)
    return _head(8, t, flags, a=t.string(step.target), z=bits)


def _write_file(step: s.WriteFile, t: _Text) -> bytes:
    a, b = t.string(step.target), t.add(step.data)
    return _head(10, t, ON_HOST, a=a, b=b, x=step.mode, y=len(step.data))


def _mount_fs(step: s.MountFs, t: _Text) -> bytes:
    a, b = t.string(step.type), t.string(step.target)
    attributes = attribute_bits(step.flags)[0]
    c = t.list(_fs_options(step, attributes))
    return _head(11, t, _place(step), a=a, b=b, c=c, x=attributes)


def _mount_overlay(step: s.MountOverlay, t: _Text) -> bytes:
    new, old = overlay_options(step)
    a, b = t.string(step.target), t.list(new)
    c = t.string(old) if old is not None else 0
    ms = k.MS_RDONLY if "ro" in step.flags else 0
    return _head(12, t, ON_HOST, a=a, b=b, c=c, x=attribute_bits(step.flags)[0], y=ms)


def _bind_mount(step: s.BindMount, t: _Text) -> bytes:
    set_, clear = attribute_bits(step.flags)
    bits, recursive = propagation_bits(step.propagation) if step.propagation else (0, False)
    held = 0 if step.place is None else step.place + 1
    flags = _place(step) | (PROPAGATION_RECURSIVE if recursive else 0)
    flags |= IDMAP_RECURSIVE if step.recursive_idmap else 0
    a, b = t.string(step.source), t.string(step.target)
    c = 0
    if step.recursive_flags or step.idmap is not None:
        space = 0 if step.idmap is None else t.string(step.idmap)
        c = t.add(Struct("=QQQ").pack(*attribute_bits(step.recursive_flags), space), 8)
    return _head(13, t, flags, a=a, b=b, c=c, d=held, x=set_, y=clear, z=bits)


def _set_attr(step: s.SetAttr, t: _Text) -> bytes:
    set_, clear = attribute_bits(step.flags)
    flags = _place(step) & ~RECURSIVE | (ATTR_RECURSIVE if step.recursive else 0)
    return _head(15, t, flags, a=t.string(step.target), x=set_, y=clear)


def device_number(major: int, minor: int) -> int:
    """As the kernel's new_encode_dev() packs it: linux/kdev_t.h."""
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def _make_node(step: s.MakeNode, t: _Text) -> bytes:
    if step.kind not in S_IF:
        raise UsageError(f"unknown kind of node {step.kind!r} for {step.target}")
    mode, dev = S_IF[step.kind] | step.mode, device_number(step.major, step.minor)
    owner = step.uid << 32 | step.gid
    return _head(16, t, _place(step), a=t.string(step.target), x=mode, y=dev, z=owner)


def _make_symlink(step: s.MakeSymlink, t: _Text) -> bytes:
    a, b = t.string(step.target), t.string(step.to)
    return _head(17, t, _place(step), a=a, b=b)


def _make_readonly(step: s.MakeReadonly, t: _Text) -> bytes:
    return _head(19, t, ATTR_RECURSIVE, a=t.string(step.target), x=k.MOUNT_ATTR_RDONLY)


def _open_terminal(step: s.OpenTerminal, t: _Text) -> bytes:
    flags = MAKE_TARGET | NO_SYMLINKS if step.console else NO_CONSOLE
    return _head(20, t, flags, x=step.rows << 16 | step.columns, y=step.uid)


def sysctl_path(name: str) -> str:
    """``net.ipv4.ip_forward`` below /proc; slashes and dots trade places as in sysctl(8)."""
    if name.find("/") >= 0 and (name.find(".") < 0 or name.find("/") < name.find(".")):
        return "sys/" + name
    return "sys/" + "/".join(part.replace("/", ".") for part in name.split("."))


def _set_sysctl(step: s.SetSysctl, t: _Text) -> bytes:
    return _set_proc(21, t, sysctl_path(step.name), step.value)


def _set_proc(op: int, t: _Text, path: str, value: str) -> bytes:
    return _head(op, t, a=t.string(path), b=t.string(value))


def _set_label(step: s.SetLabel, t: _Text) -> bytes:
    if step.module == "apparmor":
        return _set_proc(40, t, "self/attr/apparmor/exec", f"exec {step.label}")
    return _set_proc(40, t, "self/attr/exec", step.label)


def clock_offsets(step: s.SetClocks) -> str:
    """What is written to timens_offsets: time_namespaces(7)."""
    return "".join(f"{clock} {seconds} {ns}\n" for clock, seconds, ns in step.offsets)


SCHED_ATTR = Struct("=IIQiIQQQII")  #: struct sched_attr, SCHED_ATTR_SIZE_VER1


def _set_scheduler(step: s.SetScheduler, t: _Text) -> bytes:
    times = (step.runtime_ns, step.deadline_ns, step.period_ns)
    attr = SCHED_ATTR.pack(
        SCHED_ATTR.size, step.policy, step.flags, step.nice, step.priority, *times, 0, 0
    )
    return _head(42, t, a=t.add(attr, 8))


def _mask(bits: tuple[int, ...]) -> bytes:
    """A bit mask of the kernel's: an array of unsigned long."""
    size = (max(bits, default=0) // 64 + 1) * 8
    return sum(1 << bit for bit in {*bits}).to_bytes(size, "little")


def _set_affinity(step: s.SetAffinity, t: _Text) -> bytes:
    mask = _mask(step.cpus)
    return _head(43, t, a=t.add(mask, 8), x=len(mask))


def _set_io_priority(step: s.SetIoPriority, t: _Text) -> bytes:
    return _head(44, t, x=step.scheduling_class << k.IOPRIO_CLASS_SHIFT | step.priority)


def _set_memory_policy(step: s.SetMemoryPolicy, t: _Text) -> bytes:
    mask = _mask(step.nodes)
    # The kernel reads one bit less than it is told: get_nodes() in mm/mempolicy.c.
    bits = len(mask) * 8 + 1 if step.nodes else 0
    return _head(45, t, a=t.add(mask + bytes(8), 8), x=step.mode, y=bits)


def _run_hook(step: s.RunHook, t: _Text) -> bytes:
    a, b, c = t.string(step.path), t.list(step.argv), t.list(step.env)
    return _head(48, t, _place(step), a=a, b=b, c=c, x=step.timeout_s)


#: What the kernel gives a session keyring, and the right to search: include/linux/key.h, keyctl(2).
KEYRING, KEY_USR_SEARCH, KEY_OTH_SEARCH = 0x3F130000, 0x00080000, 0x00000008


def _new_keyring(step: s.NewKeyring, t: _Text) -> bytes:
    who = KEY_OTH_SEARCH if step.for_others else KEY_USR_SEARCH
    return _head(52, t, a=t.string(step.name) if step.name else 0, x=KEYRING | who)


def _set_rlimit(step: s.SetRlimit, t: _Text) -> bytes:
    unlimited = 2**64 - 1
    soft, hard = step.soft & unlimited, step.hard & unlimited
    return _head(30, t, x=step.resource, y=soft, z=hard)


def _set_user(step: s.SetUser, t: _Text) -> bytes:
    groups = Struct(f"={len(step.groups)}I").pack(*step.groups)
    a = t.add(groups, 8) if groups else 0
    flags = KEEP_GROUPS if step.keep_groups else 0
    return _head(32, t, flags, a=a, d=len(step.groups), x=step.uid, y=step.gid, z=step.umask)


def _set_capabilities(step: s.SetCapabilities, t: _Text) -> bytes:
    a = 0 if step.ambient is None else t.add(Struct("=Q").pack(step.ambient), 8)
    return _head(33, t, a=a, x=step.effective, y=step.permitted, z=step.inheritable)


def _load_seccomp(step: s.LoadSeccomp, t: _Text) -> bytes:
    return _head(35, t, a=t.add(step.program, 8), x=len(step.program) // 8, y=step.flags)


def _exec(step: s.Exec, t: _Text) -> bytes:
    return _head(38, t, a=t.list(step.paths), b=t.list(step.argv), c=t.list(step.env))


if TYPE_CHECKING:
    Encoder = Callable[[Any, _Text], bytes]

#: In the order of ``enum op`` in wire.h; a test compares the numbers.
ENCODERS: dict[type[s.Step], Encoder] = {
    s.Unshare: _unshare,
    s.SetNamespace: _set_namespace,
    s.MapIds: lambda step, t: _head(3, t),
    s.Wait: lambda step, t: _head(4, t),
    s.DieWithParent: lambda step, t: _head(5, t),
    s.NewSession: lambda step, t: _head(6, t),
    s.JoinCgroup: lambda step, t: _head(7, t, a=t.string(step.procs)),
    s.SetPropagation: _set_propagation,
    s.MakeDir: lambda step, t: _head(9, t, _place(step), a=t.string(step.target), x=step.mode),
    s.WriteFile: _write_file,
    s.MountFs: _mount_fs,
    s.MountOverlay: _mount_overlay,
    s.BindMount: _bind_mount,
    s.UseRoot: lambda step, t: _head(14, t, a=t.string(step.path)),
    s.SetAttr: _set_attr,
    s.MakeNode: _make_node,
    s.MakeSymlink: _make_symlink,
    s.Mask: lambda step, t: _head(18, t, a=t.string(step.target)),
    s.MakeReadonly: _make_readonly,
    s.OpenTerminal: _open_terminal,
    s.SetSysctl: _set_sysctl,
    s.SetHostname: lambda step, t: _head(22, t, a=t.string(step.hostname)),
    s.SetDomainname: lambda step, t: _head(23, t, a=t.string(step.domainname)),
    s.LinkUp: lambda step, t: _head(24, t, a=t.string(step.interface)),
    s.PivotRoot: lambda step, t: _head(25, t),
    s.MoveRoot: lambda step, t: _head(26, t),
    s.Chroot: lambda step, t: _head(27, t),
    s.DetachOldRoot: lambda step, t: _head(28, t),
    s.SetOomScore: lambda step, t: _set_proc(29, t, "self/oom_score_adj", str(step.score)),
    s.SetRlimit: _set_rlimit,
    s.SetBounding: lambda step, t: _head(31, t, x=step.keep),
    s.SetUser: _set_user,
    s.SetCapabilities: _set_capabilities,
    s.SetNoNewPrivs: lambda step, t: _head(34, t),
    s.LoadSeccomp: _load_seccomp,
    s.SetCwd: lambda step, t: _head(
        36, t, IF_PRESENT if step.before_user else 0, a=t.string(step.path)
    ),
    s.Reap: lambda step, t: _head(37, t),
    s.Exec: _exec,
    s.HoldTree: lambda step, t: _head(39, t, _place(step), a=t.string(step.source), x=step.place),
    s.SetLabel: _set_label,
    s.SetClocks: lambda step, t: _set_proc(41, t, "self/timens_offsets", clock_offsets(step)),
    s.SetScheduler: _set_scheduler,
    s.SetAffinity: _set_affinity,
    s.SetIoPriority: _set_io_priority,
    s.SetMemoryPolicy: _set_memory_policy,
    s.SetPersonality: lambda step, t: _head(46, t, x=step.personality),
    s.MoveInterfaces: lambda step, t: _head(47, t),
    s.RunHook: _run_hook,
    s.JoinProcess: lambda step, t: _head(49, t, d=step.fd, x=clone_flags(step.namespaces)),
    s.Birth: lambda step, t: _head(50, t, x=clone_flags(step.namespaces)),
    s.AwaitStart: lambda step, t: _head(51, t, a=t.list(step.paths), d=step.listener),
    s.NewKeyring: _new_keyring,
}


def first_namespaces(plan: s.Plan) -> tuple[str, ...]:
    """The namespaces that the plan's first process is born in."""
    first = plan.steps[0]
    return first.namespaces if isinstance(first, s.Unshare) else ()


def needs_birth(plan: s.Plan) -> bool:
    """Whether the launcher has to hear of a birth: ``Launcher.launch(birth=…)``."""
    return any(type(step) is s.Birth for step in plan.steps)


def encode_step(step: s.Step) -> bytes:
    """One step's bytes.  Raises UsageError for text that cannot be sent (a NUL byte)."""
    return ENCODERS[type(step)](step, _Text())


def encode_steps(steps: tuple[s.Step, ...]) -> bytes:
    """The bytes of some steps, to stand anywhere in a plan."""
    return b"".join([encode_step(step) for step in steps])


def join(count: int, *runs: bytes) -> bytes:
    """A whole plan of *count* steps from runs of encoded steps."""
    if count > MOST_STEPS:
        raise UsageError(f"a plan of {count} steps; newroot-init takes {MOST_STEPS}")
    size = PLAN_HEAD.size + sum(map(len, runs))
    return b"".join((PLAN_HEAD.pack(MAGIC, size, count), *runs))


def encode(plan: s.Plan, *, checked: bool = False) -> bytes:
    """A whole plan's bytes; *checked* raises BugError for a plan made in a wrong order."""
    if checked:
        from newroot.plan.order import check

        check(plan)
    return join(len(plan.steps), encode_steps(plan.steps))
