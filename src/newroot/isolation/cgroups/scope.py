"""``Scope``: a container's cgroup that systemd makes, as a scope: systemd.scope(5).

systemd makes the directory for a process that it is told of, hands it over (``Delegate=``), and
takes it away when the last process has gone.  newroot-init joins by itself, so until it has, a
process of ours holds the scope: ``joined()`` lets it go.  systemd is told the limits that it has
words for, and all of them are written to the files besides.
"""

from __future__ import annotations

import os

from newroot.errors import SyscallError, UnsupportedError
from newroot.isolation.cgroups.cgroup import Cgroup
from newroot.isolation.cgroups.demand import hierarchies_for, translate
from newroot.isolation.cgroups.resources import POINTER, Section
from newroot.isolation.cgroups.systemd import (
    device_properties,
    limit_properties,
    scope_properties,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from newroot.isolation.cgroups.cgroup import Place
    from newroot.isolation.cgroups.detect import CgroupHost
    from newroot.isolation.cgroups.systemd import UnitName, Variant
    from newroot.isolation.cgroups.systemd_bus import Systemd


_SIGKILL = 9


def go_below_manager(host: CgroupHost) -> None:
    """Have the calling user's systemd take this process into a scope, unless it is below it.

    Who moves a process needs the right to write in the first cgroup above both places:
    cgroups(7), Delegation containment.  A login session is beside the user's manager, not below.
    Raises as ``Scope.start()`` does.
    """
    from newroot.isolation.cgroups.systemd_bus import Systemd

    unified = host.unified
    if host.mode != "v2" or unified is None:
        raise UnsupportedError(
            "have a user's systemd make a cgroup: this host has cgroup v1",
            feature="rootless systemd cgroups",
            hint="boot with systemd.unified_cgroup_hierarchy=1",
        )
    with Systemd(user=True) as systemd:
        above = systemd.control_group()
        if unified.own.startswith(f"{above}/"):
            return
        unit = f"newroot-{os.getpid()}.scope"
        about: dict[str, Variant] = {
            "Description": ("s", "newroot"),
            "Slice": ("s", "user.slice"),
            "Delegate": ("b", True),
            "PIDs": ("au", [os.getpid()]),
        }
        systemd.start(unit, about)


class Scope(Cgroup):
    """One container's cgroup, in a scope of the system's or the user's systemd."""

    __slots__ = ("_holder", "unit", "user")

    unit: str
    user: bool  #: of the calling user's manager

    def __init__(
        self,
        path: str,
        places: Iterable[Place],
        *,
        host: CgroupHost,
        unit: str = "",
        user: bool = False,
    ) -> None:
        super().__init__(path, places, host=host)
        self.unit = unit
        self.user = user
        self._holder: tuple[int, int] | None = None

    @classmethod
    def start(
        cls,
        name: UnitName,
        container_id: str,
        resources: dict[str, object],
        *,
        host: CgroupHost,
        user: bool,
        properties: dict[str, Variant],
    ) -> Self:
        """Have systemd start the scope *name*, with the limits of *resources* and *properties*.

        Raises as Cgroup.create() does, and UnsupportedError where no systemd answers.  Then
        nothing of it remains.
        """
        from newroot.isolation.cgroups.systemd_bus import Systemd

        if user and host.mode != "v2":
            raise UnsupportedError(
                "have a user's systemd make a cgroup: this host has cgroup v1",
                feature="rootless systemd cgroups",
                hint="do without --systemd-cgroup, or boot with systemd.unified_cgroup_hierarchy=1",
            )
        demand = translate(resources, host)
        with Systemd(user=user) as systemd:
            scope = cls(
                systemd.control_group() + name.path(), (), host=host, unit=name.unit, user=user
            )
            limits = scope._limits(resources, systemd.version())
            try:
                pid = scope._hold()
                about = scope_properties(name, container_id, pid, v2=host.mode == "v2")
                systemd.start(name.unit, {**about, **limits, **properties})
                for hierarchy, names in hierarchies_for(demand, host, everything=True):
                    scope._make(hierarchy, names, [], everything=True, existing="any")
                    if hierarchy.version == 1 or host.mode == "hybrid":
                        scope._move_holder()
                scope._apply(demand.writes)
                scope._attach(demand.device_program)
            except BaseException:
                scope.joined()
                scope._stop(systemd)
                raise
        return scope

    def joined(self) -> None:
        """The container's process is in the scope, which needs nobody else any more."""
        if self._holder is None:
            return
        pid, fd = self._holder
        self._holder = None
        os.close(fd)
        try:
            # Not by the pipe alone: another child that was forked meanwhile has its end open too.
            os.kill(pid, _SIGKILL)
            os.waitpid(pid, 0)
        except (ChildProcessError, ProcessLookupError):
            pass  # somebody waits for every child of this process

    def update(self, resources: dict[str, object]) -> None:
        """Change the limits, with systemd and in the files: Cgroup.update()."""
        from newroot.isolation.cgroups.systemd_bus import Systemd

        self._check_memory(Section(resources, POINTER).section("memory"))
        resources = {name: value for name, value in resources.items() if name != "devices"}
        with Systemd(user=self.user) as systemd:
            changed = self._limits(self._with_quota(resources), systemd.version())
            if changed:
                systemd.set_properties(self.unit, changed)
        super().update(resources)

    def remove(self, *, timeout_s: float = 2.0) -> None:
        """Stop the scope, and remove what systemd leaves of it."""
        from newroot.isolation.cgroups.systemd_bus import Systemd

        self.joined()
        try:
            with Systemd(user=self.user) as systemd:
                systemd.stop(self.unit)
        except UnsupportedError:
            pass  # no systemd to ask any more: an empty scope it will see by itself
        super().remove(timeout_s=timeout_s)

    def _limits(self, resources: dict[str, object], version: int) -> dict[str, Variant]:
        found = limit_properties(translate(resources, self.host).writes, version=version)
        if resources.get("devices") is not None:
            from newroot.isolation.cgroups.devices import read_rules

            found.update(device_properties(read_rules(Section(resources, POINTER))))
        return found

    def _hold(self) -> int:
        """A process that does nothing but be there, for as long as we are, until joined()."""
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            # Between fork and _exit: no more than waiting for the other end to close.
            try:
                os.close(ours)
                os.read(theirs, 1)
            finally:
                os._exit(0)
        os.close(theirs)
        self._holder = (pid, ours)
        return pid

    def _move_holder(self) -> None:
        from newroot.isolation.cgroups import files

        if self._holder is not None:
            files.write(f"{self.places[-1].directory}/cgroup.procs", str(self._holder[0]))

    def _stop(self, systemd: Systemd) -> None:
        try:
            systemd.stop(self.unit)
            super().remove(timeout_s=0)
        except SyscallError:
            pass  # what led here is the error to tell of
