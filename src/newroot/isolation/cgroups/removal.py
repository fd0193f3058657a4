"""Remove a cgroup with all that its container made below it, leaves first.

Only rmdir(2) and open(2) relative to directories that were opened without following links: a
container that writes to its cgroup tree can make it deep (deeper than a path may be long) and
can rename in it meanwhile, but it cannot lead us out of it.
"""

from __future__ import annotations

import errno
import os
from time import monotonic

from newroot.isolation.cgroups import files, members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(directory: str, *, v2: bool, timeout_s: float) -> None:
    """Remove the cgroup at *directory*; one that is not there is as good as removed.

    Raises SyscallError, EBUSY when processes are still in it after *timeout_s*.
    """
    deadline = monotonic() + timeout_s
    while True:
        error = _try_remove(directory)
        if error is None:
            return
        left = deadline - monotonic()
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY) or left <= 0:
            raise files.failure("rmdir", directory, error)
        _wait(directory, left, v2=v2)


def _try_remove(directory: str) -> OSError | None:
    error = _rmdir(lambda: os.rmdir(directory))
    # kernfs says EBUSY both for cgroups below and for processes inside.
    if error is None or error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
        return error
    try:
        top = os.open(directory, _OPEN)
    except FileNotFoundError:
        return None
    except OSError as refused:
        return refused
    _remove_below(top)
    return _rmdir(lambda: os.rmdir(directory))


def _remove_below(here: int) -> None:
    """Remove what can be removed below the open directory *here*, and close it.

    One descriptor, whatever the depth: down by openat(2), up by "..".  A cgroup that is still in
    use stays, and with it those above: the caller sees it when its own rmdir fails.
    """
    names: list[str] = []
    stuck: list[set[str]] = [set()]
    try:
        while True:
            child = _next_child(here, stuck[-1])
            if child is not None:
                below = _open_child(here, child)
                if below is None:
                    stuck[-1].add(child)
                    continue
                os.close(here)
                here = below
                names.append(child)
                stuck.append(set())
                continue
            if not names:
                return
            above = os.open("..", _OPEN, dir_fd=here)
            os.close(here)
            here = above
            stuck.pop()
            name = names.pop()
            if _rmdir(lambda name=name, above=above: os.rmdir(name, dir_fd=above)):  # type: ignore[misc]
                stuck[-1].add(name)
    except FileNotFoundError:
        return  # somebody else removes it too
    finally:
        os.close(here)


def _next_child(here: int, stuck: set[str]) -> str | None:
    """A cgroup directly below *here* that is not known to be stuck; childless ones go at once."""
    with os.scandir(here) as entries:
        names = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
    for name in names:
        if name in stuck:
            continue
        error = _rmdir(lambda name=name: os.rmdir(name, dir_fd=here))  # type: ignore[misc]
        if error is not None:
            return name
    return None


def _open_child(here: int, name: str) -> int | None:
    try:
        return os.open(name, _OPEN, dir_fd=here)
    except OSError:
        return None


def _rmdir(call: Callable[[], None]) -> OSError | None:
    try:
        call()
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None


def _wait(directory: str, left: float, *, v2: bool) -> None:
    """Wait for the event that lets rmdir through: the last process of the cgroup has gone."""
    before = monotonic()
    if v2:
        members.wait_event(directory, "populated", 0, left)
    else:
        members.wait_gone(directory, left)
    # An exiting process is off the list a moment before it lets the cgroup go.
    if monotonic() - before < 0.001:
        members.pause()
