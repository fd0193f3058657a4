"""An OCI config becomes a plan.  Pure: it looks at nothing and changes nothing.

Read ``compile()`` from top to bottom and you have the order in which a container is made.
"""

from __future__ import annotations

from newroot.errors import SpecError
from newroot.isolation import namespaces
from newroot.plan import steps as s
from newroot.record import record, replace
from newroot.rootfs import devices
from newroot.rootfs import root as roots
from newroot.rootfs.cgroup_mount import cgroup_mount_steps
from newroot.rootfs.mount_steps import hold_steps, mount_steps, shared_binds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.rootfs.cgroup_mount import CgroupView
    from newroot.rootfs.mount_ids import IdMaps
    from newroot.rootfs.root import Root, Switch


@record
class Situation:
    """What a plan depends on beside the config: who asks, and where."""

    cgroups: CgroupView  #: what /sys/fs/cgroup will show
    cgroup_procs: tuple[str, ...] = ()  #: the files to join the container's cgroup by
    seccomp: tuple[bytes, int] | None = None  #: the compiled filter and its flags
    switch: Switch = "pivot"
    bundle: str = "/"  #: what relative sources are relative to
    init: bool = False  #: our reaper as pid 1
    dies_with_parent: bool = True
    terminal_size: tuple[int, int] = (0, 0)  #: rows, columns
    may_make_nodes: bool = True
    has_kcore: bool = True  #: this kernel has /proc/kcore
    id_maps: dict[IdMaps, str] = {}  # noqa: RUF012  # a user namespace for each; never changed
    capabilities: int | None = None  #: those that there are to give, a mask; None: all
    privileged: bool = True  #: the caller has rights outside of the user namespaces to be joined
    keyring: str | None = None  #: the name of its session keyring; "": the caller's is kept
    in_user_namespace: bool = False  #: the caller is: its overlays keep their marks otherwise
    single_id: bool = False  #: one that has no other ids to be had
    fake_ids: bool = False  #: calls that want others do nothing: isolation/fake_ids.py
    network: bool = False  #: its network namespace is there, and is the plan's own descriptor 0
    awaits_start: bool = False  #: be created only: steps.AwaitStart


def compile(config: dict[str, Any], root: Root, situation: Situation) -> s.Plan:
    """The plan that starts *config*'s process in *root*.

    Raises SpecError, with the place in the config, when it asks for what cannot be.
    """
    linux = config.get("linux") or {}
    process = config.get("process") or {}
    spaces = namespaces.kinds(linux.get("namespaces") or [])
    if "mount" not in spaces:
        raise SpecError(
            "a container without a mount namespace of its own would mount on the host",
            pointer="/linux/namespaces",
        )
    steps = (
        *_born(spaces, situation),
        *_map_ids(linux, spaces),
        s.NewSession(why="no terminal of the caller's is within reach: TIOCSTI, ioctl_tty(2)"),
        *namespaces.cgroup_steps(spaces, situation.cgroup_procs),
        *namespaces.time_steps(spaces, linux.get("timeOffsets")),
        *hold_steps(config.get("mounts") or []),
        *roots.assemble(root),
        *_mounts(config, root, situation),
        *_devices(config, situation),
        *_terminal(process, situation),
        *_seal_dev(config),
        *_network(linux, spaces, situation),
        *_hooks(config, "prestart", "createRuntime", "createContainer"),
        *_protect(linux),
        *_system(config, linux, spaces),
        *_working_directory(process),
        *_read_only_root(config),
        *roots.enter(root, situation.switch),
        *_root_propagation(linux),
        *_keyring(situation, spaces),
        *_tuning(process, linux),
        *_identity(config, process, situation),
        *((s.Reap(why="pid 1 collects orphans and passes signals on"),) if situation.init else ()),
        command(process),
    )
    steps = tuple(_with_root(step, linux) for step in steps)
    return s.Plan(steps=_user_overlays(steps) if situation.in_user_namespace else steps)


