"""What stands outside and asks: `requests HOST PORT COUNT` or `bytes HOST PORT COUNT`.

Prints requests per second, one connection each and one after the other; or MB per second that come
from a port that sends until COUNT bytes are there.  Run in a network namespace by network_rows.py.
"""

from __future__ import annotations

import socket
import sys
import time


def requests(host: str, port: int, count: int) -> float:
    begin = time.monotonic()
    for _ in range(count):
        with socket.create_connection((host, port), timeout=10) as sock:
            sock.sendall(b"GET /etc/group HTTP/1.0\r\n\r\n")
            data = b""
            while piece := sock.recv(65536):
                data += piece
            if b" 200 " not in data[:20]:
                raise SystemExit(f"not served: {data[:60]!r}")
    return count / (time.monotonic() - begin)


def receive(host: str, port: int, count: int) -> float:
    buffer = bytearray(1 << 20)
    with socket.create_connection((host, port), timeout=30) as sock:
        begin, done = time.monotonic(), 0
        while done < count:
            n = sock.recv_into(buffer)
            if not n:
                raise SystemExit(f"ended after {done} bytes")
            done += n
    return count / (time.monotonic() - begin) / 1e6


what, host, port, count = sys.argv[1:]
print((requests if what == "requests" else receive)(host, int(port), int(count)))
