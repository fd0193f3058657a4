"""What ``-p``, ``--network`` and their kin say, read: Docker's and podman's forms."""

from __future__ import annotations

from newroot.errors import UnsupportedError, UsageError
from newroot.network.addresses import AF_INET, family_of, mac_text, normal, read_mac
from newroot.network.asked import BRIDGE, CONTAINER, PASTA, Attachment, Networking, Port
from newroot.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from newroot.network.asked import Protocol

_MOST = 65535
#: What other engines have and newroot has not, yet.
_UNKNOWN = {"slirp4netns": "pasta does the same", "cni": "newroot makes its own networks"}


def read_networking(
    network: str | Sequence[str],
    *,
    ip: str | None,
    ip6: str | None,
    mac: str | None,
    aliases: Iterable[str],
    publish: Iterable[str],
    publish_all: bool,
    expose: Iterable[str],
    dns: Iterable[str],
    dns_search: Iterable[str],
    dns_options: Iterable[str],
    hosts: Iterable[str],
) -> tuple[str | None, Networking]:
    """The kind of network, None when nothing was said of it, and all that goes with it.

    Raises UsageError.
    """
    said = [network] if isinstance(network, str) else list(network)
    kind, attachments, options = _kinds(said)
    if ip is not None or ip6 is not None or mac is not None or tuple(aliases):
        attachments = _with_own(kind, attachments, ip, ip6, mac, tuple(aliases))
        kind = kind or BRIDGE
    return kind, Networking(
        attachments=attachments,
        ports=tuple(port for word in publish for port in read_publish(word)),
        publish_all=publish_all,
        exposed=tuple(dict.fromkeys(port for word in expose for port in read_expose(word))),
        dns=tuple(_server(word) for word in dns if word != "none"),
        dns_search=tuple(dns_search),
        dns_options=tuple(dns_options),
        hosts=tuple(pair for word in hosts for pair in read_host(word)),
        options=options,
    )


def _kinds(
    said: list[str],
) -> tuple[str | None, tuple[Attachment, ...], tuple[str, ...]]:
    kinds: list[str] = []
    attachments: list[Attachment] = []
    options: tuple[str, ...] = ()
    for word in said:
        mode, _, rest = word.partition(":")
        if mode in _UNKNOWN:
            raise UnsupportedError(
                f"--network {mode} is not known here", feature=f"--network {mode}",
                hint=_UNKNOWN[mode],
            )  # fmt: skip
        if word.startswith(CONTAINER) and rest:
            kinds.append(word)
        elif mode == PASTA:
            kinds.append(mode)
            options = tuple(part for part in rest.split(",") if part)
        elif word in ("none", "host"):
            kinds.append(word)
        elif word in ("default", "private"):
            kinds.append(BRIDGE)
        else:
            kinds.append(BRIDGE)
            attachments.append(read_attachment(word))
    if len(kinds) > 1 and any(kind != BRIDGE for kind in kinds):
        raise UsageError(
            f"conflicting settings: --network {' and --network '.join(said)}",
            hint="several networks go together, and with nothing else",
        )
    return kinds[0] if kinds else None, tuple(attachments), options


def read_attachment(word: str) -> Attachment:
    """``NAME``, podman's ``NAME:ip=10.0.0.2,alias=db``, Docker's ``name=NAME,ip=10.0.0.2``."""
    name, colon, rest = word.partition(":")
    if not colon and "=" in word:
        name, rest = "", word
    said: dict[str, Any] = {}
    aliases: list[str] = []
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise UsageError(f"invalid network {word!r:.100}: {part!r}", hint="NAME:ip=…,alias=…")
        if key == "name" and not name:
            name = value
        elif key == "alias":
            aliases.append(value)
        elif key in ("ip", "ip6"):
            said["ip" if family_of(value) == AF_INET else "ip6"] = normal(value)
        elif key in ("mac", "mac-address"):
            said["mac"] = mac_text(read_mac(value))
        else:
            raise UsageError(f"invalid network {word!r:.100}: unknown option {key!r}")
    if not name:
        raise UsageError(f"invalid network {word!r:.100}: it names none")
    if "/" in name:
        raise UsageError(f"invalid network {word!r:.100}: a name has no slash")
    return Attachment(network=name, aliases=tuple(aliases), **said)


