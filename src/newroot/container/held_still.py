"""A container that runs is frozen while its files are read, and goes on afterwards."""

from __future__ import annotations

import errno
import fcntl
import os

from newroot.errors import NewrootError, SyscallError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.container.storage import ContainerStorage
    from newroot.isolation.cgroups.cgroup import Cgroup


class HeldStill:
    """Freeze a container that runs, as far as it has a cgroup to freeze it by.

    With *must* UnsupportedError is raised where it cannot be.  One at a time: who comes second
    waits, for the first would let the container go on.
    """

    def __init__(self, storage: ContainerStorage, container_id: str, *, must: bool = False) -> None:
        self._storage = storage
        self._id = container_id
        self._must = must
        self._frozen: Cgroup | None = None

    def __enter__(self) -> HeldStill:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self._lock = os.open(f"{self._storage.directory(self._id)}/upper", flags)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._frozen = self._freeze()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._frozen is not None:
                _thaw(self._frozen)
        finally:
            os.close(self._lock)

    def _freeze(self) -> Cgroup | None:
        """What is to be let go on: None when somebody else froze it, or nobody can."""
        from newroot.isolation.cgroups.cgroup import Cgroup
        from newroot.isolation.cgroups.detect import detect

        path = self._storage.state(self._id).get("cgroup")
        cgroup = Cgroup.find(path, host=detect()) if isinstance(path, str) else None
        if cgroup is not None and cgroup.is_frozen():
            return None
        try:
            if cgroup is None:
                raise UnsupportedError("it has no cgroup", feature="freezer")
            cgroup.freeze()
        except NewrootError as error:
            if self._must and self._storage.is_running(self._id):
                raise UnsupportedError(
                    f"freeze container {self._id[:12]}, which runs: {error}",
                    feature="freezer",
                    hint="stop it first",
                ) from error
            return None  # it is read while it runs
        return cgroup


def _thaw(cgroup: Cgroup) -> None:
    try:
        cgroup.thaw()
    except SyscallError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):  # it was killed, its cgroup is gone
            raise
