"""``linux.netDevices``: interfaces of the host that become the container's (config-linux.md).

They go with the container's namespace: physical ones come back when it ends, virtual ones are no
more.  That is the kernel's doing, network_namespaces(7), and nothing here undoes it.
"""

from __future__ import annotations

from newroot.errors import NotFound, SpecError, UnsupportedError
from newroot.plan import steps as s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LONGEST = 15  # IFNAMSIZ, with its zero


def interface_steps(
    untrusted: dict[str, Any] | None, spaces: dict[str, str | None]
) -> tuple[s.Step, ...]:
    """The step at which interfaces are moved; none where the config names none.

    Raises SpecError for a name that no interface can have, and where there is no network namespace.
    """
    if not untrusted:
        return ()
    at = "/linux/netDevices"
    if "network" not in spaces:
        raise SpecError("there is no network namespace to move anything to", pointer=at)
    moves: list[tuple[str, str]] = []
    for host_name, device in untrusted.items():
        pointer = f"{at}/{host_name.replace('~', '~0').replace('/', '~1')}"
        name = (device or {}).get("name") or host_name
        _check_name(host_name, pointer)
        _check_name(name, f"{pointer}/name")
        if name in [taken for _, taken in moves] and "%d" not in name:
            raise SpecError(f"{name} is there twice", pointer=f"{pointer}/name")
        moves.append((host_name, name))
    return (s.MoveInterfaces(interfaces=tuple(moves), why="asked for"),)


def _check_name(name: str, pointer: str) -> None:
    """What the kernel takes: dev_valid_name() in net/core/dev.c."""
    bad = name in ("", ".", "..") or len(name.encode()) > _LONGEST
    if bad or any(c in "/:" or c.isspace() for c in name):
        raise SpecError(f"not the name of an interface: {name!r:.100}", pointer=pointer)


def move_interfaces(step: s.MoveInterfaces, pid: int, inside: int) -> None:
    """Move *step*'s interfaces to *pid*'s namespace, of which *inside* is a netlink socket.

    They keep their permanent global addresses, and are up.  Raises NotFound, UnsupportedError,
    SpecError, SyscallError.
    """
    from newroot.linux.rtnetlink import Rtnetlink

    with Rtnetlink() as host, Rtnetlink(inside) as container:
        for host_name, name in step.interfaces:
            _move(host, container, pid, host_name, name)


def _move(host: Any, container: Any, pid: int, host_name: str, name: str) -> None:
    link = next((link for link in host.links() if link.name == host_name), None)
    pointer = f"/linux/netDevices/{host_name}"
    if link is None:
        raise NotFound(f"{pointer}: the host has no interface of this name")
    if link.is_loopback:
        raise UnsupportedError(f"{pointer}: a loopback cannot be moved", feature="moving lo")
    there = container.links()
    if name in [other.name for other in there]:
        raise SpecError(f"the container has an interface {name} already", pointer=pointer)
    addresses = host.permanent_addresses(link.index)
    taken = [other.index for other in there]
    # Its own number where it is free; one that is known in any case, for the name may be a pattern.
    index = link.index if link.index not in taken else max(taken) + 1
    host.move(link, pid, index, name)
    container.set_up(index)
    for address in addresses:
        container.add(index, address)
