"""Why a step failed, and what to try: one row for each failure that people meet.

The kernel's errno is often one word for six causes.  A row says for which steps, errnos, system
calls and words of the kernel it holds; where the cause can only be told by looking, it looks: at
the plan, at the host, at what the new root was made from.  The first row that fits counts.

``cause`` stands in the message in place of the kernel's words, where those mislead; ``remedy`` is
the hint; ``proof`` is where it is written.  docs/reference/errors.md is made from this table.
"""

from __future__ import annotations

import errno
import os

from newroot.plan import host as h
from newroot.plan import steps as s
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from newroot.plan.exec_failure import Finding


class Failure:
    """What is known of a failed step, and what can be looked at."""

    def __init__(
        self,
        plan: s.Plan,
        index: int,  # of the step, from 0
        error: int,
        *,
        call: str = "",  # the system call
        log: str = "",  # the kernel's words
        host: h.Host | None = None,
    ) -> None:
        self.plan = plan
        self.index = index
        self.error = error
        self.call = call
        self.log = log
        self.host = host or h.Host()
        self._command: Finding | None = None

    @property
    def step(self) -> s.Step:
        return self.plan.steps[self.index]

    @property
    def before(self) -> tuple[s.Step, ...]:
        return self.plan.steps[: self.index]

    def command(self) -> Finding:
        """What is wrong with the command; for an Exec that failed."""
        from newroot.plan.exec_failure import examine

        assert isinstance(self.step, s.Exec)
        if self._command is None:
            self._command = examine(self.plan, self.index, self.step, self.host.machine())
        return self._command


@record
class Row:
    """One failure that people meet."""

    name: str
    steps: tuple[type[s.Step], ...] = ()  #: empty: any
    errors: tuple[str, ...]
    calls: tuple[str, ...] = ()  #: empty: any
    words: str = ""  #: what the kernel's log has in it
    find: Callable[[Failure], str | None] | None = None
    """Looks; None: the row does not fit; else what to put where the texts say ``{found}``."""
    cause: str = ""  #: in place of the kernel's words; empty: those are right
    remedy: str
    proof: str


@record
class Diagnosis:
    """A row's texts, with what was found in them."""

    name: str
    cause: str
    remedy: str


def diagnose(failure: Failure) -> Diagnosis | None:
    """The first row that fits, or None.

    What a row looks at may be gone, or not ours to see.  Then the row does not fit: an error in
    here must not hide the one that is to be explained.
    """
    name = errno.errorcode.get(failure.error, "")
    for row in ROWS:
        if name not in row.errors or (row.steps and not isinstance(failure.step, row.steps)):
            continue
        if (row.calls and failure.call not in row.calls) or row.words not in failure.log:
            continue
        try:
            found = "" if row.find is None else row.find(failure)
        except (OSError, ValueError):
            continue
        if found is not None:
            return Diagnosis(
                name=row.name,
                cause=row.cause.replace("{found}", found),
                remedy=row.remedy.replace("{found}", found),
            )
    return None


def diagnose_clone(error: int) -> Diagnosis | None:
    """Why newroot-init could not be cloned into its namespaces: the plan's first step."""
    born = s.Plan(steps=(s.Unshare(namespaces=()),))
    return diagnose(Failure(born, 0, error, call="clone3"))


# ---- looking at the plan ----


def _new_namespaces(f: Failure) -> set[str]:
    lists = (step.namespaces for step in f.before if isinstance(step, s.Unshare))
    return {name for names in lists for name in names}


def _in_user_namespace(f: Failure) -> str | None:
    return "" if "user" in _new_namespaces(f) or f.host.in_user_namespace() else None


def _locked_lower(f: Failure) -> str | None:
    """A lower directory with mounts below it, in a user namespace."""
    if _in_user_namespace(f) is None or not isinstance(f.step, s.MountOverlay):
        return None
    points = [mount.mount_point for mount in f.host.mounts()]
    for lower in f.step.lower:
        below = lower.rstrip("/") + "/"
        if any(point.startswith(below) and point != "/" for point in points):
            return lower
    return None


def _filtered(f: Failure) -> str | None:
    """Whether a filter is loaded already, before any of ours."""
    status = f.host.read("/proc/self/status") or ""
    return "" if "\nSeccomp:\t2" in status else None


def _without(namespace: str) -> Callable[[Failure], str | None]:
    def find(f: Failure) -> str | None:
        if _in_user_namespace(f) is None or namespace in _new_namespaces(f):
            return None
        return namespace

    return find


def _type(f: Failure) -> str:
    return f.step.type if isinstance(f.step, s.MountFs) else "overlay"


def _of_type(*types: str) -> Callable[[Failure], str | None]:
    return lambda f: _type(f) if _type(f) in types else None


def _both(
    first: Callable[[Failure], str | None], second: Callable[[Failure], str | None]
) -> Callable[[Failure], str | None]:
    """Both must fit; what the second one found counts."""
    return lambda f: None if first(f) is None else second(f)


#: With FS_USERNS_MOUNT; the flag is on each file_system_type in the kernel's source.
_USERNS_TYPES = (
    "proc sysfs tmpfs ramfs devpts mqueue cgroup cgroup2 overlay fuse bpf binfmt_misc".split()
)


def _no_userns_mount(f: Failure) -> str | None:
    return None if _type(f) in _USERNS_TYPES else _both(_in_user_namespace, _type)(f)


def _root_path(f: Failure) -> str:
    return next((step.path for step in reversed(f.before) if isinstance(step, s.UseRoot)), "")


def _mounted_by_plan(f: Failure, path: str) -> bool:
    kinds = (s.MountOverlay, s.MountFs, s.BindMount)
    return any(
        isinstance(step, kinds) and getattr(step, "on_host", True) and step.target == path
        for step in f.before
    )


# ---- pivot_root ----


def _is_current_root(f: Failure) -> str | None:
    path = _root_path(f)
    return path if path == "/" or f.host.is_same_file(path, "/") else None


def _is_no_mount_point(f: Failure) -> str | None:
    path = _root_path(f)
    if _mounted_by_plan(f, path) or f.host.is_mount_point(path):
        return None
    return path


def _root_is_rootfs(f: Failure) -> str | None:
    return f.host.root_type() if f.host.root_type() in ("rootfs", "ramfs") else None


def _from_chroot(f: Failure) -> str | None:
    chrooted = any(isinstance(step, s.Chroot) for step in f.before) or f.host.is_chrooted()
    return "" if chrooted else None


def _shared(f: Failure) -> str | None:
    """The last word that the plan has on propagation; without one, the host's."""
    said = [step for step in f.before if isinstance(step, s.SetPropagation)]
    for step in reversed(said):
        word = step.propagation.removeprefix("r")
        return step.target if word == "shared" else None
    return "/" if f.host.is_shared("/") else None


# ---- overlay ----


def _overlay(f: Failure) -> s.MountOverlay:
    assert isinstance(f.step, s.MountOverlay)
    return f.step


def _missing_layer(f: Failure) -> str | None:
    step = _overlay(f)
    made = {getattr(done, "target", None) for done in f.before}
    named = [("lower", path) for path in step.lower]
    named += [(name, path) for name in ("upper", "work") if (path := getattr(step, name))]
    for name, path in named:
        if path not in made and not f.host.exists(path):
            return f"{name} directory {path}"
    return None


def _layer_no_directory(f: Failure) -> str | None:
    step = _overlay(f)
    paths = (*step.lower, *(path for path in (step.upper, step.work) if path))
    return next((p for p in paths if f.host.exists(p) and not f.host.is_directory(p)), None)


def _too_many_layers(f: Failure) -> str | None:
    count = len(_overlay(f).lower)
    return str(count) if count > MOST_LAYERS else None


def _paths_too_long(f: Failure) -> str | None:
    step = _overlay(f)
    longest = max((*step.lower, step.upper or "", step.work or ""), key=len)
    return longest if len(os.fsencode(longest)) > 245 else None


def _on_different_file_systems(f: Failure) -> str | None:
    step = _overlay(f)
    if not step.upper or not step.work:
        return None
    # A mount of the plan's own hides what the host shows there.
    for path in (step.upper, step.work):
        if _mounted_by_plan(f, path):
            return f"{step.upper} and {step.work}"
    if f.host.device(step.upper) == f.host.device(step.work):
        return None
    return f"{step.upper} and {step.work}"


