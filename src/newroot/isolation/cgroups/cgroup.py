"""``Cgroup``: make a container's cgroup, set and change its limits, read it, end it, remove it.

This runs on our side, before and beside the container: newroot-init only joins, by writing "0"
to each of ``procs_paths``.  On v1 (and hybrid) only those hierarchies get a directory whose
controllers are named; on v2 it is one directory.  Where it lies: ``Hierarchy.directory``.
The manager is cgroupfs here: we make the directories.  Where systemd makes them, as a scope, the
``Cgroup`` is a ``Scope``: scope.py.
"""

from __future__ import annotations

import errno
import os
from time import monotonic

from newroot.errors import AlreadyExists, SpecError, SyscallError, UnsupportedError
from newroot.isolation.cgroups import files, members
from newroot.isolation.cgroups.demand import hierarchies_for, translate
from newroot.isolation.cgroups.detect import SELF_LEAF
from newroot.isolation.cgroups.making import (
    enable,
    inherit_cpuset,
    make_directory,
    remove_marked_parents,
)
from newroot.isolation.cgroups.resources import POINTER, Section, Write
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Self

    from newroot.isolation.cgroups.detect import CgroupHost, Hierarchy
    from newroot.isolation.cgroups.oom import OomEvents


_SIGKILL = 9


@record
class Place:
    """A container's directory in one hierarchy."""

    hierarchy: Hierarchy
    directory: str


@record
class Stats:
    """What a cgroup has used.  None is "not counted here": the controller was not asked for."""

    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    oom_kills: int = 0
    cpu_ns: int | None = None
    cpu_periods: int | None = None
    cpu_throttled_periods: int | None = None
    cpu_throttled_ns: int | None = None
    pids: int | None = None
    io_read_bytes: int | None = None
    io_written_bytes: int | None = None


