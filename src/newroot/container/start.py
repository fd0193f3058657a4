"""From settings to a running container: everything is found, a plan is drawn, and handed over.

Read ``_Attempt`` for the order in which things are taken, and given back when one of them is not
to be had.  How the plan comes about is in ``blueprint.py``.
"""

from __future__ import annotations

import os

from newroot.container import config as configs
from newroot.container import mounts
from newroot.container.blueprint import Blueprint, Blueprints, Parts, hostname_of
from newroot.container.devices import find_devices
from newroot.container.process import Cleanup, Process, Request
from newroot.errors import SyscallError, UnsupportedError, WrongStatus
from newroot.record import replace

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
    from newroot.isolation.user_namespace import Spaces
    from newroot.network.wiring import Wiring
    from newroot.plan.launcher import Ended, Launch, Launcher
    from newroot.plan.steps import Exec, Plan
    from newroot.rootfs.volumes import VolumeStore


class Starter:
    """Starts containers below one root.  May be used from several threads."""

    def __init__(
        self,
        storage: ContainerStorage,
        volumes: VolumeStore,
        launcher: Callable[[], Launcher],
    ) -> None:
        self.storage = storage
        self.volumes = volumes
        self.launcher = launcher
        self.blueprints = Blueprints(storage.mount_point)

    def explain(self, settings: Settings, source: Source) -> Plan:
        """The plan of a start that does not take place."""
        from newroot.container.storage import new_id

        container_id = new_id()
        directory = self.storage.directory(container_id)
        on_disk = _upper_is_on_disk(settings, source)
        parts = Parts(
            args=configs.arguments(settings, source.image),
            sourced=self.find_sources(settings, source, make=False),
            devices=find_devices(settings),
            upper=(f"{directory}/upper", f"{directory}/work") if on_disk else None,
            **self._explained_ids(settings),
        )
        return self.blueprints.draw(container_id, settings, source, parts).plan

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
        self.storage.prepare()
        attempt = _Attempt(self, settings, source, claim, launcher)
        try:
            attempt.take(words)
            attempt.draw(terminal_size)
            launch = attempt.launch(stdio.fds, times=times, more=more)
        except BaseException:
            attempt.give_back()
            stdio.close_pipes()
            raise
        finally:
            stdio.close_theirs()
            attempt.close_spaces()
        attempt.close_held()
        return attempt.process(launch, stdio)

    def find_sources(self, settings: Settings, source: Source, *, make: bool = True) -> Sourced:
        """What is mounted from outside; unless *make*, no volume is made for it."""
        mapped = settings.userns != "host" and not self.blueprints.inner
        return mounts.find_sources(settings, source, self.volumes, make=make, mapped=mapped)

    def remove_volumes(self, names: tuple[str, ...]) -> None:
        """Remove those that no other container has come to use."""
        for name in names:
            try:
                self.volumes.remove(name, missing_ok=True)
            except WrongStatus:
                pass

    def _explained_ids(self, settings: Settings) -> dict[str, Any]:
        """The ids that a user namespace would have, were nobody else there."""
        if settings.userns == "host":
            return {}
        from newroot.container.userns import UserIds, find_ids
        from newroot.isolation.id_ranges import first_range

        if settings.userns == "private" and not self.blueprints.inner:
            ids: UserIds | None = UserIds(maps=first_range().maps)
        else:
            ids = find_ids(settings.userns, self.storage, inner=self.blueprints.inner)
        if ids is None:
            return {}
        _close((ids.fd,) if ids.fd >= 0 else ())
        return {"ids": ids, "id_maps": {} if ids.shifts else {ids.maps: "/proc/self/ns/user"}}


