"""From settings to a running container: everything is found, a plan is made, and handed over.

The plan of a container differs from that of the next one with the same settings only in its id
and its command.  So the first is kept as a blueprint: its bytes, with one id put in another's
place, are the next one's.
"""

from __future__ import annotations

import os

from newroot.container import config as configs
from newroot.container import etc, mounts
from newroot.container.borrowed import borrowed, masked_places
from newroot.container.cgroup_view import view_of
from newroot.container.compile import Situation, command, compile
from newroot.container.devices import find_devices
from newroot.container.process import Cleanup, Process, Request
from newroot.container.source import stamp
from newroot.errors import SyscallError, UnsupportedError, UsageError, WrongStatus
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
    from newroot.container.stdio import Stdio
    from newroot.container.storage import Claim, ContainerStorage
    from newroot.container.userns import UserIds
    from newroot.isolation.cgroups.cgroup import Cgroup
    from newroot.isolation.cgroups.detect import CgroupHost
    from newroot.isolation.user_namespace import Spaces
    from newroot.network.wiring import Wiring
    from newroot.plan.launcher import Ended, Launch, Launcher
    from newroot.rootfs.mount_ids import IdMaps
    from newroot.rootfs.volumes import VolumeStore

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


class Starter:
    """Starts containers below one root.  May be used from several threads."""

    def __init__(
        self,
        storage: ContainerStorage,
        volumes: VolumeStore,
        launcher: Callable[[], Launcher],
    ) -> None:
        self._storage = storage
        self._volumes = volumes
        self._launcher = launcher
        # By identity, for to hash settings takes as long as a few system calls; what is kept
        # beside the blueprint keeps its identity from being another's.
        self._blueprints: dict[tuple[object, ...], tuple[Settings, Blueprint]] = {}
        self._cgroups: CgroupHost | None = None
        #: Told what a container starts without, where that is no reason not to start it.
        self.on_warning: Callable[[str], object] = _not_told
        self._inner = user_namespaces.is_in_user_namespace()
        self._single_id = self._inner and user_namespaces.has_single_id()
        self._may_make_nodes = os.geteuid() == 0 and not self._inner
        self._has_kcore = os.path.exists("/proc/kcore")

    @property
    def volumes(self) -> VolumeStore:
        return self._volumes

    def explain(self, settings: Settings, source: Source) -> Plan:
        """The plan of a start that does not take place."""
        from newroot.container.storage import new_id

        container_id = new_id()
        directory = self._storage.directory(container_id)
        on_disk = _upper_is_on_disk(settings, source)
        parts = Parts(
            args=configs.arguments(settings, source.image),
            sourced=mounts.find_sources(
                settings, source, self._volumes, make=False, mapped=self._maps(settings)
            ),
            devices=find_devices(settings),
            upper=(f"{directory}/upper", f"{directory}/work") if on_disk else None,
            **self._explained_ids(settings),
        )
        return self._draw(container_id, settings, source, parts).plan

    def start(
        self,
        settings: Settings,
        source: Source,
        stdio: Stdio,
        words: tuple[str, ...] | None = None,
        *,
        times: bool = False,
        more: bool = False,
        terminal_size: tuple[int, int] = (0, 0),
        claim: Claim | None = None,
        launcher: Launcher | None = None,
    ) -> Process:
        """Hand a container over to newroot-init.  It may still fail to start.

        *words* stand in for the settings' command.  A caller that starts the same settings with
        many commands should do that: the same settings object has its plan made but once.
        *more* says that other starts may follow; see ``Launcher.launch()``.  *claim* is an id that
        the caller has taken already, and *launcher* one for this container alone: what a container
        has that nobody waits for.

        Raises UsageError, NotFound, SpecError or SyscallError; then nothing is left.
        """
        from newroot.container.storage import new_id

        self._storage.prepare()
        undo: list[Callable[[], object]] = []
        ids, spaces = None, None
        try:
            if settings.volumes_from:
                from newroot.container.volumes_from import resolved

                settings = resolved(self._storage, settings)
            if settings.userns != "host":
                ids, spaces = self._user_namespace(settings, claim, undo)
                source = self._shifted(settings, source, ids)
            args = configs.arguments(settings, source.image, words)
            found = find_devices(settings)
            resources = configs.resources(settings, found)
            if (settings.pid == "host" or launcher is not None) and self._may_make_nodes:
                # Where its processes do not end with the first one, or with us: by a cgroup they
                # are found, and counted.
                resources.setdefault("pids", {"limit": -1})
            if claim is not None:
                undo.append(lambda taken=claim: taken.release(remove=not taken.stays))  # type: ignore[misc]
            sourced = mounts.find_sources(
                settings, source, self._volumes, mapped=self._maps(settings)
            )
            undo.append(lambda: self._remove_volumes(sourced.anonymous))
            undo.append(lambda: _close(sourced.holds))
            if claim is None:
                claim = self._claim(settings, source, resources, args)
                if claim is not None:
                    undo.append(lambda: claim.release(remove=True))
            container_id = claim.id if claim is not None else new_id()
            cgroup = self._cgroup(
                resources,
                claim,
                whole=launcher is not None,
                required=settings.limits == "required",
            )
            if cgroup is not None:
                undo.append(cgroup.remove)
            wiring = self._wire(settings, source, claim, undo)
            if wiring is not None and ids is None:
                wiring.make(launcher or self._launcher())
            upper = claim.make_upper() if claim and _upper_is_on_disk(settings, source) else None
            if upper is not None and ids is not None and ids.shifts:
                os.chown(upper[0], *ids.root)
            parts = Parts(
                args=args,
                sourced=sourced,
                devices=found,
                upper=upper,
                cgroup=cgroup,
                terminal_size=terminal_size,
                ids=ids,
                id_maps=spaces.paths if spaces is not None else {},
                wiring=wiring,
                is_wired=wiring is not None and ids is None,
            )
            blueprint = self._blueprint(container_id, settings, source, parts)
            last = blueprint.command_for(container_id, args)
            if claim is not None and (not settings.remove or launcher is not None):
                self._keep_record(claim, settings, source, blueprint, last, sourced)
            elif claim is not None and upper is not None:
                from newroot.container.records import write_config

                write_config(self._storage, claim, blueprint, last, whole=False)
            held = (*sourced.holds, *((claim.fd,) if claim else ()))
            own: tuple[int, ...] = ()
            if wiring is not None:
                held, own = (*held, *wiring.held), (wiring.fd,) if ids is None else ()
            request = Request(
                plan=blueprint.bytes_for(container_id, last), clone_flags=blueprint.clone_flags
            )
            # Not functools: its modules are a millisecond of a command's start.
            plan: Callable[[], Plan] = lambda: blueprint.plan_for(container_id, last)  # noqa: E731
            if ids is not None:
                from newroot.isolation.user_namespace import launch_in

                held = (*held, ids.fd) if ids.fd >= 0 else held
                launch, inside = launch_in(
                    launcher or self._launcher(),
                    plan(),
                    stdio.fds,
                    held=held,
                    times=times,
                    kept=launcher is not None,
                    before=lambda pid: self._wire_born(wiring, launcher, pid),
                )
                plan = lambda: inside  # noqa: E731
            else:
                launch = self._launch(
                    launcher,
                    request,
                    stdio.fds,
                    held=held,
                    own=own,
                    times=times,
                    more=more,
                    kept=launcher is not None,
                )
        except BaseException:
            for action in reversed(undo):
                action()
            stdio.close_pipes()
            raise
        finally:
            stdio.close_theirs()
            if spaces is not None:
                spaces.close()
        _close(sourced.holds)
        if ids is not None and ids.fd >= 0:
            os.close(ids.fd)
        if wiring is not None and launcher is None:
            wiring.close()
        return Process(
            launch,
            plan,
            self._cleanup(settings, claim, cgroup, sourced),
            last.argv,
            stdio.pipes,
            ends_as_one=settings.pid == "private",
            request=request,
            wiring=wiring if launcher is not None else None,
        )

    def _wire(
        self,
        settings: Settings,
        source: Source,
        claim: Claim | None,
        undo: list[Callable[[], object]],
    ) -> Wiring | None:
        if claim is None or not _is_wired(settings):
            return None
        from newroot.container.networking import prepare

        hostname = _hostname(settings, claim.id)
        return prepare(self._storage, settings, source, claim, hostname, undo)

    def _wire_born(self, wiring: Wiring | None, launcher: Launcher | None, pid: int) -> None:
        """Wire a namespace that belongs to the container's own user namespace."""
        if wiring is not None:
            wiring.enter(launcher or self._launcher(), pid)

    def _launch(
        self, single: Launcher | None, request: Request, *stdio: Any, **more: Any
    ) -> Launch:
        wanted = request.plan, request.clone_flags, *stdio
        if single is not None:
            return single.launch(*wanted, **more)
        launcher = self._launcher()
        try:
            return launcher.launch(*wanted, **more)
        except SyscallError:
            if not launcher.is_gone:
                raise
        return self._launcher().launch(*wanted, **more)  # another one, or a closed engine

    # ---- a user namespace of its own ----

    def _user_namespace(
        self, settings: Settings, claim: Claim | None, undo: list[Callable[[], object]]
    ) -> tuple[UserIds | None, Spaces | None]:
        """Its ids, and for root a user namespace that mounts are mapped by."""
        from newroot.container.userns import find_ids
        from newroot.isolation.user_namespace import Spaces

        before = claim.id if claim is not None and self._inner else None
        ids = find_ids(settings.userns, self._storage, inner=self._inner, before=before)
        if ids is None:
            return None, None
        undo.append(lambda: _close((ids.fd,) if ids.fd >= 0 else ()))
        return ids, None if ids.shifts else Spaces(self._launcher, [ids.maps])

    def _maps(self, settings: Settings) -> bool:
        """Whether files are seen through mounts with mapped ids."""
        return settings.userns != "host" and not self._inner

    def _explained_ids(self, settings: Settings) -> dict[str, Any]:
        """The ids that a user namespace would have, were nobody else there."""
        if settings.userns == "host":
            return {}
        from newroot.container.userns import UserIds, find_ids
        from newroot.isolation.id_ranges import first_range

        if settings.userns == "private" and not self._inner:
            ids: UserIds | None = UserIds(maps=first_range().maps)
        else:
            ids = find_ids(settings.userns, self._storage, inner=self._inner)
        if ids is None:
            return {}
        _close((ids.fd,) if ids.fd >= 0 else ())
        return {"ids": ids, "id_maps": {} if ids.shifts else {ids.maps: "/proc/self/ns/user"}}

    def _shifted(self, settings: Settings, source: Source, ids: UserIds | None) -> Source:
        """The same files as they are to be on the disk."""
        if ids is None or not ids.shifts:
            return source
        if source.directory is not None or source.throwaway:
            raise UnsupportedError(
                "other ids for a root directory, without root: its files' owners stay as they are",
                feature=f"--userns {settings.userns} with --rootfs",
                hint="make an image of it: newroot import; or --userns host",
            )
        from newroot.container.shifted import shifted
        from newroot.container.snapshots import SnapshotStore

        store = SnapshotStore(self._storage.root)
        sealed, base = store.split(source.lower)  # what was sealed belongs to its own ids already
        copy = shifted(self._storage.root, base, ids.maps)
        return replace(source, shifted=(*map(store.path, sealed), copy))

    # ---- what is found and made first ----

    def _claim(
        self, settings: Settings, source: Source, resources: dict[str, Any], args: list[str]
    ) -> Claim | None:
        """An entry on disk, where there will be something to find or to clean up."""
        on_disk = _upper_is_on_disk(settings, source)
        if settings.remove and not on_disk and not resources and not _is_wired(settings):
            if settings.name is None:
                return None
        return self._storage.claim(
            name=settings.name,
            remove=settings.remove,
            source=source.name,
            lower=list(source.lower),
            command=args,
            labels=dict(settings.labels),
        )

    def _cgroup(
        self, resources: dict[str, Any], claim: Claim | None, *, whole: bool, required: bool
    ) -> Cgroup | None:
        """Its cgroup, for limits; a *whole* one also to be counted and frozen by."""
        if not resources or claim is None:
            return None
        from newroot.container import limits

        host = self.cgroup_host()
        if not self._inner:
            return limits.make_cgroup(resources, claim, host, whole=whole)
        return limits.make_user_cgroup(
            resources, claim, host, required=required, warn=self.on_warning
        )

    def cgroup_host(self) -> CgroupHost:
        if self._cgroups is None:
            from newroot.isolation.cgroups.detect import detect

            self._cgroups = detect()
        return self._cgroups

    # ---- the plan ----

    def _blueprint(
        self,
        container_id: str,
        settings: Settings,
        source: Source,
        parts: Parts,
    ) -> Blueprint:
        key = (source.key, id(settings), parts.terminal_size, *_stamps(settings, source))
        if parts.ids is not None or parts.wiring is not None:  # its ids, its addresses are its own
            return self._draw(container_id, settings, source, parts)
        known = self._blueprints.get(key)
        if known is not None and not parts.sourced.anonymous:
            return known[1]
        found = self._draw(container_id, settings, source, parts)
        if len(self._blueprints) >= 256:  # a caller whose settings never repeat
            self._blueprints.clear()
        self._blueprints[key] = settings, found
        return found

    def _draw(
        self,
        container_id: str,
        settings: Settings,
        source: Source,
        parts: Parts,
    ) -> Blueprint:
        upper, cgroup = parts.upper, parts.cgroup
        hostname = _hostname(settings, container_id)
        scratch = self._storage.mount_point
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
            rootless=self._single_id,
            inner=self._inner,
            bound=self._borrowed(settings),
        )
        fake_ids = self._single_id if settings.fake_chown is None else settings.fake_chown
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
            may_make_nodes=self._may_make_nodes and parts.ids is None,
            has_kcore=self._has_kcore,
            id_maps=parts.id_maps,
            in_user_namespace=self._inner,
            single_id=self._single_id,
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
        if not self._inner:
            return frozenset()
        masked = masked_places()
        if "/proc" in masked and settings.pid == "private":
            self.on_warning(
                "an outer container masks parts of /proc, so the container sees that one, and the "
                "processes in it"
            )
        return borrowed(settings, masked)

    # ---- afterwards ----

    def _remove_volumes(self, names: tuple[str, ...]) -> None:
        for name in names:
            try:
                self._volumes.remove(name, missing_ok=True)
            except WrongStatus:
                pass  # another container has come to use it

    def _keep_record(
        self,
        claim: Claim,
        settings: Settings,
        source: Source,
        blueprint: Blueprint,
        last: Exec,
        sourced: Sourced,
    ) -> None:
        from time import time

        from newroot.container.records import write_config, write_record

        write_record(self._storage, claim, settings, source, last.argv, sourced, started=time())
        write_config(self._storage, claim, blueprint, last)

    def _cleanup(
        self, settings: Settings, claim: Claim | None, cgroup: Cgroup | None, sourced: Sourced
    ) -> Cleanup:
        def release(ended: Ended | None) -> None:
            if cgroup is not None:
                if settings.pid == "host":
                    cgroup.kill()
                cgroup.remove()
            if claim is not None and "networks" in claim.state:
                from newroot.container.networking import release as release_network

                release_network(self._storage, claim.id, claim.state["networks"])
            if claim is not None:
                remove = (settings.remove or ended is None) and not claim.stays
                if ended is not None:
                    code = ended.exit_code if ended.signal is None else 128 + ended.signal
                    self._storage.note(claim.id, "die", exitCode=str(code))
                if not remove and ended is not None:
                    self._storage.write(claim.id, "exit.json", _exit_document(ended))
                claim.release(remove=remove)
            if settings.remove or ended is None:  # with a container that did not start, too
                self._remove_volumes(sourced.anonymous)

        return Cleanup(
            oom_kills=cgroup.oom_kills if cgroup else _none,
            release=release,
            started=claim.write_pid if claim is not None else None,
            runs=cgroup.joined if cgroup is not None else None,
        )


def _is_wired(settings: Settings) -> bool:
    return settings.network not in ("none", "host")


def _hostname(settings: Settings, container_id: str) -> str:
    return settings.hostname or (
        container_id[:_SHORT] if settings.uts == "private" else os.uname().nodename
    )


def _not_told(words: str) -> None:
    pass


def _none() -> int:
    return 0


def _exit_document(ended: Ended) -> dict[str, Any]:
    from time import time

    return {"exitCode": ended.exit_code, "signal": ended.signal, "finished": time()}


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)


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


def _upper_is_on_disk(settings: Settings, source: Source) -> bool:
    return bool(source.lower) and settings.upper == "disk" and not source.throwaway


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
