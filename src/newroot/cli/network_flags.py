"""The flags of ``create`` and ``run`` that are about the container's network."""

from __future__ import annotations

from newroot.cli.flags import Flag

_NETWORK = "Network"

NETWORK_FLAGS = (
    Flag(name="network", metavar="NETWORK", repeat=True, completes="network", group=_NETWORK,
         help="Be on this network: none, host, bridge, one by name (NAME:ip=ADDRESS,alias=NAME), "
              "container:NAME, or pasta; by default bridge, for a user pasta"),
    Flag(name="publish", short="p", metavar="[[IP:]HOST:]PORT[/udp]", repeat=True, group=_NETWORK,
         help="Have a port of the container's on the host, also a range; without HOST any port"),
    Flag(name="publish-all", short="P", group=_NETWORK,
         help="Publish all ports that the image or --expose names"),
    Flag(name="expose", metavar="PORT[/udp]", repeat=True, group=_NETWORK,
         help="Say that the container serves this port"),
    Flag(name="ip", metavar="ADDRESS", group=_NETWORK, help="Its IPv4 address"),
    Flag(name="ip6", metavar="ADDRESS", group=_NETWORK, help="Its IPv6 address"),
    Flag(name="mac-address", metavar="MAC", group=_NETWORK, help="Its interface's address"),
    Flag(name="network-alias", metavar="NAME", repeat=True, group=_NETWORK,
         help="Another name for it on its network"),
    Flag(name="dns", metavar="ADDRESS", repeat=True, group=_NETWORK,
         help="Ask this name server and not the host's"),
    Flag(name="dns-search", metavar="DOMAIN", repeat=True, group=_NETWORK,
         help="Look for short names in this domain; . for none"),
    Flag(name="dns-option", metavar="OPTION", repeat=True, group=_NETWORK,
         help="An option of its resolv.conf"),
    Flag(name="add-host", metavar="NAME:ADDRESS", repeat=True, group=_NETWORK,
         help="A line of its /etc/hosts; host-gateway is the host's address"),
)  # fmt: skip
