"""Wait for the kernel to kill in a cgroup for want of memory: an event, not a look now and then.

cgroup v2 notifies pollers of memory.events and cgroup.events (cgroup-v2.rst); cgroup v1 writes to
an eventfd that was registered in cgroup.event_control (cgroup-v1/memory.rst, OOM Control), and
once more when the cgroup is removed.  Both are descriptors for select.poll, so that a caller can
wait for them beside other things.
"""

from __future__ import annotations

import os
import select

from newroot.isolation.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class OomEvents(Protocol):
        """Two questions, asked after poll(2) says that there is news."""

        def register(self, poll: select.poll) -> None:
            """Have *poll* wake up for what is watched here."""

        def count(self) -> int:
            """How many times there was no memory since the last call."""

        def is_over(self) -> bool:
            """Whether nobody is left in the cgroup, or it is gone."""

        def close(self) -> None: ...


class OomEventsV2:
    """On the cgroup v2 at *directory*."""

    def __init__(self, directory: str) -> None:
        self._fds: list[int] = []
        try:
            for name in ("memory.events", "cgroup.events"):
                self._fds.append(os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            self.close()
            raise files.failure("open", f"{directory}/memory.events", error) from None
        self._seen = self._read(0).get("oom_kill", 0)

    def register(self, poll: select.poll) -> None:
        for fd in self._fds:
            poll.register(fd, select.POLLPRI)

    def count(self) -> int:
        before, self._seen = self._seen, self._read(0).get("oom_kill", self._seen)
        return self._seen - before

    def is_over(self) -> bool:
        return self._read(1).get("populated", 0) == 0

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def _read(self, index: int) -> dict[str, int]:
        # Reading arms the next notification: kernfs_notify.  ENODEV: the cgroup is gone.
        try:
            return files.keyed_numbers(os.pread(self._fds[index], 4096, 0).decode())
        except OSError:
            return {}


class OomEventsV1:
    """On the directory of the v1 memory controller."""

    def __init__(self, directory: str) -> None:
        self._control = f"{directory}/cgroup.event_control"
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            oom = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                files.write(self._control, f"{self._fd} {oom}")
            finally:
                os.close(oom)
        except OSError as error:
            self.close()
            raise files.failure("open", f"{directory}/memory.oom_control", error) from None
        except BaseException:
            self.close()
            raise

    def register(self, poll: select.poll) -> None:
        poll.register(self._fd, select.POLLIN)

    def count(self) -> int:
        try:
            counted = os.eventfd_read(self._fd)
        except BlockingIOError:
            return 0
        # The removal of the cgroup is told as one more.
        return counted if os.path.exists(self._control) else counted - 1

    def is_over(self) -> bool:
        return not os.path.exists(self._control)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
