"""An OCI bundle is read, checked, and becomes a plan: a config.json and a root filesystem.

The same plan, launcher and process as for ``newroot run``; only what was decided there stands in
the config here.  Who makes a container of it: oci_create.py.
"""

from __future__ import annotations

import os

from newroot.container.bundle_config import (
    environment,
    has_user_namespace,
    held_capabilities,
    warn_of_capabilities,
)
from newroot.container.compile import Situation, compile
from newroot.errors import NotFound
from newroot.linux import capabilities
from newroot.oci.config import read_config
from newroot.plan import encode
from newroot.record import record
from newroot.rootfs.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from newroot.isolation.cgroups.cgroup import Cgroup
    from newroot.isolation.cgroups.detect import CgroupHost
    from newroot.isolation.user_namespace import Spaces
    from newroot.plan.launcher import Launch, Launcher
    from newroot.plan.steps import Plan
    from newroot.rootfs.mount_ids import IdMaps


@record
class Bundle:
    """A bundle that was read and found to be one."""

    directory: str  #: absolute
    config: dict[str, Any]
    rootfs: str  #: absolute, without symlinks

    @property
    def in_user_namespace(self) -> bool:
        return has_user_namespace(self.config)

    def state(self, container_id: str) -> dict[str, Any]:
        """The container's state, but for its status and its process: runtime.md, State."""
        found = {
            "ociVersion": self.config["ociVersion"],
            "id": container_id,
            "bundle": self.directory,
        }
        if self.config.get("annotations"):
            found["annotations"] = self.config["annotations"]
        return found


def read_bundle(directory: str, config_file: str | None = None) -> Bundle:
    """Read and check the bundle at *directory*, with its config.json or another file.

    Raises NotFound, SpecError, UsageError; UnsupportedError for what this host cannot do.
    """
    directory = os.path.abspath(directory)
    if not os.path.isdir(directory):
        raise NotFound(f"no bundle at {directory}: no such file or directory")
    return as_bundle(directory, read_config(os.path.join(directory, config_file or "config.json")))


def as_bundle(directory: str, config: dict[str, Any]) -> Bundle:
    """The bundle at *directory*, whose *config* was read."""
    rootfs = os.path.join(directory, config["root"]["path"])
    if not os.path.isdir(rootfs):
        raise NotFound(f"no root filesystem at {rootfs}", hint="root.path in config.json")
    rootfs = os.path.realpath(rootfs)
    return Bundle(directory=directory, config=config, rootfs=rootfs)


@record
class Circumstances:
    """What a bundle's plan depends on beside its config."""

    scratch: str  #: an empty directory, hidden by the container's scratch tmpfs
    cgroup: Cgroup | None
    host: CgroupHost
    switch: str = "pivot"
    awaits_start: bool = False
    terminal_size: tuple[int, int] = (0, 0)
    groups: tuple[str, ...] = ()  #: the files to join its class of ``linux.intelRdt`` by
    keyring: str | None = None  #: see Situation


def draw(bundle: Bundle, around: Circumstances, id_maps: dict[IdMaps, str]) -> Plan:
    """The plan that starts *bundle*'s process, whole."""
    from newroot.container.cgroup_view import view_of
    from newroot.linux.user_namespaces import denies_groups, has_single_id, is_in_user_namespace

    inside = bundle.in_user_namespace
    privileged, outer = os.geteuid() == 0, is_in_user_namespace()
    # The root is put together where the bundle's hooks look for it.  Not on /, for nobody sees
    # what is mounted there; and not for a user namespace, which begins in the scratch directory.
    in_place = bundle.rootfs != "/" and not inside
    process = bundle.config["process"]
    env = environment(process, bundle.rootfs)
    return compile(
        {**bundle.config, "process": {**process, "env": env}},
        Root(directory=bundle.rootfs, in_place=in_place, scratch=around.scratch),
        Situation(
            cgroups=view_of(around.cgroup, around.host),
            cgroup_procs=(*(around.cgroup.procs_paths if around.cgroup else ()), *around.groups),
            keyring=around.keyring,
            seccomp=seccomp_filter(bundle.config),
            switch=around.switch,  # type: ignore[arg-type]
            bundle=bundle.directory,
            terminal_size=around.terminal_size,
            # Root in a user namespace of podman's is no root to mknod(2).
            may_make_nodes=privileged and not inside and not outer,
            has_kcore=os.path.exists("/proc/kcore"),
            privileged=privileged,
            id_maps=id_maps,
            capabilities=held_capabilities(in_user_namespace=inside),
            in_user_namespace=outer,
            single_id=outer and privileged and (denies_groups() if inside else has_single_id()),
            awaits_start=around.awaits_start,
            dies_with_parent=not around.awaits_start,
        ),
    )


def launch(
    bundle: Bundle,
    around: Circumstances,
    launcher: Launcher,
    stdio: tuple[int, int, int],
    *,
    own: Sequence[int] = (),
    passed: Sequence[int] = (),
    warn: Callable[[str], None],
) -> tuple[Launch, Plan, Spaces | None]:
    """Hand *bundle*'s plan over; return also the plan that reports come from, and what to close."""
    spaces = _id_maps(bundle.config, launcher)
    try:
        plan = draw(bundle, around, spaces.paths if spaces is not None else {})
        warn_of_capabilities(bundle.config["process"], warn, inside=bundle.in_user_namespace)
        if bundle.in_user_namespace:
            from newroot.isolation.user_namespace import launch_in

            launched, plan = launch_in(
                launcher, plan, stdio, own=own, passed=passed, kept=around.awaits_start
            )
        else:
            launched = launcher.launch(
                encode.encode(plan),
                encode.clone_flags(encode.first_namespaces(plan)),
                stdio,
                own=own,
                passed=passed,
                birth=encode.needs_birth(plan),
                kept=around.awaits_start,  # it is its subreaper's to collect
            )
    except BaseException:
        if spaces is not None:
            spaces.close()
        raise
    return launched, plan, spaces


def draw_again(bundle: Bundle, around: Circumstances, own: int) -> Plan:
    """The plan that reports of ``launch()``'s came from: for who was not there, to explain them."""
    from newroot.rootfs.mount_ids import wanted

    plan = draw(bundle, around, dict.fromkeys(wanted(bundle.config), "/proc/self/ns/user"))
    if not bundle.in_user_namespace:
        return plan
    from newroot.plan.divide import divide

    return divide(plan, capabilities.mask(capabilities.held()), own).inside


def _id_maps(config: dict[str, Any], launcher: Launcher) -> Spaces | None:
    """User namespaces for the mounts that have an id map."""
    from newroot.rootfs.mount_ids import wanted

    maps = wanted(config)
    if not maps:
        return None
    from newroot.isolation.user_namespace import Spaces

    return Spaces(lambda: launcher, maps)


def seccomp_filter(config: dict[str, Any]) -> tuple[bytes, int] | None:
    """The filter of ``linux.seccomp``, compiled, and its flags."""
    seccomp = (config.get("linux") or {}).get("seccomp")
    if seccomp is None:
        return None
    from newroot.isolation.seccomp import check_listener, compile_filter

    program, flags = compile_filter(seccomp)
    check_listener(seccomp, flags)
    return program, flags
