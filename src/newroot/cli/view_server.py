"""``newroot view --serve``: the page on loopback, read anew at each request, for who has the token.

The token comes once, in the address, and is then a cookie that no script and no other site gets
to send.  A request for another host's name is refused, for a page elsewhere might have a name
that leads here (DNS rebinding).
"""

from __future__ import annotations

import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from newroot.observe.page import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from newroot.observe.page import Page

_EVERY_MS = 2000
_COOKIE = "newroot-view"


def serve(compose: Callable[[], Page], port: int) -> int:
    """Serve until interrupted, with the address as the one line on standard output."""
    token = secrets.token_urlsafe(24)
    server = make_server(compose, token, port)
    with server:
        print(f"http://127.0.0.1:{server.server_port}/?token={token}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass
    return 0


def make_server(compose: Callable[[], Page], token: str, port: int = 0) -> ThreadingHTTPServer:
    """A server on loopback that answers who has *token*."""

    class Handler(BaseHTTPRequestHandler):
        server_version = "newroot"
        sys_version = ""

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            if self.headers.get("Host", "") not in _names(server.server_port):
                self._refuse(421, "this server has another name")
            elif asked.path != "/":
                self._refuse(404, "there is one page, /")
            elif is_same(parse_qs(asked.query).get("token", [""])[0], token):
                self._welcome()
            elif is_same(self._cookie(), token):
                self._answer()
            else:
                self._refuse(403, "the address that newroot view printed has the token")

        def _welcome(self) -> None:
            """The token leaves the address, and so the history and what is copied from there."""
            self.send_response(303)
            self.send_header("Location", "/")
            cookie = f"{_COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/"
            self.send_header("Set-Cookie", cookie)
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _answer(self) -> None:
            text = render(compose(), live_ms=_EVERY_MS, nonce=secrets.token_urlsafe(12))
            self._send(200, "text/html; charset=utf-8", text.encode())

        def _refuse(self, code: int, words: str) -> None:
            self._send(code, "text/plain; charset=utf-8", f"{words}\n".encode())

        def _send(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cross-Origin-Resource-Policy", "same-origin")
            self.end_headers()
            self.wfile.write(body)

        def _cookie(self) -> str:
            try:
                found = SimpleCookie(self.headers.get("Cookie", "")).get(_COOKIE)
            except CookieError:
                return ""
            return found.value if found is not None else ""

        def log_message(self, format: str, *args: object) -> None:
            pass  # the address has the token in it

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    return server


def is_same(given: str, token: str) -> bool:
    """Compare in a time that says nothing of how much was right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _names(port: int) -> tuple[str, str]:
    return f"127.0.0.1:{port}", f"localhost:{port}"
