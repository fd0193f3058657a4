"""A container's plan is drawn: from settings and what was found for them to steps.

The plan of a container differs from that of the next one with the same settings only in its id
and its command.  So the first is kept as a blueprint: its bytes, with one id put in another's
place, are the next one's.
"""

from __future__ import annotations

import os

from newroot.container import config as configs
from newroot.container import etc
from newroot.container.borrowed import borrowed, masked_places
from newroot.container.cgroup_view import view_of
from newroot.container.compile import Situation, command, compile
from newroot.container.source import stamp
from newroot.errors import UsageError
from newroot.isolation import users
from newroot.linux import user_namespaces
from newroot.plan import encode
from newroot.plan.steps import Exec, Plan
from newroot.record import record, replace
from newroot.rootfs.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.container.devices import Found
    from newroot.container.mounts import Sourced
    from newroot.container.settings import Settings
    from newroot.container.source import Source
    from newroot.container.userns import UserIds
    from newroot.isolation.cgroups.cgroup import Cgroup
    from newroot.isolation.cgroups.detect import CgroupHost
    from newroot.network.wiring import Wiring
    from newroot.rootfs.mount_ids import IdMaps

_SHORT = 12  #: as much of an id as is shown, and is the hostname


@record
class Blueprint:
    """A plan that was made for one id, and the config it was made from."""

    id: str
    config: dict[str, Any]
    plan: Plan
    prefix: bytes  #: all steps but the command, encoded
    clone_flags: int

    def bytes_for(self, container_id: str, last: Exec) -> bytes:
        """The encoded plan for another id.  All ids are equally long, so every offset holds."""
        prefix = self.prefix
        if container_id != self.id:
            old, new = self.id.encode(), container_id.encode()
            prefix = prefix.replace(old, new).replace(old[:_SHORT], new[:_SHORT])
        return encode.join(len(self.plan.steps), prefix, encode.encode_step(last))

    def plan_for(self, container_id: str, last: Exec) -> Plan:
        """The same as steps, for an error or an explanation."""
        renamed = (_renamed(step, self.id, container_id) for step in self.plan.steps[:-1])
        return Plan(steps=(*renamed, last))

    def command_for(self, container_id: str, args: list[str]) -> Exec:
        """The last step: *args*, in the blueprint's environment."""
        process = self.config["process"]
        old, new = self.id[:_SHORT], container_id[:_SHORT]
        env = [word.replace(old, new) for word in process["env"]]
        return command({"args": args, "env": env})


