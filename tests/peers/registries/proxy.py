"""A small HTTP proxy, as a process of its own: ``proxy.py LOG NAME=HOST:PORT… [USER:PASSWORD]``.

It knows names that nobody else knows, so what it was not asked for cannot have arrived.  It prints
its port, writes each request's first line to LOG, and ends when its standard input does.
"""

from __future__ import annotations

import base64
import http.server
import select
import socket
import sys
import threading
import urllib.parse


class Proxy(http.server.BaseHTTPRequestHandler):
    names: dict[str, str]
    authorization: str | None = None
    log: str

    def _begin(self) -> bool:
        with open(self.log, "a") as file:
            file.write(f"{self.command} {self.path}\n")
        if self.authorization in (None, self.headers.get("Proxy-Authorization")):
            return True
        self.send_error(407)
        return False

    def _connect(self, name: str) -> socket.socket | None:
        where = self.names.get(name)
        if where is None:
            self.send_error(502, "never heard of it")
            return None
        host, _, port = where.partition(":")
        return socket.create_connection((host, int(port)), 10)

    def do_CONNECT(self) -> None:
        if not self._begin() or (there := self._connect(self.path)) is None:
            return
        with there:
            self.send_response(200)
            self.end_headers()
            self._relay(there)

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        if not self._begin() or (there := self._connect(url.netloc)) is None:
            return
        path = url.path + (f"?{url.query}" if url.query else "")
        kept = [f"{k}: {v}" for k, v in self.headers.items() if not k.startswith("Proxy-")]
        head = [f"{self.command} {path} HTTP/1.1", *kept, "Connection: close", "", ""]
        with there:
            there.sendall("\r\n".join(head).encode())
            self._relay(there)

    do_HEAD = do_GET

    def _relay(self, there: socket.socket) -> None:
        """What one side says, to the other, until one of them is done."""
        self.close_connection = True
        other = {self.connection: there, there: self.connection}
        while True:
            for one in select.select(list(other), [], [])[0]:
                data = one.recv(1 << 16)
                if not data:
                    return
                other[one].sendall(data)

    def log_message(self, *words: object) -> None:
        pass


def main() -> None:
    Proxy.log, *words = sys.argv[1:]
    Proxy.names = dict(word.split("=", 1) for word in words if "=" in word)
    for word in words:
        if "=" not in word:
            Proxy.authorization = f"Basic {base64.b64encode(word.encode()).decode()}"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