def _with_root(step: s.Step, linux: dict[str, Any]) -> s.Step:
    """Who root of a user namespace that is joined is out here, where the config says it."""
    if not isinstance(step, s.SetNamespace) or step.namespace != "user":
        return step
    from newroot.rootfs.mount_ids import container_maps

    roots = [
        [outside for inside, outside, _ in ranges if inside == 0]
        for ranges in container_maps(linux) or ()
    ]
    return replace(step, root=(roots[0][0], roots[1][0])) if roots and all(roots) else step


def _user_overlays(steps: tuple[s.Step, ...]) -> tuple[s.Step, ...]:
    """Overlays that keep what they mark in ``user.`` attributes, for no others may be set where
    the caller is: Documentation/filesystems/overlayfs.rst, userxattr."""
    return tuple(
        replace(step, options=(*step.options, "userxattr"))
        if isinstance(step, s.MountOverlay)
        else step
        for step in steps
    )


def _map_ids(linux: dict[str, Any], spaces: dict[str, str | None]) -> tuple[s.Step, ...]:
    if spaces.get("user", "") is not None:
        return ()
    from newroot.rootfs.mount_ids import container_maps

    maps = container_maps(linux)
    if maps is None:
        raise SpecError(
            "a new user namespace without a map has no ids at all", pointer="/linux/uidMappings"
        )
    uids, gids = maps
    return (s.MapIds(uids=uids, gids=gids, why="root in here is an ordinary user out there"),)


def _mounts(config: dict[str, Any], root: Root, situation: Situation) -> tuple[s.Step, ...]:
    steps: list[s.Step] = []
    mounts = config.get("mounts") or []
    shared = shared_binds(mounts)
    for index, mount in enumerate(mounts):
        pointer = f"/mounts/{index}"
        if mount.get("type") == "cgroup":
            own = "cgroup" in namespaces.kinds((config.get("linux") or {}).get("namespaces") or [])
            steps += cgroup_mount_steps(mount, pointer, situation.cgroups, own_namespace=own)
        else:
            place = shared.index(mount) if mount in shared else None
            idmap = _id_map(mount, config, pointer, situation) if situation.id_maps else None
            steps += mount_steps(mount, pointer, situation.bundle, root.scratch, place, idmap)
    label = (config.get("linux") or {}).get("mountLabel")
    if not label:
        return tuple(steps)
    from newroot.isolation.labels import labelled

    return labelled(tuple(steps), label)


def _id_map(
    mount: dict[str, Any], config: dict[str, Any], pointer: str, situation: Situation
) -> str | None:
    from newroot.rootfs.mount_ids import mount_maps

    maps = mount_maps(mount, config.get("linux") or {}, pointer)
    return None if maps is None else situation.id_maps[maps]


def _devices(config: dict[str, Any], situation: Situation) -> tuple[s.Step, ...]:
    linux = config.get("linux") or {}
    if _is_bound(config, "/dev"):
        return ()  # somebody else's /dev: nothing is made in it (runc's needsSetupDev)
    may = situation.may_make_nodes and not _is_nodev(config, "/dev")
    asked: list[s.Step] = []
    for index, device in enumerate(linux.get("devices") or []):
        asked += devices.device_steps(device, f"/linux/devices/{index}", may_make_nodes=may)
    # -v /dev/urandom:/dev/random is a node of the user's choice, mounted by now.
    taken = {str(mount.get("destination")) for mount in config.get("mounts") or []}
    usual = devices.default_device_steps(
        may_make_nodes=may, taken=taken, has_kcore=situation.has_kcore
    )
    return (*usual, *asked)


def _seal_dev(config: dict[str, Any]) -> tuple[s.Step, ...]:
    """A /dev of its own that is to be read-only is so when all is made in it."""
    if not _has_option(config, "/dev", "ro") or _is_bound(config, "/dev"):
        return ()
    return (s.SetAttr(target="/dev", flags=("ro",), why="asked for, and now all is in it"),)


_PROPAGATIONS = frozenset(
    r + word for word in ("shared", "slave", "private", "unbindable") for r in ("", "r")
)


