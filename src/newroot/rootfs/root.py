"""Directories become one root: the steps that put a container's root together, and enter it.

A root is a tuple of lower directories under an overlay, or one directory bound as it is.  It does
not matter here where those came from.  Everything is mounted in the container's own mount
namespace, so when its last process dies nothing is left to unmount.

    <scratch>/                a tmpfs of the container's own, over an empty directory of the host
    <scratch>/root            the root is mounted here
    <scratch>/upper, work     what the container writes, where it is to be forgotten
    <scratch>/<file>          files that are bound into the root: hosts, hostname, resolv.conf
    <scratch>/erofs           lower directories that are files: layers as EROFS
    <scratch>/layers, own     the lower directories, and the one above upper and work, with an idmap
"""

from __future__ import annotations

from newroot.linux.paths import EROFS_SUFFIX
from newroot.plan import steps as s
from newroot.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Switch = Literal["pivot", "move", "chroot"]


@record
class Root:
    """Where a container's root comes from and goes to."""

    lower: tuple[str, ...] = ()  #: directories, topmost first; empty: *directory* as it is
    directory: str | None = None  #: bound, not copied: the container writes into it
    in_place: bool = False  #: bind *directory* on itself, where hooks that know the bundle look
    upper: str | None = None  #: on the disk; None with *lower*: in memory, forgotten at the end
    work: str | None = None  #: beside *upper*, on the same file system
    scratch: str  #: an empty directory of the host that the scratch tmpfs hides
    files: tuple[tuple[str, bytes], ...] = ()  #: made in the scratch directory
    overlay_options: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()  #: of the root's mount: nodev, …
    idmap: str | None = None  #: a user namespace: on the disk all ids are as they are in there
    propagation: str = "rslave"  #: of the whole namespace, towards the host


def scratch_file(root: Root, name: str) -> str:
    """Where one of *root*'s files will be, as a source for a bind."""
    return f"{root.scratch}/{name}"


def mounted_at(root: Root) -> str:
    """The directory of the host at which the root is mounted, inside the container's namespace."""
    if root.in_place and root.directory is not None:
        return root.directory
    return f"{root.scratch}/root"


def assemble(root: Root) -> tuple[s.Step, ...]:
    """The steps from a fresh mount namespace to a root that further mounts can go into."""
    at = mounted_at(root)
    return (
        s.SetPropagation(
            target="/",
            propagation=root.propagation,
            on_host=True,
            why="mounts made here must not appear on the host",
        ),
        s.MountFs(
            type="tmpfs",
            source="newroot",
            target=root.scratch,
            options=("mode=0700",),
            on_host=True,
            why="a scratch directory that vanishes with the container",
        ),
        *_place(root, at),
        *(
            s.WriteFile(target=scratch_file(root, name), data=data, why="to be bound into the root")
            for name, data in root.files
        ),
        *(_overlay(root, at) if root.lower else _bind(root, at)),
        s.UseRoot(path=at, why="from here on, no name is looked up outside the new root"),
    )


def _place(root: Root, at: str) -> tuple[s.Step, ...]:
    if root.in_place:
        return ()
    return (s.MakeDir(target=at, on_host=True, why="the root will be mounted here"),)


def _overlay(root: Root, at: str) -> tuple[s.Step, ...]:
    made, root = _mounted_layers(root)
    if root.idmap is not None:
        mapped, root = _mapped(root, root.idmap)
        made += mapped
    upper, work = root.upper, root.work
    if upper is None or work is None:
        upper, work = f"{root.scratch}/upper", f"{root.scratch}/work"
        made += tuple(
            s.MakeDir(target=path, on_host=True, why="what is written is forgotten at the end")
            for path in (upper, work)
        )
    overlay = s.MountOverlay(
        lower=root.lower,
        upper=upper,
        work=work,
        target=at,
        options=root.overlay_options,
        flags=root.flags,
        why="one root for many containers: the lower directories are shared and never written",
    )
    return (*made, overlay)


def _mounted_layers(root: Root) -> tuple[tuple[s.Step, ...], Root]:
    """The same root from directories: a layer that is one EROFS file is mounted first."""
    made: list[s.Step] = []
    lower = list(root.lower)
    for n, path in enumerate(root.lower):
        if not path.endswith(EROFS_SUFFIX):
            continue
        # By the layer's name, for that is what a mount table shows of it.
        lower[n] = f"{root.scratch}/erofs/{path.rpartition('/')[2].removesuffix(EROFS_SUFFIX)}"
        mount = s.MountFs(
            type="erofs",
            source=path,
            target=lower[n],
            flags=("ro",),
            on_host=True,
            make_target=True,
            why="the whole layer is one file, mounted where only this container sees it",
        )
        made.append(mount)
    return tuple(made), replace(root, lower=tuple(lower)) if made else root


def _mapped(root: Root, idmap: str) -> tuple[tuple[s.Step, ...], Root]:
    """The same root from binds with mapped ids: an overlay cannot be mapped, its layers can."""
    lower = tuple(f"{root.scratch}/layers/{n}" for n in range(len(root.lower)))
    pairs = list(zip(root.lower, lower, strict=True))
    changed = replace(root, lower=lower)
    if root.upper is not None and root.work is not None:
        above, own = root.upper.rpartition("/")[0], f"{root.scratch}/own"
        names = (path.rpartition("/")[2] for path in (root.upper, root.work))
        upper, work = (f"{own}/{name}" for name in names)
        changed = replace(changed, upper=upper, work=work)
        pairs.append((above, own))
    made = tuple(
        s.BindMount(
            source=source,
            target=target,
            recursive=False,
            on_host=True,
            make_target=True,
            idmap=idmap,
            why="what root owns on the disk is owned by root in there",
        )
        for source, target in pairs
    )
    return made, changed


def _bind(root: Root, at: str) -> tuple[s.Step, ...]:
    if root.directory is None:
        return ()
    why = "the directory as it is; a root must be a mount point (pivot_root(2))"
    # What is mounted in the directory comes along, and no node is to work there either.
    bind = s.BindMount(
        source=root.directory,
        target=at,
        recursive_flags=root.flags,
        on_host=True,
        idmap=root.idmap,
        recursive_idmap=root.idmap is not None,
        why=why,
    )
    return (bind,)


def enter(root: Root, switch: Switch) -> tuple[s.Step, ...]:
    """The steps that make the assembled root the root."""
    at = mounted_at(root)
    if switch == "pivot":
        return (
            s.PivotRoot(root=at, why="the whole namespace, not only this process, gets a new root"),
            s.DetachOldRoot(why="nothing of the host's tree can be reached any more"),
        )
    if switch == "move":
        why = "for a host that runs from an initramfs, which pivot_root refuses"
        return (s.MoveRoot(root=at, why=why),)
    why = "weak: the host's mounts stay in this namespace, and CAP_SYS_CHROOT can climb out"
    return (s.Chroot(root=at, why=why),)