def _with_own(
    kind: str | None,
    attachments: tuple[Attachment, ...],
    ip: str | None,
    ip6: str | None,
    mac: str | None,
    aliases: tuple[str, ...],
) -> tuple[Attachment, ...]:
    """``--ip`` and the like are about the only network, or the first: docker run."""
    if kind not in (None, BRIDGE):
        raise UsageError(f"conflicting settings: an address or an alias, and network={kind}")
    found = attachments or (Attachment(network=BRIDGE),)
    if len(found) > 1 and (ip is not None or ip6 is not None):
        raise UsageError(
            "--ip with several networks", hint="say it with each: --network NAME:ip=ADDRESS"
        )
    if aliases and found[0].network == BRIDGE:
        raise UsageError(
            "--network-alias on the default network, where there are no names",
            hint="newroot network create NAME, and --network NAME",
        )
    changes = {
        "ip": normal(ip) if ip is not None else found[0].ip,
        "ip6": normal(ip6) if ip6 is not None else found[0].ip6,
        "mac": mac_text(read_mac(mac)) if mac is not None else found[0].mac,
        "aliases": found[0].aliases + aliases,
    }
    return (replace(found[0], **changes), *found[1:])


# ---- ports ----


def read_publish(word: str) -> tuple[Port, ...]:
    """``[[IP:][HOST]:]CONTAINER[/tcp|udp]``, each port also a range."""
    rest, protocol = _protocol(word)
    host_ip = ""
    if rest.startswith("["):
        host_ip, bracket, rest = rest[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise _bad_port(word)
        host_ip, rest = normal(host_ip), rest[1:]
        parts = rest.split(":")
    else:
        parts = rest.split(":")
        if len(parts) == 3:
            host_ip, parts = (normal(parts[0]) if parts[0] else ""), parts[1:]
    if len(parts) == 1 and not host_ip:
        parts = ["", parts[0]]
    if len(parts) != 2:
        raise _bad_port(word)
    host_ip = "" if host_ip in ("0.0.0.0", "::") else host_ip
    first, last = _range(parts[1], word)
    if not parts[0]:
        return tuple(
            Port(protocol=protocol, container_port=number, host_ip=host_ip)
            for number in range(first, last + 1)
        )
    host_first, host_last = _range(parts[0], word)
    if first == last:
        return (
            Port(
                protocol=protocol,
                container_port=first,
                host_ip=host_ip,
                host_port=host_first,
                host_last=host_last if host_last != host_first else 0,
            ),
        )
    if host_last - host_first != last - first:
        raise UsageError(
            f"invalid port {word!r:.80}: the ranges are not equally long",
            hint="-p 8000-8010:80-90; or -p 8000-8010:80 for any one of them",
        )
    return tuple(
        Port(
            protocol=protocol,
            container_port=first + offset,
            host_ip=host_ip,
            host_port=host_first + offset,
        )
        for offset in range(last - first + 1)
    )


def read_expose(word: str) -> tuple[tuple[int, Protocol], ...]:
    """``PORT[-PORT][/tcp|udp]``."""
    rest, protocol = _protocol(word)
    first, last = _range(rest, word)
    return tuple((number, protocol) for number in range(first, last + 1))


def _protocol(word: str) -> tuple[str, Protocol]:
    rest, slash, protocol = word.partition("/")
    if not slash or protocol.lower() == "tcp":
        return rest, "tcp"
    if protocol.lower() == "udp":
        return rest, "udp"
    raise UsageError(f"invalid port {word!r:.80}: tcp and udp are known, not {protocol!r:.20}")


def _range(text: str, word: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = [first, last] if dash else [first]
    for number in numbers:
        if not (number.isascii() and number.isdigit() and 0 < int(number) <= _MOST):
            raise _bad_port(word)
    if dash and int(last) < int(first):
        raise _bad_port(word)
    return int(first), int(numbers[-1])


def _bad_port(word: str) -> UsageError:
    return UsageError(
        f"invalid port {word!r:.80}", hint="[IP:][HOST:]CONTAINER[/tcp|udp], as 8080:80"
    )


# ---- names ----


def _server(word: str) -> str:
    return normal(word)


def read_host(word: str) -> tuple[tuple[str, str], ...]:
    """``NAME[;NAME…]:ADDRESS`` or ``NAME=ADDRESS``; the address may be ``host-gateway``."""
    names, mark, address = word.partition("=")
    if not mark:
        names, mark, address = word.partition(":")
    address = address.removeprefix("[").removesuffix("]")
    if not names or not address:
        raise UsageError(f"invalid host {word!r:.100}", hint="NAME:ADDRESS, or NAME:host-gateway")
    if any(c.isspace() for c in names):
        raise UsageError(f"invalid host {word!r:.100}: a name has no spaces")
    if address != "host-gateway":
        address = normal(address)
    return tuple((name, address) for name in names.split(";") if name)
