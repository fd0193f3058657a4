"""/etc/hosts and /etc/resolv.conf of a container on a network: as Docker makes them."""

from __future__ import annotations

from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOCALHOST = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "ff00::0\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)
_HOST = "/etc/resolv.conf"
_SYSTEMD = "/run/systemd/resolve/resolv.conf"  # what 127.0.0.53 itself asks: systemd-resolved(8)
#: Where a host names none that a container could reach: libnetwork/internal/resolvconf.
_PUBLIC = ("8.8.8.8", "8.8.4.4")
_PUBLIC_IPV6 = ("2001:4860:4860::8888", "2001:4860:4860::8844")


@record
class Resolv:
    """What a resolv.conf says: resolv.conf(5)."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        lines = [f"nameserver {server}" for server in self.servers]
        if self.search:
            lines.append(f"search {' '.join(self.search)}")
        if self.options:
            lines.append(f"options {' '.join(self.options)}")
        return "\n".join(lines) + "\n"


def read_resolv(text: str) -> Resolv:
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(words[1:])
        elif words[0] == "options":
            options += words[1:]
    return Resolv(servers=tuple(servers), search=search, options=tuple(options))


def host_resolv() -> Resolv:
    """The host's, with servers that can be reached from elsewhere too."""
    found = read_resolv(_read(_HOST))
    if found.servers and all(server == "127.0.0.53" for server in found.servers):
        beside = read_resolv(_read(_SYSTEMD))
        found = beside if beside.servers else found
    return found


def has_reachable() -> bool:
    """Whether the host names a server that is not at its own loopback."""
    return any(not s.startswith("127.") and s != "::1" for s in host_resolv().servers)


def resolv(
    own: Sequence[str],
    *,
    dns: tuple[str, ...],
    search: tuple[str, ...],
    options: tuple[str, ...],
    ipv6: bool,
    loopback: bool = False,
) -> bytes:
    """The container's: the network's *own* responder first, else what was asked, else the host's.

    *search* of ``.`` is none.  With *loopback* the host's 127.0.0.x are within reach.
    """
    host = host_resolv()
    servers = tuple(own) or dns or host.servers
    if not own and not dns and not loopback:
        servers = tuple(s for s in servers if not s.startswith("127.") and s != "::1")
        servers = tuple(s for s in servers if ipv6 or ":" not in s)
        servers = servers or (*_PUBLIC, *(_PUBLIC_IPV6 if ipv6 else ()))
    wanted = search or host.search
    return (
        Resolv(
            servers=servers,
            search=() if wanted == (".",) else wanted,
            options=options or host.options,
        )
        .text()
        .encode()
    )


def hosts(extra: Iterable[tuple[str, str]], own: Iterable[tuple[str, Sequence[str]]]) -> bytes:
    """*extra* are (name, address), *own* (address, names)."""
    lines = [f"{address}\t{name}\n" for name, address in extra]
    lines += [f"{address}\t{' '.join(names)}\n" for address, names in own]
    return (LOCALHOST + "".join(lines)).encode()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
