"""pasta(1), and slirp4netns(1) in its place: one process a container, which passes its packets on.

Neither needs privileges, nor changes anything of the host's.  The process goes with the container:
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

    from newroot.network.asked import Networking, Port

_SIGTERM = 15
#: Where a container asks for names when the host's servers are out of its reach: podman's choice.
DNS_FORWARD = "169.254.1.1"


def start_pasta(
    netns: str, asked: Networking, ports: tuple[Port, ...], userns: str | None, dns_forward: bool
) -> dict[str, Any]:
    """Connect the namespace at the path *netns*, in the user namespace *userns*.

    Returns what ``end_helper()`` needs.  Raises UnsupportedError, SyscallError: a port in use, too.
    """
    program = find("pasta")
    if program is None:
        raise UnsupportedError(
            "there is no program pasta",
            feature="--network pasta",
            hint="apt-get install passt; or --network none",
        )
    from newroot.network.processes import run_with_input

    note = os.memfd_create("newroot-pid", 0)
    pid_file = f"/proc/{os.getpid()}/fd/{note}"
    argv = [
        program, "--config-net", "--quiet", "--pid", pid_file, "--netns", netns,
        *(("--userns", userns) if userns else ()),
        *_ports(ports, "tcp", "-t"), *_ports(ports, "udp", "-u"), "-T", "none", "-U", "none",
        *(("--dns-forward", DNS_FORWARD) if dns_forward else ()),
        *(("--runas", "0:0") if os.geteuid() == 0 else ()),
        "--no-map-gw", *asked.options,
    ]  # fmt: skip
    try:
        code, said = run_with_input(argv, b"")
        words = " ".join(said.decode(errors="replace").split())[:300]
        text = os.pread(note, 32, 0).strip()
    finally:
        os.close(note)
    if code or not text.isdigit():
        raise SyscallError(
            f"pasta: {words or f'it ended with {code}'}", errno=1, call="pasta", target=netns
        )
    pid = int(text)
    return {"pid": pid, "startTicks": start_ticks(pid), "program": "pasta"}


def _ports(ports: tuple[Port, ...], protocol: str, flag: str) -> list[str]:
    found = []
    for port in ports:
        if port.protocol == protocol:
            where = f"{port.host_ip}/" if port.host_ip else ""
            found += [flag, f"{where}{port.host_port}:{port.container_port}"]
    return found or [flag, "none"]


def end_helper(helper: dict[str, Any]) -> None:
    """End the process that *helper* tells of, if it is still that one."""
    pid = helper.get("pid")
    if isinstance(pid, int):
        send_signal(pid, helper.get("startTicks"), _SIGTERM)