def _inside_each_other(f: Failure) -> str | None:
    step = _overlay(f)
    if not step.upper or not step.work:
        return None
    upper, work = os.path.realpath(step.upper), os.path.realpath(step.work)
    if os.path.commonpath((upper, work)) in (upper, work):
        return f"{step.upper} and {step.work}"
    return None


def _volatile_left(f: Failure) -> str | None:
    work = _overlay(f).work
    mark = f"{work}/work/incompat/volatile"
    return work if work and f.host.exists(mark) else None


def _one_lower_alone(f: Failure) -> str | None:
    step = _overlay(f)
    return "" if len(step.lower) == 1 and not step.upper else None


def _stacked(f: Failure) -> str | None:
    """A layer that is on an overlay which is on an overlay: the plan's own, or the host's."""
    paths = [*_overlay(f).lower, *filter(None, [_overlay(f).upper])]
    overlays = [step for step in f.before if isinstance(step, s.MountOverlay)]
    for path in paths:
        if any(_is_below(path, made.target) for made in overlays):
            return path
        if f.host.file_system(path) == "overlay":
            return path
    return None


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")


def _unsupported_upper(f: Failure) -> str | None:
    """The file system of the upper: an overlay of the plan's own, or one that the host has."""
    upper = _overlay(f).upper
    if not upper:
        return None
    overlays = [step.target for step in f.before if isinstance(step, s.MountOverlay)]
    on_overlay = any(_is_below(upper, target) for target in overlays)
    kind = "overlay" if on_overlay else f.host.file_system(upper)
    return kind if kind in _NO_UPPER else None


_NO_UPPER = (
    "overlay proc sysfs nfs nfs4 vfat exfat ntfs3 fuseblk 9p cifs smb3 cgroup cgroup2".split()
)


# ---- targets ----


def _target(f: Failure) -> str:
    return str(getattr(f.step, "target", ""))


def _link_to_nowhere(f: Failure) -> str | None:
    from newroot.plan.view import RootView

    if getattr(f.step, "on_host", False):
        return None
    link = RootView(f.plan, f.index).first_link(_target(f))
    return None if link is None else f"{link[0]} is a symlink to {link[1]}"


def _link_inside_kernel_mount(f: Failure) -> str | None:
    return _link_to_nowhere(f) if getattr(f.step, "no_symlinks", False) else None


def _in_kernel_file_system(f: Failure) -> str | None:
    from newroot.plan.view import RootView

    place = RootView(f.plan, f.index).place_of(_target(f))
    kernel = ("proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2")
    return place.source if place is not None and place.source in kernel else None


def _file_on_the_way(f: Failure) -> str | None:
    from newroot.plan.view import RootView

    return RootView(f.plan, f.index).first_file(_target(f))


def _target_missing(f: Failure) -> str | None:
    return None if getattr(f.step, "make_target", False) else _target(f)


def _source_missing(f: Failure) -> str | None:
    assert isinstance(f.step, s.BindMount | s.HoldTree)
    return None if f.host.exists(f.step.source) else f.step.source


def _source_is_dangling(f: Failure) -> str | None:
    assert isinstance(f.step, s.BindMount | s.HoldTree)
    text = f.host.link_text(f.step.source)
    return None if text is None or f.host.exists(f.step.source) else f"{f.step.source} -> {text}"


def _mapped_source(f: Failure) -> str | None:
    return f.step.source if isinstance(f.step, s.BindMount) and f.step.idmap is not None else None


def _kinds_differ(f: Failure) -> str | None:
    assert isinstance(f.step, s.BindMount)
    if f.host.is_directory(f.step.source):
        return f"{f.step.source} is a directory, and {f.step.target} is a file"
    return f"{f.step.source} is a file, and {f.step.target} is a directory"


# ---- limits ----


def _mounts_at_limit(f: Failure) -> str | None:
    return f.host.read("/proc/sys/fs/mount-max")


# ---- the command ----


def _command(kind: str) -> Callable[[Failure], str | None]:
    """Fits when the look at the command found *kind*; says what was found."""

    def find(f: Failure) -> str | None:
        seen = f.command()
        if seen.kind != kind:
            return None
        return _SAID[kind](seen) if kind in _SAID else seen.detail or seen.path

    return find


_SAID: dict[str, Callable[[Finding], str]] = {
    "interpreter": lambda seen: f"{seen.detail}, the interpreter of {seen.path},",
    "loader": lambda seen: f"{seen.detail}, the loader of {seen.path},",
    "machine": lambda seen: f"{seen.path} is for {seen.detail}",
    "dangling": lambda seen: f"{seen.path} is a symlink to {seen.detail}",
    "noexec": lambda seen: seen.detail,
    "not-executable": lambda seen: f"{seen.path} is not executable (mode {seen.detail})",
    "forbidden": lambda seen: f"{seen.detail}: {seen.path}",
    "carriage-return": lambda seen: seen.path,
    "elsewhere": lambda seen: f"{seen.detail}; it is {seen.path}",
}


# ---- the table ----

MOST_LAYERS = 500  #: OVL_MAX_STACK, fs/overlayfs/params.h

_MOUNT_CALLS = tuple(
    "fsopen fsconfig fsmount open_tree move_mount mount pivot_root umount2 mount_setattr".split()
)
_BIND_OR_FS = (s.BindMount, s.HoldTree, s.MountFs, s.MountOverlay)
_TARGETED = (s.BindMount, s.MountFs, s.MakeDir, s.MakeNode, s.MakeSymlink, s.SetAttr,
             s.SetPropagation, s.Mask, s.MakeReadonly)  # fmt: skip
_ROOT = "run as root; inside another container that one needs CAP_SYS_ADMIN (--privileged)"

