"""The plan of a bundle, or of a container that is there, drawn again from its documents.

Nothing is made or started: user namespaces for id maps are only named, and a cgroup is not joined.
"""

from __future__ import annotations

import os

from newroot.container.cgroup_view import view_of
from newroot.container.compile import Situation, compile
from newroot.container.config import FAKE_IDS
from newroot.errors import NotFound
from newroot.linux.user_namespaces import has_single_id, is_in_user_namespace
from newroot.record import replace
from newroot.rootfs.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.storage import ContainerStorage
    from newroot.plan.steps import Plan


def explain_bundle(path: str, scratch: str) -> Plan:
    """The plan of the bundle at *path*: its directory, or the config.json in it.

    Raises NotFound, UsageError or SpecError.
    """
    from newroot.oci.config import read_config

    file = os.path.join(path, "config.json") if os.path.isdir(path) else path
    if not os.path.isfile(file):
        raise NotFound(f"no config.json in {path}", hint="a bundle is a directory with one")
    config = read_config(file)
    bundle = os.path.dirname(os.path.abspath(file))
    rootfs = os.path.join(bundle, (config.get("root") or {}).get("path", "rootfs"))
    root = Root(directory=os.path.abspath(rootfs), scratch=scratch)
    return _draw(config, root, _seccomp(config), bundle=bundle)


def explain_container(storage: ContainerStorage, container_id: str) -> Plan:
    """The plan that the container was started by, from its config.json and record.json.

    Raises NotFound when it left none: one that is removed at its end writes none.
    """
    from newroot.oci.config import read_config

    directory = storage.directory(container_id)
    if not os.path.isfile(f"{directory}/config.json"):
        raise NotFound(
            f"container {container_id[:12]} has no config.json: it is removed at its end",
            hint="newroot run --explain shows the plan of a start beforehand",
        )
    config = read_config(f"{directory}/config.json")
    # What a runtime config has no place for stands in the settings beside it.
    start = storage.record(container_id).get("settings") or {}
    seccomp = _seccomp(config)
    if start.get("seccomp") is None and not start.get("privileged"):
        from newroot.isolation.seccomp_default import compiled_default

        seccomp = compiled_default(config["process"]["capabilities"]["bounding"])
    return _draw(
        config,
        _root(storage, container_id, config),
        seccomp,
        bundle=directory,
        switch=start.get("switch", "pivot"),
        init=start.get("init") is True,
    )


def _seccomp(config: dict[str, Any]) -> tuple[bytes, int] | None:
    from newroot.isolation.seccomp import compile_filter

    profile = (config.get("linux") or {}).get("seccomp")
    return None if profile is None else compile_filter(profile)


def _root(storage: ContainerStorage, container_id: str, config: dict[str, Any]) -> Root:
    directory, record = storage.directory(container_id), storage.record(container_id)
    shifted = (record.get("from") or {}).get("shifted")
    on_disk = os.path.isdir(f"{directory}/upper")
    spaces = [space.get("type") for space in (config.get("linux") or {}).get("namespaces") or ()]
    hostname = config.get("hostname") or os.uname().nodename
    return Root(
        lower=tuple(map(str, shifted or record.get("lower") or ())),
        directory=record.get("rootfs"),
        upper=f"{directory}/upper" if on_disk else None,
        work=f"{directory}/work" if on_disk else None,
        scratch=storage.mount_point,
        files=_files(storage, container_id, hostname, is_host="network" not in spaces),
        flags=() if (record.get("settings") or {}).get("privileged") else ("nodev",),
    )


def _files(
    storage: ContainerStorage, container_id: str, hostname: str, *, is_host: bool
) -> tuple[tuple[str, bytes], ...]:
    """The files in /etc: those of a network as they were noted, for as long as it runs."""
    from newroot.container import etc
    from newroot.container.kept_settings import read_settings
    from newroot.network.leases import read_facts

    noted = read_facts(storage.run_directory(container_id))
    if noted:
        return etc.of_network(
            hostname, str(noted.get("hosts", "")).encode(), str(noted.get("resolv", "")).encode()
        )
    settings = read_settings(storage.record(container_id).get("settings") or {})
    return etc.files(hostname, replace(settings, network="host" if is_host else "none"))


def _draw(
    config: dict[str, Any], root: Root, seccomp: tuple[bytes, int] | None, **known: Any
) -> Plan:
    from newroot.isolation.cgroups.detect import detect
    from newroot.rootfs.mount_ids import wanted

    spaces = (config.get("linux") or {}).get("namespaces") or ()
    inner = is_in_user_namespace()
    user = any(space.get("type") == "user" for space in spaces)
    return compile(
        config,
        root,
        Situation(
            cgroups=view_of(None, detect()),
            seccomp=seccomp,
            may_make_nodes=os.geteuid() == 0 and not user and not inner,
            in_user_namespace=inner,
            single_id=inner and has_single_id(),
            fake_ids=FAKE_IDS in (config.get("annotations") or {}),
            has_kcore=os.path.exists("/proc/kcore"),
            id_maps=dict.fromkeys(wanted(config), "USER_NAMESPACE"),
            **known,
        ),
    )
