"""What may pass, and where to: one nftables table a network, ``inet newroot-<interface>``.

Nothing of anybody else's is touched, and a table goes as a whole.  It is changed by the program
``nft``, one transaction a call: docs/decisions/0037.  A container without published ports changes
nothing in it, so most starts call nobody; those with some add elements to maps.

What every table says, in the order of a packet's way (nft(8)):

- a published port's packets go to the container, wherever on the host they come in, or begin;
- a container does not reach the host's own 127.0.0.1 (CVE-2020-8558);
- from outside comes what answers, or was published; from our other networks nothing else;
- what leaves for elsewhere does so under the host's address.
"""

from __future__ import annotations

from newroot.errors import SyscallError, UnsupportedError
from newroot.network.addresses import AF_INET, AF_INET6
from newroot.network.definitions import PREFIX, Network
from newroot.network.programs import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    #: protocol, the host's address or nothing, its port; the container's address, its port
    Forward = tuple[str, str, int, str, int]

_REFUSED = "reject with icmpx type admin-prohibited"  # so that nobody waits in vain
_FAMILIES = ((AF_INET, "ip", "ipv4", 4), (AF_INET6, "ip6", "ipv6", 6))


def table(interface: str) -> str:
    return f"inet newroot-{interface}"


def is_installed(network: Network) -> bool:
    """Whether its table is there: asked of the kernel, for to ask nft takes 5 ms."""
    from newroot.linux.nfnetlink import has_table

    return has_table(f"newroot-{network.interface}")


def install(network: Network) -> None:
    """Make the network's table, and its ports' elements anew."""
    run(rules(network))


def uninstall(interface: str) -> None:
    """Remove the table, if it is there."""
    from newroot.linux.nfnetlink import has_table

    if has_table(f"newroot-{interface}"):
        run(f"delete table {table(interface)}\n")


def forward(
    network: Network, forwards: list[Forward], every: Callable[[], Iterable[Forward]]
) -> None:
    """Send these ports to where they say from now on.

    *every* tells all that should be there then: when something is in the way that should not be,
    they are laid anew.
    """
    try:
        run("".join(_change("add", network, each, whole=True) for each in forwards))
    except SyscallError:
        replace(network, every())


def end_forward(
    network: Network, forwards: list[Forward], every: Callable[[], Iterable[Forward]]
) -> None:
    """No longer do so; *every* tells all that should be there then."""
    try:
        run("".join(_change("delete", network, each, whole=False) for each in forwards))
    except SyscallError:
        replace(network, every())


def replace(network: Network, forwards: Iterable[Forward]) -> None:
    """Have these and no others."""
    maps = [f"{kind}{n}" for _, _, _, n in _FAMILIES for kind in ("ports", "bound")]
    flush = "".join(f"flush map {table(network.interface)} {name}\n" for name in maps)
    run(flush + "".join(_change("add", network, each, whole=True) for each in forwards))


def _change(verb: str, network: Network, each: Forward, *, whole: bool) -> str:
    protocol, host_ip, host_port, ip, port = each
    number = 6 if ":" in ip else 4
    key = f"{protocol} . {host_port}"
    name = f"ports{number}"
    if host_ip:
        key, name = f"{host_ip} . {key}", f"bound{number}"
    value = f" : {ip} . {port}" if whole else ""
    return f"{verb} element {table(network.interface)} {name} {{ {key}{value} }}\n"


def rules(network: Network) -> str:
    """The whole table, as nft reads it."""
    name = table(network.interface)
    return "\n".join(
        (
            f"table {name}",
            f"delete table {name}",  # what is half there, or an older version's
            f"table {name} {{",
            *_maps(),
            *_redirect(),
            "chain prerouting {",
            "type nat hook prerouting priority dstnat; policy accept;",
            "jump published",
            "}",
            "chain output {",
            "type nat hook output priority -100; policy accept;",
            "jump published",
            "}",
            *_raw(network),
            *_forwarding(network),
            *_leaving(network),
            "}\n",
        )
    )


def _maps() -> list[str]:
    found = []
    for _, _, kind, number in _FAMILIES:
        value = f"{kind}_addr . inet_service"
        found += [
            f"map ports{number} {{ type inet_proto . inet_service : {value}; }}",
            f"map bound{number} {{ type {kind}_addr . inet_proto . inet_service : {value}; }}",
        ]
    return found


def _redirect() -> list[str]:
    found = ["chain published {"]
    for _, word, kind, number in _FAMILIES:
        here = f"meta nfproto {kind} fib daddr type local"
        found += [
            f"{here} dnat {word} to {word} daddr . meta l4proto . th dport map @bound{number}",
            f"{here} dnat {word} to meta l4proto . th dport map @ports{number}",
        ]
    # The kernel sends nothing from ::1 elsewhere; a refusal lets who asked try 127.0.0.1.
    found.insert(1, "ip6 daddr ::1 return")
    return [*found, "}"]


def _raw(network: Network) -> list[str]:
    return [
        "chain raw {",
        "type filter hook prerouting priority raw; policy accept;",
        f'iifname "{network.interface}" ip daddr 127.0.0.0/8 drop',
        "}",
    ]


def _forwarding(network: Network) -> list[str]:
    own = f'"{network.interface}"'
    found = [
        "chain forward {",
        "type filter hook forward priority filter; policy accept;",
        f"iifname {own} oifname {own} accept",
    ]
    if network.internal:
        found += [f"iifname {own} {_REFUSED}", f"oifname {own} drop"]
    else:
        others = f'"{PREFIX}*"'
        found += [
            f"oifname {own} ct state established,related accept",
            f"iifname {own} ct state established,related accept",
            f"oifname {own} ct status dnat accept",
            f"iifname {own} ct status dnat accept",
            *([f"iifname {own} oifname {others} {_REFUSED}"] if network.isolated else []),
            *([f"oifname {own} drop"] if network.isolated else _from_ours(own, others)),
        ]
    return [*found, "}"]


def _from_ours(own: str, others: str) -> list[str]:
    return [f"oifname {own} iifname {others} accept", f"oifname {own} drop"]


def _leaving(network: Network) -> list[str]:
    own = f'"{network.interface}"'
    found = ["chain postrouting {", "type nat hook postrouting priority srcnat; policy accept;"]
    for family, word, _, _ in _FAMILIES:
        subnet = network.of_family(family)
        if subnet is None:
            continue
        if not network.internal:
            found.append(f"oifname != {own} {word} saddr {subnet.subnet} masquerade")
        # A container that reaches itself, or a neighbour, by a published port; and the host, by
        # its own loopback: the answer must come back the same way.
        found.append(f"oifname {own} {word} saddr {subnet.subnet} ct status dnat masquerade")
    found.append(f"oifname {own} ip saddr 127.0.0.0/8 masquerade")
    return [*found, "}"]


def run(script: str) -> None:
    """Carry out *script* as one transaction.  Raises SyscallError, UnsupportedError."""
    if not script:
        return
    nft = find("nft")
    if nft is None:
        raise UnsupportedError(
            "nftables: there is no program nft",
            feature="--network bridge",
            hint="apt-get install nftables; or --network none",
        )
    from newroot.network.processes import run_with_input

    code, said = run_with_input([nft, "-f", "-"], script.encode())
    if code:
        words = " ".join(said.decode(errors="replace").split())[:300]
        raise SyscallError(
            f"nft: {words or f'it ended with {code}'}",
            errno=1,
            call="nft",
            target="nftables",
            hint="nftables takes CAP_NET_ADMIN, and a kernel with nf_tables",
        )
