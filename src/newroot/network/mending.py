"""What somebody's death has left of networks: found, and mended.

Most is found by the containers themselves, whose sweep gives back what each had.  Here is what
belongs to no container: a responder that was killed, and what should not be there and is.
"""

from __future__ import annotations

import fcntl
import os

from newroot.errors import NewrootError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.network.leases import Lease, Leases
    from newroot.network.wiring import Networks


def mend_responders(networks: Networks) -> int:
    """Start the responders anew that were killed; how many there were.

    Every command does so, so it asks the locks alone when all is well.
    """
    count = 0
    try:
        names = os.listdir(networks.store.run_directory)
    except FileNotFoundError:
        return 0
    for name in names:
        lock = f"{networks.store.run_directory}/{name}/names.lock"
        if os.path.exists(lock) and _is_free(lock) and _start(networks, name):
            count += 1
    return count


def _is_free(lock: str) -> bool:
    fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _start(networks: Networks, name: str) -> bool:
    from newroot.network.bridges import is_there
    from newroot.network.names import have_responder

    try:
        network = networks.store.find(name)
        if network is None or not is_there(network.interface):
            return False
        leases = networks.leases(network)
        with leases.lock():
            if not any(networks.is_held(lease.container) for lease in leases.all()):
                return False
            have_responder(leases, network)
    except (NewrootError, OSError):
        return False  # what was asked for is more than this: a start will say why
    return True


def dead_leases(networks: Networks) -> list[tuple[Leases, Lease]]:
    """Addresses of containers that nobody holds."""
    found = []
    for network in networks.store.list():
        leases = networks.leases(network)
        found += [(leases, each) for each in leases.all() if not networks.is_held(each.container)]
    return found


def give_back(networks: Networks, found: list[tuple[Leases, Lease]]) -> None:
    """Free them, and lay their networks' ports anew."""
    from newroot.network import bridges, firewall

    for leases in {id(leases): leases for leases, _ in found}.values():
        with leases.lock():
            leases.forget_dead(networks.is_held)
            if bridges.is_there(leases.network.interface):
                firewall.replace(leases.network, networks.all_forwards(leases))