ROWS: tuple[Row, ...] = (
    # ---- entering the new root ----
    Row(
        name="pivot-to-current-root",
        steps=(s.PivotRoot,),
        errors=("EBUSY",),
        find=_is_current_root,
        cause="the new root is the current root",
        remedy="give a directory that is not /; --rootfs /:O runs on an overlay of the host's root",
        proof="fs/namespace.c, path_pivot_root: new_mnt == root_mnt is EBUSY; pivot_root(2)",
    ),
    Row(
        name="pivot-from-chroot",
        steps=(s.PivotRoot,),
        errors=("EINVAL",),
        find=_from_chroot,
        cause="the current root is not a mount point, as inside a chroot",
        remedy="start from outside the chroot, or use --switch chroot",
        proof="pivot_root(2), ERRORS; fs/namespace.c, path_pivot_root: !path_mounted(&root)",
    ),
    Row(
        name="pivot-to-no-mount-point",
        steps=(s.PivotRoot,),
        errors=("EBUSY", "EINVAL"),
        find=_is_no_mount_point,
        cause="the new root {found} is not a mount point",
        remedy="bind the directory on itself first: mount --bind {found} {found}",
        proof="pivot_root(2); fs/namespace.c, path_pivot_root: a plain directory of the current "
        "root's own mount is EBUSY (new_mnt == root_mnt), one of another mount is EINVAL "
        "(path_mounted)",
    ),
    Row(
        name="pivot-from-initramfs",
        steps=(s.PivotRoot,),
        errors=("EINVAL",),
        find=_root_is_rootfs,
        cause="the host runs from an initramfs ({found}), which cannot be pivoted away from",
        remedy="use --switch move",
        proof="pivot_root(2), NOTES; Documentation/filesystems/ramfs-rootfs-initramfs.rst; "
        "fs/namespace.c, path_pivot_root: !mnt_has_parent(root_mnt)",
    ),
    Row(
        name="pivot-shared",
        steps=(s.PivotRoot,),
        errors=("EINVAL",),
        find=_shared,
        cause="the mount {found} has shared propagation",
        remedy="make the mounts private or slave before: mount --make-rslave /",
        proof="pivot_root(2), ERRORS; fs/namespace.c, path_pivot_root: IS_MNT_SHARED of the new "
        "root, its parent or the current root's parent",
    ),
    Row(
        name="move-no-mount-point",
        steps=(s.MoveRoot,),
        errors=("EINVAL",),
        find=_is_no_mount_point,
        cause="the new root {found} is not a mount point",
        remedy="bind the directory on itself first: mount --bind {found} {found}",
        proof="mount(2), MS_MOVE; fs/namespace.c, do_move_mount: !path_mounted(old_path)",
    ),
    Row(
        name="move-shared",
        steps=(s.MoveRoot,),
        errors=("EINVAL",),
        find=_shared,
        cause="the mount {found} has shared propagation",
        remedy="make the mounts private or slave before: mount --make-rslave /",
        proof="mount(2), ERRORS; fs/namespace.c, do_move_mount: a mount whose parent is shared "
        "cannot be moved",
    ),
    Row(
        name="root-missing",
        steps=(s.UseRoot,),
        errors=("ENOENT", "ENOTDIR"),
        remedy="the new root must be a directory that is there when this step comes",
        proof="open(2), O_DIRECTORY",
    ),
    # ---- overlay ----
    Row(
        name="overlay-too-many-layers",
        steps=(s.MountOverlay,),
        errors=("EINVAL", "ENAMETOOLONG"),
        find=_too_many_layers,
        cause="{found} layers, and the kernel takes 500",
        remedy="flatten the image: import the export of a container as one layer",
        proof="fs/overlayfs/params.h, OVL_MAX_STACK; params.c, ovl_mount_dir_check: too many "
        "lower directories, limit is 500",
    ),
    Row(
        name="overlay-layer-missing",
        steps=(s.MountOverlay,),
        errors=("ENOENT",),
        calls=("fsconfig", "mount"),
        find=_missing_layer,
        cause="the {found} is not there",
        remedy="for a layer of an image: remove the image and get it again",
        proof="fs/overlayfs/params.c, ovl_mount_dir: kern_path",
    ),
    Row(
        name="overlay-layer-no-directory",
        steps=(s.MountOverlay,),
        errors=("EINVAL", "ENOTDIR"),
        calls=("fsconfig", "mount"),
        find=_layer_no_directory,
        cause="{found} is not a directory",
        remedy="lower, upper and work must be directories",
        proof="fs/overlayfs/params.c, ovl_mount_dir_check: is not a directory",
    ),
    Row(
        name="overlay-upper-unsupported",
        steps=(s.MountOverlay,),
        errors=("EINVAL",),
        words="not supported as upperdir",
        cause="the upper directory is on a file system that cannot be an overlay's upper",
        remedy="an overlay on an overlay, NFS or FAT cannot be written to: choose another --root, "
        "on ext4, xfs or btrfs, or keep what is written in memory with --upper memory",
        proof="fs/overlayfs/params.c, ovl_mount_dir_check: DCACHE_OP_REAL, ovl_dentry_weird; "
        "Documentation/filesystems/overlayfs.rst, Upper and Lower",
    ),
    Row(
        name="overlay-upper-read-only",
        steps=(s.MountOverlay,),
        errors=("EINVAL", "EROFS"),
        words="is read-only",
        cause="the upper directory is on a read-only mount",
        remedy="choose another --root, or keep what is written in memory with --upper memory",
        proof="fs/overlayfs/params.c, ovl_mount_dir_check: __mnt_is_readonly",
    ),
    Row(
        name="overlay-option-unknown",
        steps=(s.MountOverlay, s.MountFs),
        errors=("EINVAL",),
        words="Unknown parameter",
        cause="the file system does not know one of the options",
        remedy="see mount(8) for the options of the file system, and this kernel's version",
        proof="fs/fs_parser.c, vfs_parse_fs_param: Unknown parameter",
    ),
    Row(
        name="option-value",
        steps=(s.MountOverlay, s.MountFs),
        errors=("EINVAL",),
        words="Bad value for",
        cause="the value of one of the options is wrong",
        remedy="see mount(8) for what the option takes",
        proof="fs/fs_parser.c, fs_param_bad_value: Bad value for",
    ),
    Row(
        name="erofs-missing",
        steps=(s.MountFs,),
        errors=("ENODEV",),
        calls=("fsopen",),
        find=_of_type("erofs"),
        cause="this kernel has no EROFS, and a layer of the image is one",
        remedy="modprobe erofs; or remove the image and get it again with --layers directories",
        proof="fs/filesystems.c, get_fs_type; fsopen(2)",
    ),
    Row(
        name="erofs-not-from-a-file",
        steps=(s.MountFs,),
        errors=("ENOTBLK",),
        find=_of_type("erofs"),
        cause="this kernel mounts EROFS from block devices alone, and the layer is a file",
        remedy="it takes Linux 6.12 with CONFIG_EROFS_FS_BACKED_BY_FILE; or remove the image and "
        "get it again with --layers directories",
        proof="fs/erofs/super.c, erofs_fc_get_tree: get_tree_bdev_flags, then the file",
    ),
    Row(
        name="erofs-damaged",
        steps=(s.MountFs,),
        errors=("EINVAL", "EUCLEAN", "EIO"),
        find=_of_type("erofs"),
        cause="the layer's file is damaged",
        remedy="newroot doctor --repair makes it anew from the image's blob",
        proof="fs/erofs/super.c, erofs_read_superblock: cannot find valid erofs superblock",
    ),
    Row(
        name="unmapped-option",
        steps=(s.MountFs,),
        errors=("EINVAL",),
        words="Invalid gid",
        cause="the group that the option names is not mapped in this user namespace",
        remedy="leave the option out, or map that group",
        proof="fs/fs_parser.c, fs_param_is_gid: make_kgid, gid_valid",
    ),
    Row(
        name="overlay-upper-work-overlap",
        steps=(s.MountOverlay,),
        errors=("EINVAL", "ELOOP"),
        calls=("fsconfig", "mount"),
        find=_inside_each_other,
        cause="upper and work are one directory, or one is inside the other: {found}",
        remedy="make two directories beside each other",
        proof="fs/overlayfs/super.c, ovl_get_workdir: workdir and upperdir must be separate "
        "subtrees",
    ),
    Row(
        name="overlay-volatile-left",
        steps=(s.MountOverlay,),
        errors=("EINVAL",),
        calls=("fsconfig", "mount"),
        find=_volatile_left,
        cause="its last use, which was volatile, was not ended in order: what is in the upper "
        "directory may be damaged",
        remedy="remove the container; or, to look at what is left, the directory "
        "{found}/work/incompat/volatile",
        proof="Documentation/filesystems/overlayfs.rst, Volatile mount; fs/overlayfs/super.c, "
        "ovl_workdir_cleanup",
    ),
    Row(
        name="overlay-different-file-systems",
        steps=(s.MountOverlay,),
        errors=("EINVAL", "EXDEV"),
        calls=("fsconfig", "mount"),
        find=_on_different_file_systems,
        cause="upper and work are on different mounts: {found}",
        remedy="the work directory must be on the same mount as the upper directory",
        proof="fs/overlayfs/super.c, ovl_get_workdir: workdir and upperdir must reside under the "
        "same mount",
    ),
    Row(
        name="overlay-upper-without-xattr",
        steps=(s.MountOverlay,),
        errors=("EINVAL", "ENOTSUP", "EPERM"),
        calls=("fsconfig", "mount"),
        find=_unsupported_upper,
        cause="the upper directory is on {found}, which cannot be an overlay's upper",
        remedy="choose another --root, on ext4, xfs or btrfs, or keep what is written in memory "
        "with --upper memory",
        proof="Documentation/filesystems/overlayfs.rst, Upper and Lower: trusted.* or user.* "
        "xattrs and d_type are needed; fs/overlayfs/super.c, ovl_make_workdir",
    ),
    Row(
        name="overlay-one-lower",
        steps=(s.MountOverlay,),
        errors=("EINVAL",),
        calls=("fsconfig", "mount"),
        find=_one_lower_alone,
        cause="an overlay of one lower directory needs an upper",
        remedy="bind the one directory read-only, or give an upper and a work directory",
        proof="fs/overlayfs/super.c, ovl_get_lowerstack: at least 2 lowerdir are needed while "
        "upperdir nonexistent",
    ),
    Row(
        name="overlay-stacked",
        steps=(s.MountOverlay,),
        errors=("EINVAL",),
        calls=("fsconfig", "mount"),
        find=_stacked,
        cause="{found} is on an overlay that is on an overlay; the kernel stacks two",
        remedy="take the layers of the overlay below, not the overlay",
        proof="fs/overlayfs/super.c, ovl_get_lowerstack: maximum fs stacking depth exceeded; "
        "include/linux/fs.h, FILESYSTEM_MAX_STACK_DEPTH",
    ),
    Row(
        name="overlay-layers-overlap",
        steps=(s.MountOverlay,),
        errors=("ELOOP",),
        calls=("fsconfig", "mount"),
        cause="one of the layers, upper or work is inside another, or is named twice",
        remedy="name each directory once, and none that lies in another",
        proof="fs/overlayfs/super.c, ovl_check_layer: overlapping layers",
    ),
    Row(
        name="overlay-in-use",
        steps=(s.MountOverlay,),
        errors=("EBUSY",),
        cause="the upper or work directory is in use by another overlay",
        remedy="each container needs an upper and a work directory of its own: end the container "
        "that has these",
        proof="fs/overlayfs/super.c, ovl_report_in_use: with index=on (or "
        "CONFIG_OVERLAY_FS_INDEX) an error, otherwise only a warning",
    ),
    Row(
        name="overlay-stale",
        steps=(s.MountOverlay,),
        errors=("ESTALE",),
        cause="the upper directory was made over other layers",
        remedy="the layers below must be the ones it was made over; without index=on this is not "
        "looked at",
        proof="Documentation/filesystems/overlayfs.rst, Changes to underlying filesystems; "
        "fs/overlayfs/namei.c, ovl_verify_fh",
    ),
    Row(
        name="overlay-long-paths",
        steps=(s.MountOverlay,),
        errors=("ENAMETOOLONG",),
        find=_paths_too_long,
        cause="the layers' paths are too long together",
        remedy="fsconfig(2) takes 255 bytes each, mount(2) a page for all: use a shorter --root",
        proof="fs/fsopen.c, FSCONFIG_SET_STRING: strndup_user(_value, 256); mount(2)",
    ),
    # ---- mounting without the right to ----
    Row(
        name="mount-no-namespace",
        steps=_BIND_OR_FS,
        errors=("EPERM",),
        calls=("fsopen", "open_tree", "mount", "move_mount"),
        find=_without("mount"),
        cause="the mount namespace is not the user namespace's own",
        remedy="make a mount namespace together with the user namespace",
        proof="fs/namespace.c, may_mount; mount_namespaces(7), Restrictions on mount namespaces",
    ),
    Row(
        name="mount-proc-of-others",
        steps=(s.MountFs,),
        errors=("EPERM",),
        calls=("fsconfig",),
        find=_both(_of_type("proc"), _without("pid")),
        cause="a user namespace may show only a pid namespace of its own",
        remedy="make a pid namespace too (--pid private), or bind the host's /proc",
        proof="fs/proc/root.c, proc_init_fs_context: the context's user namespace is that of the "
        "pid namespace; user_namespaces(7)",
    ),
    Row(
        name="mount-sysfs-of-others",
        steps=(s.MountFs,),
        errors=("EPERM",),
        calls=("fsopen",),
        find=_both(_of_type("sysfs"), _without("net")),
        cause="a user namespace may show only a network namespace of its own",
        remedy="make a network namespace too (--network none), or bind the host's /sys",
        proof="fs/sysfs/mount.c, sysfs_init_fs_context: kobj_ns_current_may_mount",
    ),
    Row(
        name="mount-mqueue-of-others",
        steps=(s.MountFs,),
        errors=("EPERM",),
        calls=("fsconfig",),
        find=_both(_of_type("mqueue"), _without("ipc")),
        cause="a user namespace may show only an ipc namespace of its own",
        remedy="make an ipc namespace too (--ipc private), or bind the host's /dev/mqueue",
        proof="ipc/mqueue.c, mqueue_init_fs_context: the context's user namespace is that of the "
        "ipc namespace",
    ),
    Row(
        name="mount-cgroup-of-others",
        steps=(s.MountFs,),
        errors=("EPERM",),
        calls=("fsconfig",),
        find=_both(_of_type("cgroup", "cgroup2"), _without("cgroup")),
        cause="a user namespace may show only a cgroup namespace of its own",
        remedy="make a cgroup namespace too (--cgroupns private), or bind the host's "
        "/sys/fs/cgroup",
        proof="kernel/cgroup/cgroup.c, cgroup_init_fs_context: the context's user namespace is "
        "that of the cgroup namespace",
    ),
    Row(
        name="mount-too-revealing",
        steps=(s.MountFs,),
        errors=("EPERM",),
        calls=("fsmount",),
        find=_both(_of_type("proc", "sysfs"), _type),
        cause="a fresh {found} would show what is hidden on the one that this host already has",
        remedy="the outer container masks parts of it: run that one unmasked "
        "(--security-opt unmask=ALL), or bind its {found} instead of mounting a new one",
        proof="fs/namespace.c, mount_too_revealing and mnt_already_visible; mount_namespaces(7)",
    ),
    Row(
        name="mount-type-in-user-namespace",
        steps=(s.MountFs,),
        errors=("EPERM",),
        find=_no_userns_mount,
        cause="a user namespace may not mount {found}",
        remedy="mount it on the host as root, and bind it into the container",
        proof="fs/super.c, mount_capable: without FS_USERNS_MOUNT it takes CAP_SYS_ADMIN in the "
        "initial user namespace; user_namespaces(7)",
    ),
    Row(
        name="overlay-locked-lower",
        steps=(s.MountOverlay,),
        errors=("EINVAL",),
        find=_locked_lower,
        cause="what is mounted below the lower directory {found} is locked to it in a user "
        "namespace",
        remedy="be root, or choose a directory without mounts below it",
        proof="fs/namespace.c, clone_private_mount and has_locked_children; mount_namespaces(7)",
    ),
    Row(
        name="mount-overlay-in-user-namespace",
        steps=(s.MountOverlay,),
        errors=("EPERM",),
        find=_in_user_namespace,
        cause="this host does not let a user namespace mount overlays",
        remedy="it can since Linux 5.11; if the kernel is newer, a security module refuses "
        "(AppArmor: kernel.apparmor_restrict_unprivileged_userns)",
        proof="commit 459c7c565ac3, ovl: unprivieged mounts; user_namespaces(7)",
    ),
    Row(
        name="locked-flags",
        steps=(s.SetAttr, s.SetPropagation, s.BindMount),
        errors=("EPERM",),
        calls=("mount_setattr",),
        find=_in_user_namespace,
        cause="the flags of a mount that came from outside are locked in a user namespace",
        remedy="keep the flags that it has (ro, nosuid, nodev, noexec), and add to them only",
        proof="mount_namespaces(7), Restrictions on mount namespaces; fs/namespace.c, "
        "can_change_locked_flags",
    ),
    Row(
        name="locked-children",
        steps=(s.BindMount, s.HoldTree),
        errors=("EINVAL",),
        calls=("open_tree",),
        find=_in_user_namespace,
        cause="the mounts below it are locked to it in a user namespace",
        remedy="bind it with all that is below it: rbind",
        proof="mount_namespaces(7), Restrictions on mount namespaces; fs/namespace.c, "
        "has_locked_children",
    ),
    Row(
        name="pivot-filtered",
        steps=(s.PivotRoot,),
        errors=("EPERM",),
        find=_filtered,
        cause="a seccomp filter refuses it, an outer container's most likely",
        remedy="enter the root otherwise (--switch move), or run the outer container with "
        "--security-opt seccomp=unconfined",
        proof="moby, profiles/seccomp: pivot_root is for nobody; seccomp(2)",
    ),
    Row(
        name="mount-not-permitted",
        steps=(*_BIND_OR_FS, s.PivotRoot, s.MoveRoot, s.DetachOldRoot, s.SetAttr, s.SetPropagation),
        errors=("EPERM", "EACCES"),
        calls=_MOUNT_CALLS,
        cause="newroot may not mount here",
        remedy=_ROOT,
        proof="mount(2), ERRORS; fs/namespace.c, may_mount",
    ),
    Row(
        name="file-system-unknown",
        steps=(s.MountFs, s.MountOverlay),
        errors=("ENODEV",),
        calls=("fsopen",),
        find=_type,
        cause="this kernel has no file system {found}",
        remedy="load it: modprobe {found}; /proc/filesystems lists what is there",
        proof="fsopen(2); fs/filesystems.c, get_fs_type",
    ),
    # ---- sources and targets of mounts ----
    Row(
        name="bind-source-dangling",
        steps=(s.BindMount, s.HoldTree),
        errors=("ENOENT",),
        calls=("open_tree",),
        find=_source_is_dangling,
        cause="the source is a symlink that leads nowhere: {found}",
        remedy="make what it leads to, or bind something else",
        proof="open_tree(2); path_resolution(7)",
    ),
    Row(
        name="bind-source-missing",
        steps=(s.BindMount, s.HoldTree),
        errors=("ENOENT", "ENOTDIR"),
        calls=("open_tree",),
        find=_source_missing,
        cause="the source {found} does not exist",
        remedy="make it first; -v, unlike --mount, makes a missing directory",
        proof="open_tree(2)",
    ),
    Row(
        name="covers-proc",
        steps=(s.MountFs, s.BindMount),
        errors=("EXDEV",),
        cause="it would hide what the kernel says of processes",
        remedy="bind a proc file system on /proc, and below it only files as /proc/meminfo "
        "(CVE-2019-16884)",
        proof="native/mount.c, may_cover; runc, libcontainer/rootfs_linux.go, checkProcMount",
    ),
    Row(
        name="ids-not-mapped",
        steps=(s.BindMount,),
        errors=("EINVAL", "EPERM"),
        calls=("mount_setattr",),
        find=_mapped_source,
        cause="the file system of {found} does not map ids, or has them mapped already",
        remedy="keep it on ext4, xfs or btrfs, or do without: --userns host, or no option idmap",
        proof="mount_setattr(2), ERRORS and ID-mapped mounts; fs/namespace.c, can_idmap_mount",
    ),
    Row(
        name="bind-kinds-differ",
        steps=(s.BindMount,),
        errors=("EINVAL", "ENOTDIR"),
        calls=("move_mount",),
        find=_kinds_differ,
        cause="a file and a directory: {found}",
        remedy="bind a directory on a directory, and a file on a file",
        proof="fs/namespace.c, do_move_mount and graft_tree: d_is_dir of both must be equal",
    ),
    Row(
        name="target-through-magic-link",
        steps=_TARGETED,
        errors=("ELOOP",),
        find=_in_kernel_file_system,
        cause="the target leads through a magic link of {found}, which leaves the new root",
        remedy="give the path itself, not one by way of /proc",
        proof="openat2(2), RESOLVE_NO_MAGICLINKS",
    ),
    Row(
        name="kernel-mount-on-symlink",
        steps=(s.MountFs,),
        errors=("ELOOP",),
        find=_link_inside_kernel_mount,
        cause="{found}, and the kernel's own file systems go on no symlink",
        remedy="the image may be hostile (CVE-2019-19921): make it a directory, or use another "
        "image",
        proof="openat2(2), RESOLVE_NO_SYMLINKS",
    ),
    Row(
        name="target-link-loop",
        steps=_TARGETED,
        errors=("ELOOP",),
        find=_link_to_nowhere,
        cause="the target leads through a loop of symlinks: {found}",
        remedy="mend the image, or mount somewhere else",
        proof="path_resolution(7); openat2(2)",
    ),
    Row(
        name="target-link-dangling",
        steps=_TARGETED,
        errors=("ENOENT",),
        calls=("openat2", "mkdirat", "mknodat", "symlinkat"),
        find=_link_to_nowhere,
        cause="{found}, which is not there in the new root; a symlink never leads out of it",
        remedy="make in the image what the symlink leads to, or mount somewhere else",
        proof="openat2(2), RESOLVE_IN_ROOT",
    ),
    Row(
        name="target-in-kernel-file-system",
        steps=_TARGETED,
        errors=("ENOENT", "EPERM", "EACCES", "EROFS"),
        calls=("mkdirat", "mknodat"),
        find=_in_kernel_file_system,
        cause="nothing can be made in {found}",
        remedy="mount on a name that is there already",
        proof="proc(5), sysfs(5)",
    ),
    Row(
        name="target-below-file",
        steps=_TARGETED,
        errors=("ENOTDIR",),
        find=_file_on_the_way,
        cause="{found} is a file, and a name below it cannot be",
        remedy="mount somewhere else, or use another image",
        proof="path_resolution(7)",
    ),
    Row(
        name="target-missing-read-only",
        steps=_TARGETED,
        errors=("EROFS",),
        calls=("mkdirat", "mknodat", "symlinkat"),
        cause="the target is not in the new root, and cannot be made there: it is read-only",
        remedy="make the target in the image, or mount the root read-write",
        proof="mkdir(2), ERRORS",
    ),
    Row(
        name="target-missing",
        steps=(s.BindMount, s.MountFs, s.SetAttr, s.SetPropagation, s.MountOverlay),
        errors=("ENOENT",),
        calls=("openat", "openat2"),
        find=_target_missing,
        cause="the target {found} does not exist",
        remedy="make it first",
        proof="open(2), openat2(2)",
    ),
    Row(
        name="parent-missing",
        steps=(s.MakeNode, s.MakeSymlink, s.MakeDir, s.WriteFile),
        errors=("ENOENT",),
        cause="the directory that it goes into does not exist",
        remedy="make the directory first",
        proof="mkdir(2), mknod(2), symlink(2)",
    ),
    Row(
        name="made-already",
        steps=(s.MakeNode, s.MakeSymlink, s.MakeDir, s.WriteFile),
        errors=("EEXIST",),
        cause="something of that name is there already",
        remedy="remove it, or use another name",
        proof="mkdir(2), mknod(2), symlink(2)",
    ),
    Row(
        name="not-a-mount-point",
        steps=(s.SetAttr, s.SetPropagation, s.MakeReadonly),
        errors=("EINVAL",),
        calls=("mount_setattr",),
        cause="it is not a mount point",
        remedy="attributes belong to mounts: bind the place on itself first",
        proof="mount_setattr(2), ERRORS; fs/namespace.c, do_mount_setattr: !path_mounted",
    ),
    Row(
        name="device-in-user-namespace",
        steps=(s.MakeNode,),
        errors=("EPERM",),
        calls=("mknodat",),
        cause="a user namespace may not make device nodes",
        remedy="bind the host's device instead; newroot does so for a user without root",
        proof="mknod(2), ERRORS; fs/namei.c, vfs_mknod: CAP_MKNOD in the initial user namespace",
    ),
    # ---- the command ----
    Row(
        name="exec-interpreter-missing",
        steps=(s.Exec,),
        errors=("ENOENT", "ENOTDIR"),
        find=_command("interpreter"),
        cause="{found} is not in the container's root",
        remedy="install the interpreter in the image, or change the script's first line",
        proof="execve(2), Interpreter scripts; fs/binfmt_script.c, load_script: open_exec",
    ),
    Row(
        name="exec-loader-missing",
        steps=(s.Exec,),
        errors=("ENOENT", "ENOTDIR"),
        find=_command("loader"),
        cause="{found} is not in the container's root",
        remedy="the program was built for another C library, or another distribution's layout: "
        "use an image that has this loader, or link the program statically",
        proof="execve(2), ERRORS, ENOENT; fs/binfmt_elf.c, load_elf_binary: PT_INTERP",
    ),
    Row(
        name="exec-carriage-return",
        steps=(s.Exec,),
        errors=("ENOENT",),
        find=_command("carriage-return"),
        cause="the first line of {found} ends in a carriage return, which becomes part of the "
        "interpreter's name",
        remedy="convert the script to Unix line ends: sed -i 's/\\r$//'",
        proof="fs/binfmt_script.c, load_script: the line ends at the newline",
    ),
    Row(
        name="exec-link-dangling",
        steps=(s.Exec,),
        errors=("ENOENT",),
        find=_command("dangling"),
        cause="{found}, which is not there in the container's root",
        remedy="make in the image what the symlink leads to",
        proof="path_resolution(7)",
    ),
    Row(
        name="exec-words-in-one",
        steps=(s.Exec,),
        errors=("ENOENT", "ENOTDIR"),
        find=_command("words"),
        cause="no command of this name, which has a space in it",
        remedy="give the command and its arguments as words of their own, without quotes around "
        "them all; or run a shell: sh -c '{found}'",
        proof="execvp(3)",
    ),
    Row(
        name="exec-not-in-path",
        steps=(s.Exec,),
        errors=("ENOENT",),
        find=_command("not-in-path"),
        cause="command not found in the container's PATH",
        remedy="looked in {found}; is it installed in the image?",
        proof="execvp(3)",
    ),
    Row(
        name="exec-elsewhere",
        steps=(s.Exec,),
        errors=("ENOENT",),
        find=_command("elsewhere"),
        cause="command not found in the container's PATH",
        remedy="looked in {found}: give its whole path, or set PATH with -e",
        proof="execvp(3)",
    ),
    Row(
        name="exec-missing",
        steps=(s.Exec,),
        errors=("ENOENT", "ENOTDIR"),
        find=_command("missing"),
        cause="there is no {found} in the container's root",
        remedy="the path is the container's, not the host's: is the image the right one, is the "
        "directory mounted (-v)?",
        proof="execve(2), ERRORS",
    ),
    Row(
        name="exec-below-file",
        steps=(s.Exec,),
        errors=("ENOTDIR",),
        find=_command("below-file"),
        cause="{found} is a file, and a name below it cannot be",
        remedy="give the command's whole path",
        proof="path_resolution(7)",
    ),
    Row(
        name="exec-wrong-machine",
        steps=(s.Exec,),
        errors=("ENOEXEC",),
        find=lambda f: _machine(f),
        cause="{found}",
        remedy="use an image for this machine's architecture; or have an emulator registered: "
        "qemu-user-static and binfmt_misc",
        proof="execve(2), ERRORS; fs/binfmt_elf.c, load_elf_binary: elf_check_arch",
    ),
    Row(
        name="exec-no-interpreter-line",
        steps=(s.Exec,),
        errors=("ENOEXEC",),
        find=_command("no-interpreter-line"),
        cause="{found} is text without an interpreter line (#!)",
        remedy="make its first line #!/bin/sh, or run it by a shell: sh {found}",
        proof="execve(2), Interpreter scripts; execvp(3): a shell runs such a file itself, the "
        "kernel does not",
    ),
    Row(
        name="exec-empty",
        steps=(s.Exec,),
        errors=("ENOEXEC",),
        find=_command("empty"),
        cause="{found} is an empty file",
        remedy="was the file copied in full?",
        proof="fs/exec.c, search_binary_handler",
    ),
    Row(
        name="exec-no-format",
        steps=(s.Exec,),
        errors=("ENOEXEC",),
        cause="it is in no format that this kernel executes",
        remedy="is it a program, whole, and for this machine? see file(1)",
        proof="execve(2), ERRORS; fs/exec.c, search_binary_handler",
    ),
    Row(
        name="exec-directory",
        steps=(s.Exec,),
        errors=("EACCES", "EISDIR"),
        find=_command("directory"),
        cause="{found} is not a regular file",
        remedy="name a program, not a directory or a device",
        proof="execve(2), ERRORS; fs/exec.c, do_open_execat: S_ISREG",
    ),
    Row(
        name="exec-noexec",
        steps=(s.Exec,),
        errors=("EACCES",),
        find=_command("noexec"),
        cause="it is on a mount with noexec, {found}",
        remedy="mount it with exec, or run the interpreter and give it the file: sh FILE",
        proof="execve(2), ERRORS; fs/exec.c, do_open_execat: path_noexec",
    ),
    Row(
        name="exec-not-executable",
        steps=(s.Exec,),
        errors=("EACCES",),
        find=_command("not-executable"),
        cause="{found}",
        remedy="chmod +x it in the image, or run it by its interpreter",
        proof="execve(2), ERRORS",
    ),
    Row(
        name="exec-forbidden",
        steps=(s.Exec,),
        errors=("EACCES",),
        find=_command("forbidden"),
        cause="the container's user may not go there ({found})",
        remedy="run as another user with -u, or change the mode in the image",
        proof="execve(2), ERRORS; path_resolution(7)",
    ),
    Row(
        name="exec-too-long",
        steps=(s.Exec,),
        errors=("E2BIG",),
        cause="the command's words and environment are too long",
        remedy="one word may have 128 KiB, all together a quarter of the stack limit (--ulimit "
        "stack=…): pass data by stdin or a file",
        proof="execve(2), Limits on size of arguments and environment",
    ),
    Row(
        name="exec-interpreter-loop",
        steps=(s.Exec,),
        errors=("ELOOP",),
        find=_command("loop"),
        cause="its interpreters are scripts in turn, more than four deep",
        remedy="name a program as the interpreter",
        proof="execve(2), ERRORS; fs/exec.c, exec_binprm: depth > 5",
    ),
    Row(
        name="exec-being-written",
        steps=(s.Exec,),
        errors=("ETXTBSY",),
        cause="somebody has the program open for writing",
        remedy="wait until it is written",
        proof="execve(2), ERRORS",
    ),
    Row(
        name="exec-refused",
        steps=(s.Exec,),
        errors=("EPERM", "ENOSYS"),
        cause="the seccomp filter or a security module refuses execve",
        remedy="allow execve in the profile, or try --security-opt seccomp=unconfined",
        proof="seccomp(2), SECCOMP_RET_ERRNO",
    ),
    # ---- namespaces ----
    Row(
        name="clone-not-permitted",
        steps=(s.Unshare,),
        errors=("EPERM",),
        calls=("clone3",),
        remedy="this needs root, or a user namespace of your own",
        proof="clone(2), ERRORS",
    ),
    Row(
        name="clone-namespaces-at-limit",
        steps=(s.Unshare,),
        errors=("ENOSPC", "EUSERS"),
        calls=("clone3",),
        cause="a limit of namespaces is reached",
        remedy="raise it, or end some containers: /proc/sys/user/max_*_namespaces",
        proof="namespaces(7), The /proc/sys/user directory; clone(2), ERRORS: 32 nested levels of "
        "pid or user namespaces",
    ),
    Row(
        name="clone-processes-at-limit",
        steps=(s.Unshare,),
        errors=("EAGAIN",),
        calls=("clone3",),
        cause="a limit of processes is reached",
        remedy="look at ulimit -u, kernel.pid_max, and the pids.max of newroot's own cgroup",
        proof="fork(2), ERRORS, EAGAIN",
    ),
    Row(
        name="clone-namespace-unknown",
        steps=(s.Unshare,),
        errors=("EINVAL",),
        calls=("clone3",),
        cause="this kernel lacks one of the namespaces",
        remedy="see which there are: ls /proc/self/ns",
        proof="clone(2), ERRORS: CONFIG_USER_NS and the like",
    ),
    Row(
        name="join-missing",
        steps=(s.SetNamespace,),
        errors=("ENOENT", "ESRCH"),
        calls=("openat",),
        cause="there is no such namespace file",
        remedy="the process that it belongs to has ended, or the name was never made: ip netns "
        "list, lsns",
        proof="namespaces(7), The /proc/PID/ns/ directory",
    ),
    Row(
        name="join-wrong-kind",
        steps=(s.SetNamespace,),
        errors=("EINVAL",),
        calls=("setns",),
        find=lambda f: _namespace_kind(f),
        cause="{found}",
        remedy="compare with readlink on the file: it says the kind and the number",
        proof="setns(2), ERRORS",
    ),
    Row(
        name="join-own-user-namespace",
        steps=(s.SetNamespace,),
        errors=("EINVAL",),
        calls=("setns",),
        cause="the kernel refuses to join it from here",
        remedy="a process cannot join the user namespace that it is in, nor the user or mount "
        "namespace while it shares its memory or directory with another",
        proof="setns(2), ERRORS; kernel/user_namespace.c, userns_install",
    ),
    Row(
        name="join-refused",
        steps=(s.SetNamespace,),
        errors=("EPERM", "EACCES"),
        cause="the namespace belongs to somebody with more privileges",
        remedy="join its user namespace first, or run as root",
        proof="setns(2), ERRORS: CAP_SYS_ADMIN in the target's user namespace",
    ),
    Row(
        name="namespaces-at-limit",
        steps=(s.Unshare,),
        errors=("ENOSPC",),
        find=lambda f: _namespace_limits(f),
        cause="a limit of namespaces is reached",
        remedy="raise it, or end some containers: {found}",
        proof="namespaces(7), The /proc/sys/user directory; user_namespaces(7): 32 nested levels",
    ),
    Row(
        name="unshare-refused",
        steps=(s.Unshare,),
        errors=("EPERM",),
        find=lambda f: _user_namespace_refused(f),
        cause="{found}",
        remedy="start from outside a chroot; or have user namespaces allowed: "
        "user.max_user_namespaces, kernel.unprivileged_userns_clone, "
        "kernel.apparmor_restrict_unprivileged_userns",
        proof="unshare(2), ERRORS; kernel/user_namespace.c, create_user_ns: current_chrooted",
    ),
    Row(
        name="unshare-not-permitted",
        steps=(s.Unshare,),
        errors=("EPERM",),
        remedy="this needs root, or a user namespace of your own",
        proof="unshare(2), ERRORS",
    ),
    Row(
        name="hostname-too-long",
        steps=(s.SetHostname, s.SetDomainname),
        errors=("EINVAL",),
        cause="the kernel takes names of at most 64 bytes",
        remedy="choose a shorter one",
        proof="sethostname(2); include/uapi/linux/utsname.h, __NEW_UTS_LEN",
    ),
    Row(
        name="hostname-filtered",
        steps=(s.SetHostname, s.SetDomainname),
        errors=("EPERM",),
        find=_filtered,
        cause="a seccomp filter refuses it, an outer container's most likely",
        remedy="leave the name as it is (--uts host), or run the outer container with "
        "--security-opt seccomp=unconfined",
        proof="containers/common, pkg/seccomp: sethostname for CAP_SYS_ADMIN alone; seccomp(2)",
    ),
    Row(
        name="hostname-not-permitted",
        steps=(s.SetHostname, s.SetDomainname),
        errors=("EPERM",),
        cause="the uts namespace is not the container's own",
        remedy="make one (--uts private), or leave the name as it is",
        proof="sethostname(2), ERRORS: CAP_SYS_ADMIN in the user namespace of the uts namespace",
    ),
    Row(
        name="interface-missing",
        steps=(s.LinkUp,),
        errors=("ENODEV",),
        cause="there is no such interface in the container's network namespace",
        remedy="ip link, in that namespace, shows what is there",
        proof="netdevice(7)",
    ),
    Row(
        name="interface-not-permitted",
        steps=(s.LinkUp,),
        errors=("EPERM",),
        cause="the network namespace is not the container's own",
        remedy="make one (--network none)",
        proof="netdevice(7): CAP_NET_ADMIN in the user namespace of the network namespace",
    ),
    # ---- sysctl ----
    Row(
        name="sysctl-unknown",
        steps=(s.SetSysctl,),
        errors=("ENOENT",),
        cause="there is no such setting in the container's namespaces",
        remedy="a module may have to be loaded for it, or it is the host's alone; a slash stands "
        "for a dot within a name: net.ipv4.conf.eth0/1.forwarding",
        proof="sysctl(8); Documentation/admin-guide/sysctl/net.rst",
    ),
    Row(
        name="sysctl-value",
        steps=(s.SetSysctl,),
        errors=("EINVAL", "ERANGE"),
        calls=("write",),
        cause="the kernel does not take this value",
        remedy="see the setting's description: Documentation/admin-guide/sysctl",
        proof="proc_sys(5)",
    ),
    Row(
        name="sysctl-not-ours",
        steps=(s.SetSysctl,),
        errors=("EACCES", "EPERM"),
        calls=("openat2", "write"),
        cause="the container's namespaces may read this setting, and not write it",
        remedy="set it on the host",
        proof="proc_sys(5); Documentation/admin-guide/sysctl",
    ),
    Row(
        name="sysctl-no-proc",
        steps=(s.SetSysctl, s.SetOomScore),
        errors=("EPERM",),
        calls=("fsopen", "fsconfig", "fsmount"),
        cause="the container may not have a /proc of its own, through which settings are made",
        remedy="make a pid namespace too (--pid private), and let nothing of /proc be masked "
        "outside",
        proof="fs/proc/root.c, proc_init_fs_context; fs/namespace.c, mount_too_revealing",
    ),
    Row(
        name="oom-score-lowered",
        steps=(s.SetOomScore,),
        errors=("EACCES",),
        cause="to lower it takes CAP_SYS_RESOURCE",
        remedy="give no lower score than the one newroot itself has",
        proof="proc_pid_oom_score_adj(5); fs/proc/base.c, __set_oom_adj",
    ),
    # ---- identity ----
    Row(
        name="rlimit-raised",
        steps=(s.SetRlimit,),
        errors=("EPERM",),
        find=lambda f: _hard_limit(f),
        cause="to raise a hard limit takes CAP_SYS_RESOURCE, and {found}",
        remedy="ask for no more than the hard limit that newroot itself has, or raise that one: "
        "ulimit -H, LimitNOFILE= and the like",
        proof="setrlimit(2), ERRORS",
    ),
    Row(
        name="rlimit-wrong",
        steps=(s.SetRlimit,),
        errors=("EINVAL",),
        cause="the soft limit is above the hard one, or the kernel does not know the limit",
        remedy="give soft:hard, the soft one not larger",
        proof="setrlimit(2), ERRORS",
    ),
    Row(
        name="groups-in-user-namespace",
        steps=(s.SetUser,),
        errors=("EPERM",),
        calls=("setgroups",),
        find=_in_user_namespace,
        cause="setgroups is denied in this user namespace",
        remedy="map the groups with newgidmap and a range in /etc/subgid, or ask for no groups",
        proof="user_namespaces(7), Interaction with system calls that change process UIDs or GIDs; "
        "CVE-2014-8989",
    ),
    Row(
        name="id-not-mapped",
        steps=(s.SetUser,),
        errors=("EINVAL",),
        find=_in_user_namespace,
        cause="the user or group id is not mapped in this user namespace",
        remedy="use an id that is mapped, or map more: a range in /etc/subuid and /etc/subgid",
        proof="setresuid(2), setresgid(2), ERRORS; user_namespaces(7)",
    ),
    Row(
        name="user-not-permitted",
        steps=(s.SetUser,),
        errors=("EPERM",),
        cause="newroot may not become another user here",
        remedy="this needs root (CAP_SETUID and CAP_SETGID), or a user namespace",
        proof="setresuid(2), setgroups(2), ERRORS",
    ),
    Row(
        name="processes-at-limit",
        steps=(s.SetUser, s.Exec, s.Reap),
        errors=("EAGAIN",),
        cause="a limit of processes is reached",
        remedy="look at --ulimit nproc, --pids-limit and kernel.pid_max",
        proof="execve(2), setresuid(2), fork(2), ERRORS, EAGAIN",
    ),
    Row(
        name="capabilities-beyond",
        steps=(s.SetCapabilities, s.SetBounding),
        errors=("EPERM",),
        cause="newroot itself has not got some of these capabilities",
        remedy="drop what the host does not give (capsh --print shows what there is), or run as "
        "root outside of containers; ambient ones must be permitted and inheritable too",
        proof="capset(2), ERRORS; capabilities(7), PR_CAPBSET_DROP needs CAP_SETPCAP",
    ),
    Row(
        name="capability-unknown",
        steps=(s.SetCapabilities,),
        errors=("EINVAL",),
        cause="the kernel does not know one of the capabilities",
        remedy="/proc/sys/kernel/cap_last_cap is the last that it knows",
        proof="prctl(2), PR_CAP_AMBIENT; capset(2)",
    ),
    Row(
        name="seccomp-wrong",
        steps=(s.LoadSeccomp,),
        errors=("EINVAL",),
        cause="the kernel does not take the filter",
        remedy="it is empty, has more than 4096 instructions, or asks for a flag that this kernel "
        "does not know",
        proof="seccomp(2), ERRORS; kernel/seccomp.c, seccomp_check_filter",
    ),
    Row(
        name="seccomp-not-permitted",
        steps=(s.LoadSeccomp,),
        errors=("EACCES",),
        cause="a filter may be loaded with CAP_SYS_ADMIN or no_new_privs, and neither is there",
        remedy="use --security-opt no-new-privileges",
        proof="seccomp(2), ERRORS",
    ),
    Row(
        name="seccomp-missing",
        steps=(s.LoadSeccomp,),
        errors=("ENOSYS",),
        cause="this kernel has no seccomp filters, or an outer filter hides them",
        remedy="use --security-opt seccomp=unconfined",
        proof="seccomp(2), ERRORS",
    ),
    Row(
        name="scheduler-not-permitted",
        steps=(s.SetScheduler, s.SetIoPriority),
        errors=("EPERM",),
        cause="newroot may not give this priority",
        remedy="it takes CAP_SYS_NICE on the host (for a class of io, CAP_SYS_ADMIN), which nobody "
        "has in a user namespace",
        proof="sched(7), Privileges and resource limits; ioprio_set(2), ERRORS",
    ),
    Row(
        name="scheduler-wrong",
        steps=(s.SetScheduler,),
        errors=("EINVAL", "E2BIG"),
        cause="this kernel does not take these values together",
        remedy="a deadline wants 1024 <= runtime <= deadline <= period, and flags that this kernel "
        "knows; SCHED_ISO is in no kernel",
        proof="sched_setattr(2), ERRORS; sched(7), SCHED_DEADLINE",
    ),
    Row(
        name="scheduler-busy",
        steps=(s.SetScheduler,),
        errors=("EBUSY",),
        cause="the processors have no time left for this deadline",
        remedy="ask for less runtime, or end what has deadlines already",
        proof="sched_setattr(2), ERRORS: admission control",
    ),
    Row(
        name="memory-nodes",
        steps=(s.SetMemoryPolicy,),
        errors=("EINVAL",),
        cause="this kernel does not take the mode, or has none of the nodes",
        remedy="/sys/devices/system/node/has_memory lists the nodes that there are",
        proof="set_mempolicy(2), ERRORS",
    ),
    Row(
        name="label-missing",
        steps=(s.SetLabel,),
        errors=("ENOENT", "EINVAL"),
        cause="the security module does not know this label, or is not at work here",
        remedy="load the profile first (aa-status, semodule -l), or leave it out",
        proof="proc_pid_attr(5)",
    ),
    Row(
        name="clocks-range",
        steps=(s.SetClocks,),
        errors=("ERANGE",),
        cause="a clock would be before its beginning, or too far ahead",
        remedy="the clock and its offset must add up to something from 0 to half of what it holds",
        proof="time_namespaces(7), ERRORS",
    ),
    Row(
        name="hook-missing",
        steps=(s.RunHook,),
        errors=("ENOENT", "ENOTDIR", "EACCES"),
        cause="the hook is not there, or cannot be executed",
        remedy="createContainer's are looked for on the host, startContainer's in the container",
        proof="config.md, POSIX-platform Hooks",
    ),
    Row(
        name="hook-too-slow",
        steps=(s.RunHook,),
        errors=("ETIMEDOUT",),
        cause="it took longer than its timeout",
        remedy="raise the timeout, in seconds, in config.json",
        proof="config.md, POSIX-platform Hooks",
    ),
    Row(
        name="directory-missing",
        steps=(s.SetCwd,),
        errors=("ENOENT", "ENOTDIR"),
        cause="it is not a directory of the container",
        remedy="choose another with -w",
        proof="chdir(2)",
    ),
    Row(
        name="directory-forbidden",
        steps=(s.SetCwd,),
        errors=("EACCES",),
        cause="the container's user may not go there",
        remedy="choose another directory with -w, or another user with -u",
        proof="chdir(2), ERRORS",
    ),
    # ---- cgroups ----
    Row(
        name="cgroup-gone",
        steps=(s.JoinCgroup,),
        errors=("ENOENT", "ENODEV"),
        cause="the cgroup is not there",
        remedy="somebody removed it between its making and now",
        proof="cgroups(7); fs/kernfs/file.c: ENODEV when it is removed while open",
    ),
    Row(
        name="cgroup-not-permitted",
        steps=(s.JoinCgroup,),
        errors=("EACCES", "EPERM"),
        cause="newroot may not put processes into this cgroup",
        remedy="be root, or have this part of the tree delegated: systemd-run --user --scope -p "
        "Delegate=yes -- COMMAND",
        proof="Documentation/admin-guide/cgroup-v2.rst, Delegation Containment: the common "
        "ancestor's cgroup.procs must be writable too",
    ),
    Row(
        name="cgroup-read-only",
        steps=(s.JoinCgroup,),
        errors=("EROFS",),
        cause="the cgroup file system is mounted read-only here",
        remedy="have it mounted read-write, or run without limits",
        proof="mount(2)",
    ),
    Row(
        name="cgroup-busy",
        steps=(s.JoinCgroup,),
        errors=("EBUSY", "ENOTSUP"),
        cause="this cgroup may hold no processes: it hands controllers down, or is threaded",
        remedy="choose another cgroup path",
        proof="Documentation/admin-guide/cgroup-v2.rst, No Internal Process Constraint",
    ),
    Row(
        name="cgroup-cpuset-empty",
        steps=(s.JoinCgroup,),
        errors=("ENOSPC",),
        cause="the cgroup's cpuset has no CPU or no memory node",
        remedy="give --cpuset-cpus, or set cpuset.cpus and cpuset.mems of the cgroups above",
        proof="Documentation/admin-guide/cgroup-v1/cpusets.rst; kernel/cgroup/cpuset.c, "
        "cpuset_can_attach",
    ),
    # ---- what can happen anywhere ----
    Row(
        name="mounts-at-limit",
        steps=(*_BIND_OR_FS, s.Unshare, s.Mask, s.MakeReadonly),
        errors=("ENOSPC",),
        calls=("move_mount", "open_tree", "mount", "unshare"),
        find=_mounts_at_limit,
        cause="more mounts than a mount namespace may have",
        remedy="/proc/sys/fs/mount-max is {found}: raise it, or bind less",
        proof="Documentation/admin-guide/sysctl/fs.rst, mount-max; fs/namespace.c, count_mounts",
    ),
    Row(
        name="no-space",
        errors=("ENOSPC", "EDQUOT"),
        cause="no space, or no inodes, left on the file system that it is on",
        remedy="see df and df -i; a tmpfs has as much as its size= says",
        proof="write(2), mkdir(2), ERRORS",
    ),
    Row(
        name="no-memory",
        errors=("ENOMEM",),
        cause="the kernel has no memory for it",
        remedy="the host is short of memory, or the container's memory limit (-m) is too small "
        "even for its start",
        proof="errno(3)",
    ),
    Row(
        name="name-too-long",
        errors=("ENAMETOOLONG",),
        cause="a name has more than 255 bytes, or the path more than 4095",
        remedy="use shorter names",
        proof="path_resolution(7), pathconf(3)",
    ),
    Row(
        name="files-at-limit",
        errors=("EMFILE", "ENFILE"),
        cause="too many open files",
        remedy="raise the limit of newroot itself (ulimit -n), or fs.file-max",
        proof="open(2), ERRORS",
    ),
    Row(
        name="call-missing",
        errors=("ENOSYS",),
        cause="this kernel does not have the system call, or an outer seccomp filter hides it",
        remedy="newroot needs Linux 5.14; inside another container, a newer engine or "
        "--security-opt seccomp=unconfined there",
        proof="errno(3)",
    ),
)