class Cgroup:
    """One container's cgroup: a directory in each hierarchy that its limits need."""

    __slots__ = ("host", "path", "places")

    path: str  #: as it was asked for, cleaned
    host: CgroupHost
    places: tuple[Place, ...]

    def __init__(self, path: str, places: Iterable[Place], *, host: CgroupHost) -> None:
        self.path = path
        self.places = tuple(places)
        self.host = host

    def __repr__(self) -> str:
        return f"Cgroup({', '.join(p.directory for p in self.places) or self.path!r})"

    @classmethod
    def create(
        cls,
        path: str,
        resources: dict[str, object],
        *,
        host: CgroupHost,
        freezer: bool = False,
        controllers: tuple[str, ...] = (),
        everything: bool = False,
        existing: str = "anew",
        mark: bool = False,
    ) -> Self:
        """Make the cgroup *path* and set its limits; nobody is in it yet.

        *resources* is OCI's ``linux.resources``.  *freezer* makes sure that freeze() and a kill()
        that nobody can outrun will work: on v1 that is one more directory.  *controllers* names
        more controllers to have for their numbers' sake, such as "memory" or "cpuacct".  With
        nothing asked for, a v1 host gets no directory at all and ``procs_paths`` is empty.
        *everything* is runc's way: a directory in every hierarchy, and every controller there.
        *existing* "unused" takes a directory that is there and unused as it is, rather than anew;
        *mark* has remove() also take the directories above away that were not there before.

        On v2, where we ourselves sit in the cgroup that has to hand out controllers, we (and our
        children in it) are moved into its child ``newroot.self`` first.

        Raises SpecError for wrong resources, UnsupportedError for a controller that this host
        has not, AlreadyExists when the cgroup is in use, SyscallError when the kernel refuses.
        Then nothing of it remains.
        """
        path = clean_path(path)
        demand = translate(resources, host)
        cgroup = cls(path, (), host=host)
        made: list[Place] = []
        try:
            for hierarchy, names in hierarchies_for(
                demand, host, freezer=freezer, controllers=controllers, everything=everything
            ):
                cgroup._make(
                    hierarchy, names, made, everything=everything, existing=existing, mark=mark
                )
            if existing != "anew" and cgroup.is_frozen():
                raise AlreadyExists(
                    f"use {cgroup!r}: it is frozen, and who joins it would stop at once",
                    hint="thaw it first: cgroup.freeze, or freezer.state on cgroup v1",
                )
            cgroup._apply(demand.writes)
            cgroup._attach(demand.device_program)
        except BaseException:
            cls(path, made, host=host)._undo()
            raise
        return cgroup

    @classmethod
    def find(cls, path: str, *, host: CgroupHost) -> Self:
        """The cgroup *path* as it is there now, in whichever hierarchies have it."""
        path = clean_path(path)
        directories = ((h, h.directory(path)) for h in host.hierarchies)
        places = (Place(hierarchy=h, directory=d) for h, d in directories if os.path.isdir(d))
        return cls(path, places, host=host)

    @classmethod
    def at(cls, directories: Iterable[str], *, host: CgroupHost) -> Self:
        """The cgroup with exactly these *directories*, as an earlier ``directories`` gave them."""
        places = []
        for directory in directories:
            hierarchy = _mounted_above(directory, host)
            if hierarchy is not None:
                places.append(Place(hierarchy=hierarchy, directory=directory))
        path = places[0].directory[len(places[0].hierarchy.mount) :] if places else ""
        return cls(path, places, host=host)

    @property
    def directories(self) -> tuple[str, ...]:
        """The directories, one a hierarchy; ``Cgroup.at`` takes them."""
        return tuple(place.directory for place in self.places)

    @property
    def procs_paths(self) -> tuple[str, ...]:
        """The files to which a process writes "0" to join."""
        return tuple(f"{place.directory}/cgroup.procs" for place in self.places)

    def directory_of(self, controller: str) -> str | None:
        """Where *controller* ("" for cgroup v2 itself) has this cgroup; None when it has not."""
        for place in self.places:
            hierarchy = place.hierarchy
            if controller in hierarchy.controllers or (not controller and hierarchy.version == 2):
                return place.directory
        return None

    def update(self, resources: dict[str, object]) -> None:
        """Change the limits of a running container to *resources*; what it leaves out stays.

        A controller that the cgroup does not have yet is added, and the processes with it.
        Device rules are left alone, as by ``runc update``.  When a write is refused, those
        before it stay done.

        Raises as create() does, and SyscallError (EBUSY) when ``checkBeforeUpdate`` is set and
        more memory is in use than the new limit allows.
        """
        resources = {name: value for name, value in resources.items() if name != "devices"}
        demand = translate(self._with_quota(resources), self.host)
        self._check_memory(Section(resources, POINTER).section("memory"))
        added = []
        for hierarchy, names in hierarchies_for(demand, self.host):
            if hierarchy.version == 1 and all(p.hierarchy is not hierarchy for p in self.places):
                self._make(hierarchy, names, [])
                added.append(self.places[-1].directory)
            elif hierarchy.version == 2:
                enable(self.directory_of("") or "", names, hierarchy)
        self._apply(demand.writes)
        for directory in added:
            self._move_in(directory)

    def oom_kills(self) -> int:
        """How many processes the kernel killed here for want of memory; 0 where not counted."""
        directory = self.directory_of("memory")
        if directory is None:
            return 0
        if self._is_v2("memory"):
            events = files.keyed_numbers(files.find(f"{directory}/memory.events"))
            return events.get("oom_kill", 0)
        # v1 counts each cgroup by itself.
        return sum(
            files.keyed_numbers(files.find(f"{below}/memory.oom_control")).get("oom_kill", 0)
            for below in members.walk(directory)
        )

    def oom_events(self) -> OomEvents:
        """What can be waited for: that the kernel kills here for want of memory, or that the last
        process has gone.  Close it when done.

        Raises UnsupportedError where the cgroup has no memory controller.
        """
        from newroot.isolation.cgroups.oom import OomEventsV1, OomEventsV2

        directory = self.directory_of("memory")
        if directory is None or (self._is_v2("memory") and not _has(directory, "memory.events")):
            raise UnsupportedError(
                f"watch {self!r} for want of memory: it has no memory controller",
                feature="cgroup controller memory",
                hint="the controller must be enabled for the cgroup before the container starts",
            )
        return OomEventsV2(directory) if self._is_v2("memory") else OomEventsV1(directory)

    def processes(self) -> tuple[int, ...]:
        """The ids of the processes in the cgroup and in those below it, sorted."""
        directory = self._directory_of_members()
        return tuple(sorted(members.processes(directory))) if directory is not None else ()

    def kill(self, *, timeout_s: float = 10.0) -> None:
        """Kill every process in the cgroup and below, and wait until none is left.

        Raises SyscallError (ETIMEDOUT) when one is still there after *timeout_s*: it waits in
        the kernel, for a disk or a network file system that does not answer.
        """
        unified = self.directory_of("")
        if unified is not None and members.kill_unified(unified):
            gone = members.wait_event(unified, "populated", 0, timeout_s)
        else:
            gone = self._kill_by_hand(timeout_s)
        if not gone:
            raise files.failure(
                "kill", repr(self), OSError(errno.ETIMEDOUT, ""), doing=f"kill all of {self!r}"
            )

    def signal(self, number: int) -> None:
        """Send the signal *number* to every process in the cgroup and below.

        Frozen meanwhile where there is a freezer, so that none is missed that forks just then.
        What was frozen before stays so; SIGKILL ends it all the same.
        """
        if number == _SIGKILL:
            unified = self.directory_of("")
            if unified is not None and members.kill_unified(unified):
                return
        directory = self._directory_of_members()
        if directory is None:
            return
        freezer = self._find_freezer()
        was_frozen = freezer is not None and self.is_frozen()
        try:
            if freezer is not None and not was_frozen:
                self._freeze_to_kill(freezer)
            members.signal_each(directory, number)
        finally:
            if freezer is not None and (number == _SIGKILL or not was_frozen):
                self.thaw()

    def have_freezer(self) -> None:
        """Make sure that freeze() works for a cgroup that was made without.

        Raises UnsupportedError where this host has no freezer.
        """
        if self._find_freezer() is not None or not self.places:
            return
        for hierarchy, names in hierarchies_for(translate({}, self.host), self.host, freezer=True):
            self._make(hierarchy, names, [])
            self._move_in(self.places[-1].directory)

    def freeze(self, *, timeout_s: float = 10.0) -> None:
        """Stop every process in the cgroup where it is.

        Raises SyscallError (ETIMEDOUT) when they did not all stop in time; they run again then.
        """
        directory = self._freezer()
        v2 = self._is_v2("freezer")
        if v2:
            frozen = members.freeze_unified(directory, frozen=True, timeout_s=timeout_s)
        else:
            frozen = members.freeze_v1(directory, timeout_s=timeout_s)
        if not frozen:
            self.thaw()
            raise files.failure(
                "freeze", directory, OSError(errno.ETIMEDOUT, ""), doing=f"freeze {directory}"
            )

    def thaw(self) -> None:
        """Let frozen processes go on."""
        directory = self._freezer()
        if self._is_v2("freezer"):
            files.write(f"{directory}/cgroup.freeze", "0")
        else:
            members.thaw_v1(directory)

    def is_frozen(self) -> bool:
        """Whether the cgroup is frozen, by us or by somebody else."""
        directory = self.directory_of("")
        if directory is not None:
            return files.keyed_numbers(files.find(f"{directory}/cgroup.events")).get("frozen") == 1
        directory = self.directory_of("freezer")
        state = files.find(f"{directory}/freezer.state") if directory is not None else None
        return (state or "").strip() == "FROZEN"

    def joined(self) -> None:
        """The container's process has joined: nothing need hold the cgroup any more."""

    def remove(self, *, timeout_s: float = 2.0) -> None:
        """Remove the cgroup and all that the container made below it.

        A process that has just exited can hold it for a moment, so EBUSY is waited for.  Not
        there is as good as removed.  Raises SyscallError (EBUSY) when processes are still in it.
        """
        from newroot.isolation.cgroups.removal import remove_tree

        failed = None
        for place in self.places:
            try:
                remove_tree(place.directory, v2=place.hierarchy.version == 2, timeout_s=timeout_s)
                remove_marked_parents(place.directory, place.hierarchy.mount)
            except SyscallError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def stats(self) -> Stats:
        """What the cgroup has used until now."""
        from newroot.isolation.cgroups.stats import read_v1, read_v2

        if self.directory_of("") is not None and self.host.mode == "v2":
            numbers = read_v2(self.directory_of("") or "")
        else:
            numbers = read_v1(self.directory_of)
        return Stats(**numbers, oom_kills=self.oom_kills())

    # Making

    def _make(
        self,
        hierarchy: Hierarchy,
        names: Collection[str],
        made: list[Place],
        *,
        everything: bool = False,
        existing: str = "anew",
        mark: bool = False,
    ) -> None:
        """Make the directory in *hierarchy*; one that was not there before is added to *made*."""
        directory = hierarchy.directory(self.path)
        new = make_directory(directory, existing=existing, mark=mark)
        place = Place(hierarchy=hierarchy, directory=directory)
        self.places += (place,)
        if new:
            made.append(place)
        if "cpuset" in hierarchy.controllers and hierarchy.version == 1:
            inherit_cpuset(directory, hierarchy.mount)
        if hierarchy.version == 2:
            enable(directory, names, hierarchy, also=hierarchy.controllers if everything else ())

    def _apply(self, writes: Iterable[Write]) -> None:
        """Do the writes; one that is refused with EINVAL is tried once more after the others.

        For the kernel checks each value against those that are still the old ones: memory
        against memory+swap on v1, a burst and a period against the quota.  One order is right
        for raising and another for lowering, and the second try is right for both.
        """
        refused = []
        with files.Writer() as writer:
            for write in writes:
                try:
                    self._write(write, writer)
                except SyscallError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    refused.append(write)
            for write in refused:
                self._write(write, writer)

    def _write(self, write: Write, writer: files.Writer) -> None:
        path = f"{self.directory_of(write.controller)}/{write.file}"
        try:
            writer.write(path, write.value)
        except SyscallError as error:
            if error.errno != errno.ENOENT or not (write.optional or write.instead):
                raise
            if write.instead is not None:
                self._write(write.instead, writer)

    def _attach(self, device_program: bytes | None) -> None:
        if device_program is None:
            return
        from newroot.isolation.cgroups.devices_v2 import attach

        attach(self.directory_of("") or "", device_program)

    def _undo(self) -> None:
        """Take a half-made cgroup away; what led here is the error to tell of."""
        try:
            self.remove(timeout_s=0)
        except SyscallError:
            pass

    def _move_in(self, directory: str) -> None:
        """Move the container's processes into a hierarchy that it was not in."""
        while missing := set(self.processes()) - members.processes(directory):
            for pid in missing:
                try:
                    files.write(f"{directory}/cgroup.procs", str(pid))
                except SyscallError as error:
                    if error.errno != errno.ESRCH:  # it has exited
                        raise

    def _with_quota(self, resources: dict[str, object]) -> dict[str, object]:
        """*resources* with the quota that holds now, where they change the period alone: cpu.max
        of cgroup v2 takes no period without a quota."""
        cpu = Section(resources, POINTER).section("cpu")
        directory = self.directory_of("cpu")
        if directory is None or cpu.find_set("period") is None or cpu.find_set("quota") is not None:
            return resources
        quota = (files.find(f"{directory}/cpu.max") or "max").split()[0]
        if quota == "max":
            return resources
        return {**resources, "cpu": {**cpu.values, "quota": int(quota)}}

    def _check_memory(self, memory: Section) -> None:
        """``checkBeforeUpdate``: v1 refuses by itself, v2 would kill to get below the limit."""
        directory = self.directory_of("memory")
        if not memory.flag("checkBeforeUpdate") or directory is None or not self._is_v2("memory"):
            return
        used = files.find_number(f"{directory}/memory.current") or 0
        for name in ("limit", "swap"):
            limit = memory.find_set(name)
            if limit is not None and 0 < limit <= used:
                busy = OSError(errno.EBUSY, "")
                doing = f"set memory {name} {limit} while {used} bytes are in use, on {directory}"
                raise files.failure("write", f"{directory}/memory.max", busy, doing=doing)

    # Looking

    def _is_v2(self, controller: str) -> bool:
        """Whether our directory for *controller* is a cgroup v2."""
        if controller == "freezer":
            return self.directory_of("") is not None
        unified = self.host.unified
        return unified is not None and controller in unified.controllers

    def _find_freezer(self) -> str | None:
        """Of the two that a hybrid host has, the one of cgroup v2: it cannot get stuck."""
        return self.directory_of("") or self.directory_of("freezer")

    def _freezer(self) -> str:
        directory = self._find_freezer()
        if directory is None:
            raise UnsupportedError(
                f"freeze {self!r}: it has no freezer",
                feature="freezer",
                hint="the container was started without one: cgroup v1 needs freezer=True",
            )
        return directory

    def _directory_of_members(self) -> str | None:
        """The directory to list processes in: the one that the container can least escape."""
        first = self.places[0].directory if self.places else None
        return self.directory_of("") or self.directory_of("freezer") or first

    def _kill_by_hand(self, timeout_s: float) -> bool:
        """Kill by process id until nobody is left; frozen, so that nobody forks meanwhile."""
        directory = self._directory_of_members()
        if directory is None:
            return True
        deadline = monotonic() + timeout_s
        freezer = self._find_freezer()
        while members.processes(directory):
            if monotonic() > deadline:
                return False
            if freezer is not None:
                self._freeze_to_kill(freezer)
            members.kill_each(directory)
            if freezer is not None:
                self.thaw()
            # Not until the last has gone: without a freezer, one may have forked meanwhile.
            members.wait_gone(directory, 0.1)
        return True

    def _freeze_to_kill(self, freezer: str) -> None:
        # Best effort: what does not freeze in time is killed all the same, and the loop goes on.
        if self._is_v2("freezer"):
            members.freeze_unified(freezer, frozen=True, timeout_s=0.5)
        else:
            members.freeze_v1(freezer, timeout_s=0.5)


