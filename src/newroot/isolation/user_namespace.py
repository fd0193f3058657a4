"""User namespaces, made and entered from outside: user_namespaces(7).

What only the parent can do: it writes the id maps, and the host's root makes the mounts that a
container in a user namespace could not (``plan/divide.py``).
"""

from __future__ import annotations

import os

from newroot.errors import SyscallError
from newroot.plan import encode
from newroot.plan import steps as s
from newroot.plan.waiting import await_waiting, while_waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from newroot.plan.divide import Divided
    from newroot.plan.launcher import Launch, Launcher

    Ranges = tuple[tuple[int, int, int], ...]
    IdMaps = tuple[Ranges, Ranges]  #: of users, of groups


def make(launcher: Launcher, uids: Ranges, gids: Ranges) -> int:
    """A user namespace with these maps and nobody in it; returns its descriptor."""
    plan = s.Plan(
        steps=(
            s.Unshare(namespaces=("user",), why="for its id map"),
            s.MapIds(uids=uids, gids=gids, why="mounts are mapped as it says"),
        )
    )

    def use(pid: int) -> int:
        write_maps(pid, uids, gids)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)

    return int(while_waiting(launcher, plan, use))


class Spaces:
    """User namespaces for the mounts of one start to be mapped by, until ``close()``."""

    def __init__(self, launcher: Callable[[], Launcher], wanted: Iterable[IdMaps]) -> None:
        self._fds: list[int] = []
        self.paths: dict[IdMaps, str] = {}
        try:
            for maps in wanted:
                fd = make(launcher(), *maps)
                self._fds.append(fd)
                self.paths[maps] = f"/proc/{os.getpid()}/fd/{fd}"
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


def launch_in(
    launcher: Launcher,
    plan: s.Plan,
    stdio: Sequence[int],
    *,
    own: Sequence[int] = (),
    before: Callable[[int], object] | None = None,
    **more: Any,
) -> tuple[Launch, s.Plan]:
    """Launch a *plan* that makes or joins a user namespace; return also the part of it that
    reports come from now.

    *before* is told its process, in its namespaces, before its first step.  *own* and *more* are
    for ``Launcher.launch()``.  Raises StepError when a step of the part outside failed,
    SyscallError when the parent's part did; nothing is left then.
    """
    from newroot.linux import capabilities
    from newroot.plan.divide import divide

    divided = divide(plan, capabilities.mask(capabilities.held()), len(own))
    launch = _launch_divided(launcher, divided, stdio, own, before, **more)
    return launch, divided.inside


def _launch_divided(
    launcher: Launcher,
    divided: Divided,
    stdio: Sequence[int],
    own: Sequence[int],
    before: Callable[[int], object] | None,
    **more: Any,
) -> Launch:
    inside, joined = divided.inside, divided.joined
    there = [while_waiting(launcher, divided.outside, _mounts_of)]
    try:
        if joined is not None:
            there.append(os.open(joined, os.O_RDONLY | os.O_CLOEXEC))
        launch = launcher.launch(
            encode.encode(inside), 0, stdio, own=(*own, *there), birth=True, **more
        )
    finally:
        for fd in there:
            os.close(fd)
    try:
        launch.read_started(block=True)
        await_waiting(launch, inside)
        _act(launch.pid, divided.parent)
        if before is not None:
            before(launch.pid)
        launch.go_on()
    except BaseException:
        launch.end()
        launch.close()
        raise
    return launch


def write_maps(pid: int, uids: Ranges, gids: Ranges) -> None:
    """Write the id maps of *pid*'s new user namespace.  Raises SyscallError."""
    for name, ranges in (("uid_map", uids), ("gid_map", gids)):
        text = "".join(f"{inside} {outside} {size}\n" for inside, outside, size in ranges)
        _write(f"/proc/{pid}/{name}", text)


def _mounts_of(pid: int) -> int:
    """The mount namespace of *pid*."""
    return os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def _act(pid: int, steps: tuple[s.Step, ...]) -> None:
    """What the parent does to a process that waits for its ids."""
    for step in steps:
        if isinstance(step, s.MapIds):
            write_maps(pid, step.uids, step.gids)
        elif isinstance(step, s.JoinCgroup):
            _write(step.procs, str(pid))
        elif isinstance(step, s.SetOomScore):
            _write(f"/proc/{pid}/oom_score_adj", str(step.score))
        elif isinstance(step, s.SetRlimit):
            _set_rlimit(pid, step)


def _set_rlimit(pid: int, step: s.SetRlimit) -> None:
    from resource import prlimit

    soft, hard = (value if value < 2**63 else -1 for value in (step.soft, step.hard))
    try:
        prlimit(pid, step.resource, (soft, hard))
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None) or 1  # ValueError: "not allowed to raise ..."
        raise SyscallError(
            f"{step.explain()}: {os.strerror(number)}",
            errno=number,
            call="prlimit",
            target=str(pid),
        ) from error


def _write(path: str, text: str) -> None:
    try:
        with open(path, "wb", buffering=0) as file:
            file.write(text.encode())
    except OSError as error:
        raise _failed("write", path, error) from error


def _failed(call: str, path: str, error: OSError) -> SyscallError:
    return SyscallError(
        f"{call} {path}: {error.strerror}", errno=error.errno or 0, call=call, target=path
    )