def _machine(f: Failure) -> str | None:
    found = _command("machine")(f)
    return None if found is None else f"{found}, and this machine is {f.host.machine()}"


def _namespace_kind(f: Failure) -> str | None:
    assert isinstance(f.step, s.SetNamespace)
    text = f.host.link_text(f.step.path)
    if text is None:
        return f"{f.step.path} is not a namespace" if f.host.exists(f.step.path) else None
    kind = text.partition(":")[0]
    words = {"mnt": "mount"}
    if words.get(kind, kind) == f.step.namespace:
        return None
    return f"it is a namespace of kind {kind}"


def _namespace_limits(f: Failure) -> str | None:
    assert isinstance(f.step, s.Unshare)
    names = {"mount": "mnt"}
    files = [f"/proc/sys/user/max_{names.get(n, n)}_namespaces" for n in f.step.namespaces]
    return ", ".join(files)


def _user_namespace_refused(f: Failure) -> str | None:
    assert isinstance(f.step, s.Unshare)
    if "user" not in f.step.namespaces:
        return None
    if _from_chroot(f) is not None:
        return "a user namespace cannot be made inside a chroot"
    return "this host does not let this user make user namespaces"


def _hard_limit(f: Failure) -> str | None:
    import resource

    assert isinstance(f.step, s.SetRlimit)
    try:
        hard = resource.getrlimit(f.step.resource)[1]
    except ValueError:
        return None
    if 0 <= hard < f.step.hard:
        return f"newroot's own is {hard}"
    return "the limit cannot be that high (fs.nr_open)"
