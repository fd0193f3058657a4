"""Which network a command's container is on when nobody says: what this host can do."""

from __future__ import annotations

import os

from newroot.errors import UsageError
from newroot.linux.user_namespaces import owns
from newroot.network.asked import BRIDGE, NONE, PASTA
from newroot.network.programs import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_CHOICES = (NONE, "host", BRIDGE, PASTA)
_NET_ADMIN = 12  # CAP_NET_ADMIN: capability.h
_TUN = "/dev/net/tun"
_FORWARD = "/proc/sys/net/ipv4/ip_forward"


def usual_network(environ: Mapping[str, str]) -> tuple[str, str | None]:
    """The kind of network, and what there is to warn of.

    ``$NEWROOT_NETWORK``; else a bridge for root, pasta for a user, and ``none`` where neither is
    to be had.  Raises UsageError for a variable that says something else.
    """
    chosen = environ.get("NEWROOT_NETWORK")
    if chosen:
        if chosen not in _CHOICES:
            raise UsageError(
                f"NEWROOT_NETWORK={chosen!r:.40}", hint=f"one of {', '.join(_CHOICES)}"
            )
        return chosen, None
    if os.geteuid() == 0 and owns("net"):  # not so an ordinary user's root: isolation/rootless.py
        missing = _bridge_lacks()
        return (BRIDGE, None) if missing is None else (NONE, _warning(missing))
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return NONE, _warning(f"{_TUN} is not this user's to open")
    if find("pasta"):
        return PASTA, None
    return NONE, _warning("there is no program pasta (apt-get install passt)")


def _warning(missing: str) -> str:
    return f"the container has no network: {missing}; --network none says nothing"


def _bridge_lacks() -> str | None:
    if find("nft") is None:
        return "there is no program nft (apt-get install nftables)"
    if not _effective() >> _NET_ADMIN & 1:
        return "this process has no CAP_NET_ADMIN"
    try:
        with open(_FORWARD, "rb", buffering=0) as file:
            forwards = file.read().strip() == b"1"
    except OSError:
        return "this kernel has no IPv4"
    if not forwards and not os.access(_FORWARD, os.W_OK):
        return f"{_FORWARD} is 0 and read-only"
    return None


def _effective() -> int:
    with open("/proc/self/status", "rb", buffering=0) as file:
        text = file.read()
    at = text.index(b"CapEff:")
    return int(text[at + 7 : text.index(b"\n", at)], 16)