def leftovers(parent: str, live_ids: Collection[str], *, host: CgroupHost) -> tuple[Cgroup, ...]:
    """The cgroups directly below *parent* whose name is the id of no live container.

    *parent* is a path as ``create`` takes it, "/newroot" for one.  Whoever removes them kills
    what may still run in them first; whoever starts containers meanwhile names them in
    *live_ids* before it makes their cgroup.
    """
    places: dict[str, list[Place]] = {}
    for hierarchy in host.hierarchies:
        directory = hierarchy.directory(clean_path(parent))
        for name in _children(directory):
            if name not in live_ids and name != SELF_LEAF:
                found = Place(hierarchy=hierarchy, directory=f"{directory}/{name}")
                places.setdefault(name, []).append(found)
    parent = clean_path(parent).rstrip("/")
    return tuple(Cgroup(f"{parent}/{name}", places[name], host=host) for name in sorted(places))


def clean_path(untrusted_path: str) -> str:
    """*untrusted_path* (OCI ``cgroupsPath``) without doubled or trailing slashes and dots.

    ".." climbs in the name alone and never above where it counts from, as in runc.  Raises
    SpecError for one that has a NUL or a line end, or names no cgroup.
    """
    parts: list[str] = []
    for part in untrusted_path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    if "\0" in untrusted_path or "\n" in untrusted_path or not parts:
        raise SpecError(
            f"{untrusted_path!r} is not a path of a cgroup", pointer="/linux/cgroupsPath"
        )
    return ("/" if untrusted_path.startswith("/") else "") + "/".join(parts)


def _has(directory: str, file: str) -> bool:
    return os.path.exists(f"{directory}/{file}")


def _mounted_above(directory: str, host: CgroupHost) -> Hierarchy | None:
    fits = [h for h in host.hierarchies if directory.startswith(h.mount.rstrip("/") + "/")]
    return max(fits, key=lambda h: len(h.mount), default=None)


def _children(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise files.failure("open", directory, error) from None
