"""Signals for an OCI container: for its first process, or for all that are in its cgroup."""

from __future__ import annotations

from newroot.container.oci_state import STOPPED, OciContainer
from newroot.errors import WrongStatus
from newroot.linux.processes import send_signal

SIGKILL = 9


def kill(container: OciContainer, signal: int, *, everything: bool = False) -> None:
    """Send *signal* to the first process; with *everything* to all that are left of the container.

    Raises WrongStatus for a container that does not run; *everything* may be nothing.
    """
    if everything and container.cgroups:
        cgroup = container.cgroup()
        if signal == SIGKILL:
            cgroup.kill()  # and wait until the last has gone
        else:
            cgroup.signal(signal)
    elif container.status() == STOPPED or not send_signal(
        container.pid, container.start_ticks, signal
    ):
        if not everything:
            raise WrongStatus("container not running", status=STOPPED, wanted="running")