def _renamed(step: Any, old: str, new: str) -> Any:
    def change(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(old, new).replace(old[:_SHORT], new[:_SHORT])
        if isinstance(value, bytes):
            return change(value.decode("latin-1")).encode("latin-1")
        return tuple(map(change, value)) if isinstance(value, tuple) else value

    return replace(step, **{name: change(getattr(step, name)) for name in step._fields})


@record
class Parts:
    """What was found and made for one container before its plan is drawn."""

    args: list[str]
    sourced: Sourced
    devices: Found
    upper: tuple[str, str] | None = None  #: the upper and work directories, where they are on disk
    cgroup: Cgroup | None = None
    terminal_size: tuple[int, int] = (0, 0)
    ids: UserIds | None = None  #: of its user namespace
    id_maps: dict[IdMaps, str] = {}  # noqa: RUF012  # a user namespace for each; never changed
    wiring: Wiring | None = None  #: of its network
    is_wired: bool = False  #: its network namespace is made before it


class Blueprints:
    """Draws plans below one scratch directory, and keeps those that may be asked for again."""

    def __init__(self, scratch: str) -> None:
        self._scratch = scratch
        # By identity, for to hash settings takes as long as a few system calls; what is kept
        # beside the blueprint keeps its identity from being another's.
        self._known: dict[tuple[object, ...], tuple[Settings, Blueprint]] = {}
        self._cgroups: CgroupHost | None = None
        #: Told what a container starts without, where that is no reason not to start it.
        self.on_warning: Callable[[str], object] = _not_told
        self.inner = user_namespaces.is_in_user_namespace()
        self.single_id = self.inner and user_namespaces.has_single_id()
        self.may_make_nodes = os.geteuid() == 0 and not self.inner
        self.has_kcore = os.path.exists("/proc/kcore")

    def cgroup_host(self) -> CgroupHost:
        if self._cgroups is None:
            from newroot.isolation.cgroups.detect import detect

            self._cgroups = detect()
        return self._cgroups

    def find(
        self,
        container_id: str,
        settings: Settings,
        source: Source,
        parts: Parts,
    ) -> Blueprint:
        key = (source.key, id(settings), parts.terminal_size, *_stamps(settings, source))
        if parts.ids is not None or parts.wiring is not None:  # its ids, its addresses are its own
            return self.draw(container_id, settings, source, parts)
        known = self._known.get(key)
        if known is not None and not parts.sourced.anonymous:
            return known[1]
        found = self.draw(container_id, settings, source, parts)
        if len(self._known) >= 256:  # a caller whose settings never repeat
            self._known.clear()
        self._known[key] = settings, found
        return found

    def draw(
        self,
        container_id: str,
        settings: Settings,
        source: Source,
        parts: Parts,
    ) -> Blueprint:
        upper, cgroup = parts.upper, parts.cgroup
        hostname = hostname_of(settings, container_id)
        scratch = self._scratch
        taken = {mount.target for mount in settings.mounts}
        config = configs.make_config(
            settings,
            source.image,
            args=parts.args,
            user=_find_user(settings, source, parts.ids),
            hostname=hostname,
            mounts=([] if source.own_etc else etc.mounts(scratch, taken))
            + list(parts.sourced.mounts),
            devices=parts.devices,
            rootless=self.single_id,
            inner=self.inner,
            bound=self._borrowed(settings),
        )
        fake_ids = self.single_id if settings.fake_chown is None else settings.fake_chown
        if fake_ids:
            config["annotations"] = {**config["annotations"], configs.FAKE_IDS: ""}
        if parts.ids is not None:
            config["linux"] |= parts.ids.oci
            _join(config, parts.ids.path)
        root = Root(
            lower=source.shifted or source.lower,
            directory=source.directory,
            upper=upper[0] if upper else None,
            work=upper[1] if upper else None,
            scratch=scratch,
            files=etc.files(hostname, settings, parts.wiring),
            # Nothing of a throw-away upper needs to reach the disk: overlayfs.rst, Volatile mount.
            overlay_options=("volatile",) if upper and settings.remove else (),
            flags=() if settings.privileged else ("nodev",),
            idmap=parts.id_maps.get(parts.ids.maps) if parts.ids is not None else None,
        )
        situation = Situation(
            cgroups=view_of(cgroup, self.cgroup_host()),
            cgroup_procs=cgroup.procs_paths if cgroup else (),
            seccomp=_seccomp(settings, config),
            switch=settings.switch,
            init=settings.init,
            terminal_size=parts.terminal_size,
            may_make_nodes=self.may_make_nodes and parts.ids is None,
            has_kcore=self.has_kcore,
            id_maps=parts.id_maps,
            in_user_namespace=self.inner,
            single_id=self.single_id,
            fake_ids=fake_ids,
            network=parts.is_wired,
        )
        plan = compile(config, root, situation)
        first = plan.steps[0]
        return Blueprint(
            id=container_id,
            config=config,
            plan=plan,
            prefix=encode.encode_steps(plan.steps[:-1]),
            clone_flags=encode.clone_flags(getattr(first, "namespaces", ())),
        )

    def _borrowed(self, settings: Settings) -> frozenset[str]:
        """What a container has bound that it cannot mount, here where we are."""
        if not self.inner:
            return frozenset()
        masked = masked_places()
        if "/proc" in masked and settings.pid == "private":
            self.on_warning(
                "an outer container masks parts of /proc, so the container sees that one, and the "
                "processes in it"
            )
        return borrowed(settings, masked)


def hostname_of(settings: Settings, container_id: str) -> str:
    return settings.hostname or (
        container_id[:_SHORT] if settings.uts == "private" else os.uname().nodename
    )


def _not_told(words: str) -> None:
    pass


def _join(config: dict[str, Any], path: str | None) -> None:
    """Its user namespace is one that is there."""
    for namespace in config["linux"]["namespaces"] if path is not None else ():
        if namespace["type"] == "user":
            namespace["path"] = path


def _stamps(settings: Settings, source: Source) -> tuple[object, ...]:
    """What changes when a file does that the plan was made from, and that may change meanwhile."""
    files = []
    if settings.seccomp not in (None, "unconfined"):
        files.append(settings.seccomp)
    if settings.network == "host":
        files += ["/etc/hosts", "/etc/resolv.conf"]
    if source.directory is not None:  # an image's layers never change
        files += [f"{source.directory}/etc/passwd", f"{source.directory}/etc/group"]
    return tuple(map(stamp, files))


def _find_user(settings: Settings, source: Source, ids: UserIds | None) -> users.User:
    from newroot.linux.merged import MergedView

    spec = settings.user if settings.user is not None else source.image.get("User") or ""
    if settings.user is None and ids is not None and ids.user is not None:
        spec = "{}:{}".format(*ids.user)
    with MergedView(source.layers) as view:
        return users.resolve(spec, view.read)


def _seccomp(settings: Settings, config: dict[str, Any]) -> tuple[bytes, int] | None:
    if settings.seccomp == "unconfined" or (settings.privileged and settings.seccomp is None):
        return None
    caps = config["process"]["capabilities"]["bounding"]
    from newroot.isolation import seccomp_default

    if settings.seccomp is None:
        config["annotations"] = {**(config.get("annotations") or {}), configs.DEFAULT_SECCOMP: ""}
        return seccomp_default.compiled_default(caps)
    from newroot.isolation.seccomp import compile_filter
    from newroot.linux.constants import SECCOMP_FILTER_FLAG_NEW_LISTENER

    try:
        with open(settings.seccomp, "rb") as file:
            text = file.read()
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"reading the seccomp profile {settings.seccomp!r}: {why}") from None
    profile = seccomp_default.load_profile(text, caps)
    config["linux"]["seccomp"] = profile
    program, flags = compile_filter(profile)
    if flags & SECCOMP_FILTER_FLAG_NEW_LISTENER:
        raise UsageError(
            f"the seccomp profile {settings.seccomp!r} has SCMP_ACT_NOTIFY: nobody would answer",
            hint="a bundle's config can name who does: newroot-oci, linux.seccomp.listenerPath",
        )
    return program, flags