def _root_propagation(linux: dict[str, Any]) -> tuple[s.Step, ...]:
    """``rootfsPropagation``.  What is mounted on the host in its root reaches a container's, until
    this is said; a shared one shares with its own descendants, not with the host.
    """
    word = linux.get("rootfsPropagation")
    if not word:
        return ()
    if word not in _PROPAGATIONS:
        raise SpecError(f"not a propagation: {word!r}", pointer="/linux/rootfsPropagation")
    if word in ("slave", "rslave"):
        return ()  # so it is by now, and a second time would cut it off
    # Once entered: a root that is shared cannot be pivoted to (pivot_root(2)).
    return (s.SetPropagation(target="/", propagation=word, why="asked for"),)


def _is_bound(config: dict[str, Any], target: str) -> bool:
    """Whether what is at *target* is a directory of the host."""
    mounts = (m for m in config.get("mounts") or [] if m.get("destination") == target)
    return any(
        m.get("type") == "bind" or {"bind", "rbind"} & set(m.get("options") or []) for m in mounts
    )


def _is_nodev(config: dict[str, Any], target: str) -> bool:
    """Whether device nodes on the config's mount at *target* do not work."""
    return _has_option(config, target, "nodev")


def _has_option(config: dict[str, Any], target: str, option: str) -> bool:
    mounts = (m for m in config.get("mounts") or [] if m.get("destination") == target)
    return any(option in (m.get("options") or []) for m in mounts)


def _terminal(process: dict[str, Any], situation: Situation) -> tuple[s.Step, ...]:
    if not process.get("terminal"):
        return ()
    rows, columns = situation.terminal_size
    if not rows and not columns:
        size = process.get("consoleSize") or {}
        rows, columns = (_side(size, side) for side in ("height", "width"))
    uid = int((process.get("user") or {}).get("uid", 0))
    why = "the caller talks to it through its other end"
    return (s.OpenTerminal(rows=rows, columns=columns, uid=uid, why=why),)


def _side(size: dict[str, Any], side: str) -> int:
    value: int = size.get(side) or 0
    if not 0 <= value < 2**16:  # struct winsize: ioctl_tty(2)
        raise SpecError("not between 0 and 65535", pointer=f"/process/consoleSize/{side}")
    return value


def _protect(linux: dict[str, Any]) -> tuple[s.Step, ...]:
    """Masks before read-only paths: a mask inside one could no longer be put in its place."""
    for key in ("maskedPaths", "readonlyPaths"):
        for index, path in enumerate(linux.get(key) or ()):
            if not path.startswith("/"):
                raise SpecError(f"not an absolute path: {path!r}", pointer=f"/linux/{key}/{index}")
    return (
        *(
            s.Mask(target=path, why="says or changes too much about the host")
            for path in linux.get("maskedPaths") or ()
        ),
        *(
            s.MakeReadonly(target=path, why="settings of the host's kernel")
            for path in linux.get("readonlyPaths") or ()
        ),
    )


def _system(
    config: dict[str, Any], linux: dict[str, Any], spaces: dict[str, str | None]
) -> tuple[s.Step, ...]:
    steps: list[s.Step] = []
    for key in ("hostname", "domainname"):
        if config.get(key) and "uts" not in spaces:
            raise SpecError("there is no uts namespace to set it in", pointer=f"/{key}")
    if config.get("hostname"):
        steps.append(s.SetHostname(hostname=config["hostname"], why="its own name, in its own uts"))
    if config.get("domainname"):
        steps.append(s.SetDomainname(domainname=config["domainname"], why="asked for"))
    if linux.get("sysctl"):
        from newroot.isolation.sysctls import sysctl_steps

        steps += sysctl_steps(linux["sysctl"], spaces)
    return tuple(steps)


def _born(spaces: dict[str, str | None], situation: Situation) -> tuple[s.Step, ...]:
    if not situation.network:
        return namespaces.born_in(spaces, privileged=situation.privileged)
    others = {kind: path for kind, path in spaces.items() if kind != "network"}
    why = "it was wired before, and outlives a restart"
    return (
        *namespaces.born_in(others, privileged=situation.privileged),
        s.JoinProcess(namespaces=("net",), fd=0, why=why),
    )


