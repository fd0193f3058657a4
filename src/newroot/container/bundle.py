"""An OCI bundle is run: a directory with a config.json and a root filesystem beside it.

The same plan, launcher and process as for ``newroot run``; only what was decided there stands in
the config here.
"""

from __future__ import annotations

import os

from newroot.container.cgroup_view import view_of
from newroot.container.compile import Situation, compile
from newroot.container.parent import Parent
from newroot.container.process import Cleanup, Process
from newroot.errors import NotFound
from newroot.isolation.capabilities import left_out
from newroot.linux import capabilities
from newroot.plan import encode
from newroot.rootfs.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.container.start import Stdio
    from newroot.container.storage import Claim, ContainerStorage
    from newroot.isolation.cgroups.cgroup import Cgroup
    from newroot.isolation.cgroups.detect import CgroupHost
    from newroot.isolation.user_namespace import Spaces
    from newroot.plan.launcher import Ended, Launcher


def start_bundle(
    config: dict[str, Any],
    bundle: str,
    claim: Claim,
    storage: ContainerStorage,
    launcher: Launcher,
    stdio: Stdio,
    *,
    switch: str = "pivot",
    terminal_size: tuple[int, int] = (0, 0),
    warn: Callable[[str], None] = lambda words: None,
) -> Process:
    """Start *config*'s process.  *claim* is released when it has ended, or could not start.

    *warn* is told what the specification wants logged.
    """
    cgroup: Cgroup | None = None
    try:
        rootfs = os.path.join(bundle, config["root"]["path"])
        if not os.path.isdir(rootfs):
            raise NotFound(f"no root filesystem at {rootfs}", hint="root.path in config.json")
        from newroot.isolation.cgroups.detect import detect

        host = detect()
        cgroup = _make_cgroup(config, claim, host)
        _check_host(config)
        spaces = _id_maps(config, launcher)
        in_user_namespace = _has_user_namespace(config)
        # In a user namespace of its own it has them all: user_namespaces(7).
        held = None if in_user_namespace else capabilities.mask(capabilities.held())
        plan = compile(
            config,
            _root(os.path.realpath(rootfs), storage.mount_point, in_user_namespace),
            Situation(
                cgroups=view_of(cgroup, host),
                cgroup_procs=cgroup.procs_paths if cgroup else (),
                seccomp=_seccomp(config),
                switch=switch,  # type: ignore[arg-type]
                bundle=os.path.abspath(bundle),
                terminal_size=terminal_size,
                may_make_nodes=os.geteuid() == 0 and not in_user_namespace,
                id_maps=spaces.paths if spaces is not None else {},
                capabilities=held,
            ),
        )
        for name in left_out(config["process"].get("capabilities"), held):
            warn(f"the capability {name} cannot be given")
        if in_user_namespace:
            from newroot.isolation.user_namespace import launch_in

            launch, plan = launch_in(launcher, plan, stdio.fds, held=(claim.fd,))
        else:
            first = plan.steps[0]
            launch = launcher.launch(
                encode.encode(plan),
                encode.clone_flags(getattr(first, "namespaces", ())),
                stdio.fds,
                held=(claim.fd,),
            )
        name = str(claim.state.get("name", claim.id))
        parent = Parent(config, plan, _state(config, name, bundle))
    except BaseException:
        _end(claim, cgroup)
        raise
    finally:
        for fd in stdio.theirs:
            os.close(fd)

    def release(ended: Ended | None) -> None:
        if spaces is not None:
            spaces.close()
        parent.close()
        _end(claim, cgroup)
        if config.get("hooks"):
            from newroot.container.hooks import run_poststop_hooks

            run_poststop_hooks(config, parent.state, warn)

    oom_kills = cgroup.oom_kills if cgroup is not None else lambda: 0
    argv = tuple(config["process"]["args"])
    return Process(
        launch,
        lambda: plan,
        Cleanup(oom_kills=oom_kills, release=release),
        argv,
        stdio.pipes,
        parent=parent,
    )


def _has_user_namespace(config: dict[str, Any]) -> bool:
    """Whether one is made or joined."""
    spaces = (config.get("linux") or {}).get("namespaces") or ()
    return any(space.get("type") == "user" for space in spaces)


def _id_maps(config: dict[str, Any], launcher: Launcher) -> Spaces | None:
    """User namespaces for the mounts that have an id map."""
    from newroot.rootfs.mount_ids import wanted

    maps = wanted(config)
    if not maps:
        return None
    from newroot.isolation.user_namespace import Spaces

    return Spaces(lambda: launcher, maps)


def _root(rootfs: str, scratch: str, in_user_namespace: bool) -> Root:
    """The bundle's root, put together where its hooks look for it.

    Not on /, for nobody sees what is mounted there; and not for a user namespace, which begins in
    the scratch directory (plan/divide.py).
    """
    in_place = rootfs != "/" and not in_user_namespace
    return Root(directory=rootfs, in_place=in_place, scratch=scratch)


def _state(config: dict[str, Any], name: str, bundle: str) -> dict[str, Any]:
    """The container's state, but for its status and its process: runtime.md, State."""
    return {
        "ociVersion": config["ociVersion"],
        "id": name,
        "bundle": os.path.abspath(bundle),
        **({"annotations": config["annotations"]} if config.get("annotations") else {}),
    }


def _check_host(config: dict[str, Any]) -> None:
    """Refuse what the config asks for and this host cannot do, before anything is made."""
    process = config.get("process") or {}
    if config.get("hooks"):
        from newroot.container.hooks import check_hooks

        check_hooks(config)
    if process.get("apparmorProfile") or process.get("selinuxLabel"):
        from newroot.isolation.labels import check_labels

        check_labels(process)
    if (config.get("linux") or {}).get("sysctl"):
        from newroot.isolation.sysctls import check_sysctls

        check_sysctls(config)


def _end(claim: Claim, cgroup: Cgroup | None) -> None:
    if cgroup is not None:
        cgroup.remove()
    claim.release(remove=True)


def _make_cgroup(config: dict[str, Any], claim: Claim, host: CgroupHost) -> Cgroup | None:
    linux = config.get("linux") or {}
    resources, path = linux.get("resources") or {}, linux.get("cgroupsPath")
    if not resources and path is None:
        return None
    from newroot.isolation.cgroups.cgroup import Cgroup

    where = path or host.default_path(claim.id)
    claim.write_state(cgroup=where)
    return Cgroup.create(where, resources, host=host)


def _seccomp(config: dict[str, Any]) -> tuple[bytes, int] | None:
    seccomp = (config.get("linux") or {}).get("seccomp")
    if seccomp is None:
        return None
    from newroot.isolation.seccomp import check_listener, compile_filter

    program, flags = compile_filter(seccomp)
    check_listener(seccomp, flags)
    return program, flags
