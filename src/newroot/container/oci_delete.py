"""An OCI container is deleted: what is left of it in its cgroup, the cgroup, its files.

Whoever deletes holds the directory's lock.  The order is such that a deletion that is killed
half-way can be begun again: ``state.json`` goes last but for the directory.
"""

from __future__ import annotations

import fcntl
import os

from newroot.container.oci_state import CREATED, CREATING, STOPPED, OciContainer
from newroot.errors import WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SIGKILL = 9
_PATIENCE_MS = 10_000  # a process that does not die of SIGKILL waits for hardware


def delete(container: OciContainer, *, force: bool, warn: Callable[[str], None]) -> None:
    """Remove a container that has stopped or was never started; with *force* any, killed first.

    Raises WrongStatus for one that runs.
    """
    status = container.status()
    if not force and status not in (STOPPED, CREATED):
        raise WrongStatus(
            f"cannot delete container {container.id} that is not stopped: {status}",
            status=status,
            wanted=STOPPED,
        )
    if status not in (STOPPED, CREATING):
        _end(container, status)
    fd = os.open(container.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        _remove(container, warn)
    finally:
        os.close(fd)


def remove_leftovers(container: OciContainer) -> bool:
    """Remove what a killed creator left; False when it is a container, or somebody makes it one."""
    if container.pid:
        return False
    try:
        fd = os.open(container.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _has_process(container):
            return False  # it was finished meanwhile
        _end_cgroup(container)
        remove_files(container.directory)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _has_process(container: OciContainer) -> bool:
    from newroot.container.oci_state import load

    root = os.path.dirname(container.directory)
    return os.path.isdir(container.directory) and bool(load(root, container.id).pid)


def remove_files(directory: str) -> None:
    """Remove a container's directory; ``state.json``, by which the rest is found, last."""
    from newroot.linux.trees import remove_tree

    try:
        names = sorted(os.listdir(directory), key=lambda name: name == "state.json")
    except FileNotFoundError:
        return
    for name in names:
        path = f"{directory}/{name}"
        if name in ("mnt", "notify"):
            remove_tree(path)
        else:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass


def _remove(container: OciContainer, warn: Callable[[str], None]) -> None:
    try:
        config = container.config()
    except (OSError, ValueError):  # half-made, or half-removed
        config = {}
    _end_cgroup(container)
    if (config.get("linux") or {}).get("intelRdt"):
        from newroot.container.bundle_config import remove_resource_group

        remove_resource_group(config, container.id)
    remove_files(container.directory)
    if config.get("hooks"):
        from newroot.container.bundle import Bundle
        from newroot.container.hooks import run_poststop_hooks

        bundle = Bundle(directory=container.bundle, config=config, rootfs=container.rootfs)
        run_poststop_hooks(config, bundle.state(container.id), warn)


def _end(container: OciContainer, status: str) -> None:
    """Kill the first process and see it dead; frozen, it dies once it is thawed."""
    try:
        pidfd = os.pidfd_open(container.pid)
    except ProcessLookupError:
        return
    try:
        import select

        from newroot.linux.processes import send_signal

        send_signal(container.pid, container.start_ticks, _SIGKILL)
        if status == "paused":
            container.cgroup().kill()
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(_PATIENCE_MS):
            raise WrongStatus(
                f"delete {container.id}: it was killed, and has not ended",
                status=status,
                wanted=STOPPED,
                hint=f"what does process {container.pid} wait for?",
            )
    finally:
        os.close(pidfd)


def _end_cgroup(container: OciContainer) -> None:
    """Nothing of it runs on: in a pid namespace that it shares, somebody may."""
    # A scope of systemd's can be left as failed when its cgroup is gone.
    is_scope = container.cgroup_manager == "systemd" and container.cgroups
    if is_scope or any(map(os.path.isdir, container.cgroups)):
        cgroup = container.cgroup()
        cgroup.kill()
        cgroup.remove()