def _network(
    linux: dict[str, Any], spaces: dict[str, str | None], situation: Situation
) -> tuple[s.Step, ...]:
    """Before the hooks and the sysctls, for both may be about what is there then."""
    steps: list[s.Step] = []
    if spaces.get("network", "") is None and not situation.network:
        steps.append(s.LinkUp(interface="lo", why="localhost works, and nothing else is reachable"))
    if linux.get("netDevices"):
        from newroot.isolation.netdevices import interface_steps

        steps += interface_steps(linux["netDevices"], spaces)
    return tuple(steps)


def _hooks(config: dict[str, Any], *points: str) -> tuple[s.Step, ...]:
    """The steps of the hooks at *points*, if there are any."""
    if not any((config.get("hooks") or {}).get(point) for point in points):
        return ()
    from newroot.container.hooks import container_hook_steps, runtime_hook_steps

    if points == ("startContainer",):
        return container_hook_steps(config, *points)
    return (*runtime_hook_steps(config), *container_hook_steps(config, "createContainer"))


def _keyring(situation: Situation, spaces: dict[str, str | None]) -> tuple[s.Step, ...]:
    if situation.keyring == "":
        return ()
    return (
        s.NewKeyring(
            name=situation.keyring, for_others="user" in spaces, why="nobody's keys but its own"
        ),
    )


def _tuning(process: dict[str, Any], linux: dict[str, Any]) -> tuple[s.Step, ...]:
    """What few configs ask for; before the limits, which may be too low for it."""
    asked = ("scheduler", "ioPriority", "apparmorProfile", "selinuxLabel")
    if not (any(map(process.get, asked)) or linux.get("personality") or linux.get("memoryPolicy")):
        return ()
    from newroot.isolation.labels import label_steps
    from newroot.isolation.tuning import tuning_steps

    return (*tuning_steps(process, linux), *label_steps(process))


def _working_directory(process: dict[str, Any]) -> tuple[s.Step, ...]:
    cwd = process.get("cwd") or ""
    if not cwd.startswith("/"):
        raise SpecError(f"not an absolute path: {cwd!r}", pointer="/process/cwd")
    if cwd == "/":
        return ()
    return (s.MakeDir(target=cwd, make_target=True, why="the command starts in it"),)


def _read_only_root(config: dict[str, Any]) -> tuple[s.Step, ...]:
    if not (config.get("root") or {}).get("readonly"):
        return ()
    return (s.SetAttr(target="/", flags=("ro",), why="the root may not be written to"),)


def _identity(
    config: dict[str, Any], process: dict[str, Any], situation: Situation
) -> tuple[s.Step, ...]:
    from newroot.isolation.identity import identity_steps

    why = "create and start are two commands"
    awaited = (s.AwaitStart(paths=command(process).paths, why=why),)
    return identity_steps(
        process,
        situation.seccomp,
        dies_with_parent=situation.dies_with_parent,
        before_filter=(
            *(awaited if situation.awaits_start else ()),
            *_hooks(config, "startContainer"),
        ),
        available=situation.capabilities,
        single_id=situation.single_id,
        fake_ids=situation.fake_ids,
    )


def command(process: dict[str, Any]) -> s.Exec:
    """The last step: what is run, and where it is looked for."""
    args, env = process.get("args") or [], process.get("env") or []
    if not args or not args[0]:
        raise SpecError("nothing to run", pointer="/process/args")
    return s.Exec(paths=search(args[0], env), argv=tuple(args), env=tuple(env))


def search(name: str, env: list[str]) -> tuple[str, ...]:
    """The paths at which *name* is looked for, as execvp(3) does with the container's PATH."""
    if "/" in name:
        return (name,)
    path = next((word[5:] for word in reversed(env) if word.startswith("PATH=")), "")
    return tuple(f"{directory or '.'}/{name}" for directory in path.split(":")) or (name,)