class _Attempt:
    """One start: what it has taken so far, to be given back in the opposite order if it fails."""

    def __init__(
        self,
        starter: Starter,
        settings: Settings,
        source: Source,
        claim: Claim | None,
        launcher: Launcher | None,
    ) -> None:
        self._starter = starter
        self._storage = starter.storage
        self._settings = settings
        self._source = source
        self._claim = claim
        self._single = launcher  #: one for this container alone
        self._undo: list[Callable[[], object]] = []
        self._ids: UserIds | None = None
        self._spaces: Spaces | None = None
        self._cgroup: Cgroup | None = None
        self._wiring: Wiring | None = None
        self._upper: tuple[str, str] | None = None

    def take(self, words: tuple[str, ...] | None) -> None:
        """Ids, volumes, an entry on disk, a cgroup, a network, an upper: what the settings want."""
        if self._claim is not None:
            given = self._claim
            self._undo.append(lambda: given.release(remove=not given.stays))
        if self._settings.volumes_from:
            from newroot.container.volumes_from import resolved

            self._settings = resolved(self._storage, self._settings)
        if self._settings.userns != "host":
            self._take_ids()
        self._args = configs.arguments(self._settings, self._source.image, words)
        self._devices = find_devices(self._settings)
        resources = self._resources(self._devices)
        sourced = self._sourced = self._starter.find_sources(self._settings, self._source)
        self._undo.append(lambda: self._starter.remove_volumes(sourced.anonymous))
        self._undo.append(lambda: _close(sourced.holds))
        if self._claim is None:
            self._take_claim(resources)
        self._take_cgroup(resources)
        self._take_network()
        if self._claim is not None and _upper_is_on_disk(self._settings, self._source):
            self._upper = self._claim.make_upper()
            if self._ids is not None and self._ids.shifts:
                os.chown(self._upper[0], *self._ids.root)

    def draw(self, terminal_size: tuple[int, int]) -> None:
        """Draw its plan, and write down what whoever finds it later has to know."""
        from newroot.container.storage import new_id

        self._id = self._claim.id if self._claim is not None else new_id()
        parts = Parts(
            args=self._args,
            sourced=self._sourced,
            devices=self._devices,
            upper=self._upper,
            cgroup=self._cgroup,
            terminal_size=terminal_size,
            ids=self._ids,
            id_maps=self._spaces.paths if self._spaces is not None else {},
            wiring=self._wiring,
            is_wired=self._wiring is not None and self._ids is None,
        )
        blueprints = self._starter.blueprints
        self._blueprint = blueprints.find(self._id, self._settings, self._source, parts)
        self._last = self._blueprint.command_for(self._id, self._args)
        if self._claim is not None:
            self._keep_record(self._claim, self._blueprint, self._last)

    def launch(self, fds: Any, *, times: bool, more: bool) -> Launch:
        """Hand the plan over."""
        blueprint = self._blueprint
        self._request = Request(
            plan=blueprint.bytes_for(self._id, self._last), clone_flags=blueprint.clone_flags
        )
        held = (*self._sourced.holds, *((self._claim.fd,) if self._claim is not None else ()))
        if self._wiring is not None:
            held = *held, *self._wiring.held
        kept = self._single is not None
        if self._ids is not None:
            return self._launch_in(self._ids, fds, held=held, times=times, kept=kept)
        container_id, last = self._id, self._last
        # Not functools: its modules are a millisecond of a command's start.
        self._plan: Callable[[], Plan] = lambda: blueprint.plan_for(container_id, last)
        own = (self._wiring.fd,) if self._wiring is not None else ()
        return self._launch(fds, held=held, own=own, times=times, more=more, kept=kept)

    def give_back(self) -> None:
        for action in reversed(self._undo):
            action()

    def close_spaces(self) -> None:
        """What mounts were mapped by, which the plan needs no longer."""
        if self._spaces is not None:
            self._spaces.close()

    def close_held(self) -> None:
        """What newroot-init holds from now on."""
        _close(self._sourced.holds)
        if self._ids is not None and self._ids.fd >= 0:
            os.close(self._ids.fd)
        if self._wiring is not None and self._single is None:
            self._wiring.close()

    def process(self, launch: Launch, stdio: Stdio) -> Process:
        return Process(
            launch,
            self._plan,
            self._cleanup(),
            self._last.argv,
            stdio.pipes,
            ends_as_one=self._settings.pid == "private",
            request=self._request,
            wiring=self._wiring if self._single is not None else None,
        )

    # ---- what is taken ----

    def _take_ids(self) -> None:
        """Those of its user namespace, and for root a namespace that mounts are mapped by."""
        from newroot.container.userns import find_ids
        from newroot.isolation.user_namespace import Spaces

        inner = self._starter.blueprints.inner
        before = self._claim.id if self._claim is not None and inner else None
        ids = find_ids(self._settings.userns, self._storage, inner=inner, before=before)
        if ids is None:
            return
        self._undo.append(lambda: _close((ids.fd,) if ids.fd >= 0 else ()))
        self._ids = ids
        if ids.shifts:
            self._source = self._shifted(ids)
        else:
            self._spaces = Spaces(self._starter.launcher, [ids.maps])

    def _shifted(self, ids: UserIds) -> Source:
        """The same files as they are to be on the disk."""
        source = self._source
        if source.directory is not None or source.throwaway:
            raise UnsupportedError(
                "other ids for a root directory, without root: its files' owners stay as they are",
                feature=f"--userns {self._settings.userns} with --rootfs",
                hint="make an image of it: newroot import; or --userns host",
            )
        from newroot.container.shifted import shifted
        from newroot.container.snapshots import SnapshotStore

        store = SnapshotStore(self._storage.root)
        sealed, base = store.split(source.lower)  # what was sealed belongs to its own ids already
        copy = shifted(self._storage.root, base, ids.maps)
        return replace(source, shifted=(*map(store.path, sealed), copy))

    def _resources(self, found: Found) -> dict[str, Any]:
        resources = configs.resources(self._settings, found)
        alone = self._settings.pid == "host" or self._single is not None
        if alone and self._starter.blueprints.may_make_nodes:
            # Where its processes do not end with the first one, or with us: by a cgroup they
            # are found, and counted.
            resources.setdefault("pids", {"limit": -1})
        return resources

    def _take_claim(self, resources: dict[str, Any]) -> None:
        """An entry on disk, where there will be something to find or to clean up."""
        settings, source = self._settings, self._source
        on_disk = _upper_is_on_disk(settings, source)
        if settings.remove and not on_disk and not resources and not _is_wired(settings):
            if settings.name is None:
                return
        claim = self._claim = self._storage.claim(
            name=settings.name,
            remove=settings.remove,
            source=source.name,
            lower=list(source.lower),
            command=self._args,
            labels=dict(settings.labels),
        )
        self._undo.append(lambda: claim.release(remove=True))

    def _take_cgroup(self, resources: dict[str, Any]) -> None:
        """For limits; that of a container alone also to be counted and frozen by."""
        if not resources or self._claim is None:
            return
        from newroot.container import limits

        blueprints = self._starter.blueprints
        host = blueprints.cgroup_host()
        cgroup: Cgroup | None
        if not blueprints.inner:
            whole = self._single is not None
            cgroup = limits.make_cgroup(resources, self._claim, host, whole=whole)
        else:
            cgroup = limits.make_user_cgroup(
                resources,
                self._claim,
                host,
                required=self._settings.limits == "required",
                warn=blueprints.on_warning,
            )
        if cgroup is not None:
            self._cgroup = cgroup
            self._undo.append(cgroup.remove)

    def _take_network(self) -> None:
        settings, claim = self._settings, self._claim
        if claim is None or not _is_wired(settings):
            return
        from newroot.container.networking import prepare

        hostname = hostname_of(settings, claim.id)
        self._wiring = prepare(self._storage, settings, self._source, claim, hostname, self._undo)
        if self._wiring is not None and self._ids is None:
            self._wiring.make(self._any_launcher())

    def _keep_record(self, claim: Claim, blueprint: Blueprint, last: Exec) -> None:
        if self._settings.remove and self._single is None:
            if self._upper is not None:
                from newroot.container.records import write_config

                write_config(self._storage, claim, blueprint, last, whole=False)
            return
        from time import time

        from newroot.container.records import write_config, write_record

        write_record(
            self._storage,
            claim,
            self._settings,
            self._source,
            last.argv,
            self._sourced,
            started=time(),
        )
        write_config(self._storage, claim, blueprint, last)

    # ---- who carries it out ----

    def _any_launcher(self) -> Launcher:
        return self._single or self._starter.launcher()

    def _launch(self, *stdio: Any, **more: Any) -> Launch:
        wanted = self._request.plan, self._request.clone_flags, *stdio
        if self._single is not None:
            return self._single.launch(*wanted, **more)
        launcher = self._starter.launcher()
        try:
            return launcher.launch(*wanted, **more)
        except SyscallError:
            if not launcher.is_gone:
                raise
        return self._starter.launcher().launch(*wanted, **more)  # another one, or a closed engine

    def _launch_in(
        self, ids: UserIds, fds: Any, *, held: tuple[int, ...], times: bool, kept: bool
    ) -> Launch:
        """In a user namespace: part of the plan is carried out outside of it."""
        from newroot.isolation.user_namespace import launch_in

        launch, inside = launch_in(
            self._any_launcher(),
            self._blueprint.plan_for(self._id, self._last),
            fds,
            held=(*held, ids.fd) if ids.fd >= 0 else held,
            times=times,
            kept=kept,
            before=self._wire_born,
        )
        self._plan = lambda: inside
        return launch

    def _wire_born(self, pid: int) -> None:
        """Wire a namespace that belongs to the container's own user namespace."""
        if self._wiring is not None:
            self._wiring.enter(self._any_launcher(), pid)

    # ---- afterwards ----

    def _cleanup(self) -> Cleanup:
        starter, settings, claim, cgroup = self._starter, self._settings, self._claim, self._cgroup
        anonymous = self._sourced.anonymous

        def release(ended: Ended | None) -> None:
            if cgroup is not None:
                if settings.pid == "host":
                    cgroup.kill()
                cgroup.remove()
            if claim is not None:
                _release_claim(starter.storage, claim, ended, remove=settings.remove)
            if settings.remove or ended is None:  # with a container that did not start, too
                starter.remove_volumes(anonymous)

        return Cleanup(
            oom_kills=cgroup.oom_kills if cgroup else _none,
            release=release,
            started=claim.write_pid if claim is not None else None,
            runs=cgroup.joined if cgroup is not None else None,
        )


def _release_claim(
    storage: ContainerStorage, claim: Claim, ended: Ended | None, *, remove: bool
) -> None:
    """Write down how it ended, and let go of its entry; None for one that did not start."""
    if "networks" in claim.state:
        from newroot.container.networking import release as release_network

        release_network(storage, claim.id, claim.state["networks"])
    remove = (remove or ended is None) and not claim.stays
    if ended is not None:
        code = ended.exit_code if ended.signal is None else 128 + ended.signal
        storage.note(claim.id, "die", exitCode=str(code))
    if not remove and ended is not None:
        storage.write(claim.id, "exit.json", _exit_document(ended))
    claim.release(remove=remove)


def _is_wired(settings: Settings) -> bool:
    return settings.network not in ("none", "host")


def _upper_is_on_disk(settings: Settings, source: Source) -> bool:
    return bool(source.lower) and settings.upper == "disk" and not source.throwaway


def _exit_document(ended: Ended) -> dict[str, Any]:
    from time import time

    return {"exitCode": ended.exit_code, "signal": ended.signal, "finished": time()}


def _none() -> int:
    return 0


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
