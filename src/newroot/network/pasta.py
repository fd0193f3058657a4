"""pasta(1): one process a container, which passes its packets on.

It needs no privileges, nor changes anything of the host's.  The process goes with the container:
ended by whoever sees that end, and else by whoever finds it left over.
"""

from __future__ import annotations

import os

from newroot.errors import SyscallError, UnsupportedError
from newroot.linux.processes import send_signal, start_ticks
from newroot.network.programs import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.network.asked import Networking
    from newroot.network.ports import Taken

_SIGTERM = 15
#: Where a container asks for names when the host's servers are out of its reach: podman's choice.
DNS_FORWARD = "169.254.1.1"


def start_pasta(
    note: str,
    netns: int,
    asked: Networking,
    ports: tuple[Taken, ...],
    userns: int | None,
    *,
    dns_forward: bool,
) -> dict[str, Any]:
    """Connect the namespace *netns*, a descriptor, that belongs to the user namespace *userns*.

    They are handed over as its standard input and output: it gives up the capabilities that it
    would take to open what another process of root's has.  *note* is where it writes its process
    id.  Returns what ``end_helper()`` needs.  Raises UnsupportedError, SyscallError.
    """
    program = find("pasta")
    if program is None:
        raise UnsupportedError(
            "there is no program pasta",
            feature="--network pasta",
            hint="apt-get install passt; or --network none",
        )
    from newroot.network.processes import run

    argv = [
        program, "--config-net", "--quiet", "--pid", note, "--netns", "/proc/self/fd/0",
        *_user_namespace(joined=userns is not None),
        *_ports(ports, "tcp", "-t"), *_ports(ports, "udp", "-u"), "-T", "none", "-U", "none",
        *(("--dns-forward", DNS_FORWARD) if dns_forward else ()),
        *(("--runas", "0:0") if os.geteuid() == 0 else ()),
        "--no-map-gw", *asked.options,
    ]  # fmt: skip
    fds = {0: netns, **({1: userns} if userns is not None else {})}
    code, said = run(argv, fds)
    if code:
        raise _failure(said.decode(errors="replace"), code)
    with open(note, encoding="ascii") as file:
        pid = int(file.read())
    os.unlink(note)
    return {"pid": pid, "startTicks": start_ticks(pid), "program": "pasta"}


def _user_namespace(*, joined: bool) -> tuple[str, ...]:
    """Else it makes one of its own, in which it may not enter what an ordinary user's has."""
    if joined:
        return ("--userns", "/proc/self/fd/1")
    from newroot.linux.user_namespaces import is_in_user_namespace

    return ("--netns-only",) if is_in_user_namespace() else ()


def _failure(said: str, code: int) -> SyscallError:
    lines = [line for line in said.splitlines() if "syslog" not in line]
    words = "; ".join(line.strip() for line in lines if line.strip())[:300]
    return SyscallError(
        f"pasta: {words or f'it ended with {code}'}",
        errno=1,
        call="pasta",
        target="pasta",
        hint="a port of the host's may be in use: ss -ltnp" if "port" in words.lower() else None,
    )


def _ports(ports: tuple[Taken, ...], protocol: str, flag: str) -> list[str]:
    found = []
    for kind, host_ip, host_port, port in ports:
        if kind == protocol:
            where = f"{host_ip}/" if host_ip else ""
            found += [flag, f"{where}{host_port}:{port}"]
    return found or [flag, "none"]


def end_helper(helper: dict[str, Any]) -> None:
    """End the process that *helper* tells of, if it is still that one."""
    pid = helper.get("pid")
    if isinstance(pid, int):
        send_signal(pid, helper.get("startTicks"), _SIGTERM)
