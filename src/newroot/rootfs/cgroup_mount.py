"""What a container sees at /sys/fs/cgroup: its own cgroup as the top, whatever the host has.

cgroup v2 is one mount.  On v1 each hierarchy that the container is in gets a directory of its own
in a small tmpfs, named after its controllers, with a link for each of them, as on a v1 host.  A
hybrid host's container that is in no v1 hierarchy sees the v2 one.
"""

from __future__ import annotations

from newroot.plan import steps as s
from newroot.record import record
from newroot.rootfs.mount_steps import split_options


@record
class CgroupView:
    """The hierarchies that a container will see."""

    unified: bool = True  #: one cgroup2 mount, and no more
    v1: tuple[tuple[str, ...], ...] = ()  #: the controllers of each hierarchy, or ``name=systemd``
    directories: tuple[str, ...] = ()  #: its own cgroup in each of *v1*, on the host


def cgroup_mount_steps(
    mount: dict[str, object], pointer: str, view: CgroupView, *, own_namespace: bool = True
) -> tuple[s.Step, ...]:
    """The steps for a config's mount of the type ``cgroup``.

    Without a cgroup namespace of its own, a v1 hierarchy that is mounted shows the host's top; so
    the container's directory is bound in its place, as by runc.
    """
    target = str(mount["destination"])
    options = mount.get("options") or []
    flags = split_options([str(o) for o in options] if isinstance(options, list) else []).flags
    if not view.v1:
        return (_unified(target, flags),) if view.unified else ()
    # Whatever the config says, as in runc: nothing in there is to be run or opened as a device.
    flags = tuple(dict.fromkeys(("nosuid", "nodev", "noexec", *flags)))
    writable = tuple(flag for flag in flags if flag != "ro")
    tmpfs = s.MountFs(
        type="tmpfs",
        source="tmpfs",
        target=target,
        options=("mode=755",),
        flags=writable,
        make_target=True,
        no_symlinks=True,
        why="a directory for each hierarchy",
    )
    seal = s.SetAttr(target=target, flags=("ro",), why="no hierarchy may be added")
    sources = view.directories if not own_namespace else ()
    shown = [
        step
        for names, source in zip(view.v1, sources or (None,) * len(view.v1), strict=True)
        for step in _hierarchy(target, names, flags, source)
    ]
    return (tmpfs, *shown, *((seal,) if "ro" in flags else ()))


def _unified(target: str, flags: tuple[str, ...]) -> s.Step:
    return s.MountFs(
        type="cgroup2",
        source="cgroup",
        target=target,
        flags=flags,
        make_target=True,
        no_symlinks=True,
        why="its own cgroup, seen as the top",
    )


def _hierarchy(
    target: str, names: tuple[str, ...], flags: tuple[str, ...], source: str | None
) -> list[s.Step]:
    directory = ",".join(name.removeprefix("name=") for name in names)
    # A named hierarchy has no controllers, and must be asked for by its name alone: cgroups(7).
    options = tuple(o for name in names for o in (("none", name) if "=" in name else (name,)))
    made: s.MountFs | s.BindMount = s.MountFs(
        type="cgroup",
        source=directory if "=" in names[0] else "cgroup",
        target=f"{target}/{directory}",
        options=options,
        flags=flags,
        make_target=True,
        no_symlinks=True,
        why="its own cgroup, seen as the top",
    )
    if source is not None:
        made = s.BindMount(
            source=source,
            target=made.target,
            recursive=False,
            flags=flags,
            make_target=True,
            why="its own cgroup, which is all that it is to see",
        )
    links = [] if len(names) == 1 else list(names)
    return [made, *(s.MakeSymlink(target=f"{target}/{link}", to=directory) for link in links)]
