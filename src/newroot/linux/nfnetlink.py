"""One question to nftables, over netlink: is there a table?  linux/netfilter/nf_tables.h."""

from __future__ import annotations

import _socket
import os
from struct import Struct

_HEAD = Struct("=IHHII")  # struct nlmsghdr
_NFGEN = Struct("=BBH")  # struct nfgenmsg
_INT = Struct("=i")
_NETLINK_NETFILTER = 12
_GETTABLE = 10 << 8 | 1  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE
_INET = 1  # NFPROTO_INET
_TABLE_NAME = 1  # NFTA_TABLE_NAME
_REQUEST, _ERROR = 1, 2


def has_table(name: str) -> bool:
    """Whether this network namespace has the table ``inet <name>``."""
    from newroot.linux.rtnetlink import packed

    body = _NFGEN.pack(_INET, 0, 0) + packed((_TABLE_NAME, os.fsencode(name) + b"\0"))
    kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
    sock = _socket.socket(_socket.AF_NETLINK, kind, _NETLINK_NETFILTER)
    try:
        sock.send(_HEAD.pack(_HEAD.size + len(body), _GETTABLE, _REQUEST, 1, 0) + body)
        answer = sock.recv(4096)
    except OSError:
        return False  # a kernel without nf_tables: whoever makes one will hear so
    finally:
        sock.close()
    kind_of: int = _HEAD.unpack_from(answer)[1]
    return kind_of != _ERROR
