"""What a user asks of a container's network, in Docker's terms: typed, immutable, checked.

Part of ``container.settings.Settings``.  The parsers are in ``network/options.py``.
"""

from __future__ import annotations

from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Protocol = Literal["tcp", "udp"]


@record
class Attachment:
    """One network that a container is to be on."""

    network: str
    ip: str | None = None  #: None: the next one that is free
    ip6: str | None = None
    mac: str | None = None  #: None: made of the address
    aliases: tuple[str, ...] = ()  #: other names on this network


@record
class Port:
    """One port of the container's that the host has, too."""

    protocol: Protocol = "tcp"
    container_port: int
    host_ip: str = ""  #: empty: every address of the host's
    host_port: int = 0  #: 0: any that is free
    host_last: int = 0  #: any that is free from *host_port* to this one; 0: that one alone


@record
class Networking:
    """What there is to say of a container's network beside which kind it is."""

    attachments: tuple[Attachment, ...] = ()
    ports: tuple[Port, ...] = ()
    publish_all: bool = False  #: every port that is exposed, on any port that is free
    exposed: tuple[tuple[int, Protocol], ...] = ()
    dns: tuple[str, ...] = ()  #: in place of the host's, or of the network's own
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()  #: (name, address or ``host-gateway``)
    options: tuple[str, ...] = ()  #: for pasta, as its command line has them


#: Kinds of network that are no network of ours: ``Settings.network``.
NONE, HOST, BRIDGE, PASTA, CONTAINER = "none", "host", "bridge", "pasta", "container:"


def is_wired(network: str) -> bool:
    """Whether a network of this kind is made outside, before the container is."""
    return network not in (NONE, HOST)
