"""Debian's docker-registry on loopback, with users, tokens, TLS if a test wants; and its log."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

USER, PASSWORD = "alice", "secret"
#: bcrypt of PASSWORD; htpasswd(1) is in a package of its own
HASH = "$2b$04$qRgar5q8EuNVnrTUICEMLOwisIakKRFCWvS6VqIUNz.of4ATzwcHy"
_START_S = 20


class Server:
    """A registry that runs."""

    def __init__(self, host: str, directory: Path, scheme: str) -> None:
        self.host = host
        self.directory = directory
        self.scheme = scheme
        self.log = directory / "log"

    def requests(self) -> list[str]:
        """The requests so far: ``GET /v2/a/manifests/1``."""
        found = []
        for line in self.log.read_text().splitlines():
            _, quote, rest = line.partition('] "')
            if quote:
                found.append(rest.partition(" HTTP/")[0])
        return found


@contextlib.contextmanager
def serve(
    directory: Path,
    *,
    auth: dict[str, object] | None = None,
    tls: Authority | None = None,
    name: str = "127.0.0.1",
    wants_certificates: bool = False,
) -> Iterator[Server]:
    """Run a registry below *directory* until the block ends.

    With *tls* its certificate is for *name*; it may want one of that authority's from clients too.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    host = f"127.0.0.1:{port}"
    settings: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": False}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": host},
    }
    if tls is not None:
        certificate, key = tls.certificate("server", name)
        secured: dict[str, object] = {"certificate": certificate, "key": key}
        if wants_certificates:
            secured["clientcas"] = [str(tls.path)]
        settings["http"] = {"addr": host, "tls": secured}
    if auth is not None:
        settings["auth"] = auth
    (directory / "config.yml").write_text(json.dumps(settings))  # YAML takes JSON
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(directory / "config.yml")],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        _wait_for(port, process, directory / "log")
        yield Server(host, directory, "https" if tls else "http")
    finally:
        process.terminate()
        process.wait(10)


def htpasswd(directory: Path) -> dict[str, object]:
    """Settings of a registry that knows one user."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "htpasswd").write_text(f"{USER}:{HASH}\n")
    return {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            raise AssertionError(f"docker-registry ended: {log.read_text()}")
    raise AssertionError(f"docker-registry does not listen: {log.read_text()}")


# ── certificates ─────────────────────────────────────────────────────────────────────────────


class Authority:
    """A private certificate authority, by openssl(1)."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.path = directory / "ca.crt"
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", directory / "ca.key", "-out", self.path, "-days", 2,
            "-subj", "/CN=newroot test authority",
        )  # fmt: skip

    def certificate(self, name: str, address: str) -> tuple[str, str]:
        """A certificate for an IP address or a host's name, and its key."""
        request, key = self.directory / f"{name}.csr", self.directory / f"{name}.key"
        extensions = self.directory / f"{name}.ext"
        kind = "IP" if address[0].isdigit() else "DNS"
        extensions.write_text(f"subjectAltName={kind}:{address}\n")
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", key, "-out", request, "-subj", f"/CN={name}",
        )  # fmt: skip
        made = self.directory / f"{name}.pem"
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.path, "-CAkey", self.directory / "ca.key",
            "-CAcreateserial", "-days", 2, "-extfile", extensions, "-out", made,
        )  # fmt: skip
        return str(made), str(key)


def _openssl(*words: object) -> bytes:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


# ── tokens ───────────────────────────────────────────────────────────────────────────────────


class TokenService:
    """What distribution's docs/spec/auth/token.md asks of the place where tokens come from."""

    def __init__(self, directory: Path, *, anonymous_pull: bool = True) -> None:
        self.authority = Authority(directory)
        self.lifetime_s = 300  #: of a token, whatever is said of it
        self.last_end = 0  #: of the last token
        self.anonymous_pull = anonymous_pull
        self.asked: list[dict[str, list[str]]] = []
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, answer = service.answer(self.path, self.headers.get("Authorization"))
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *words: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.realm = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def settings(self) -> dict[str, object]:
        return {
            "token": {
                "realm": self.realm,
                "service": "newroot-test",
                "issuer": "newroot-test-issuer",
                "rootcertbundle": str(self.authority.path),
            }
        }

    def answer(self, path: str, authorization: str | None) -> tuple[int, dict[str, object]]:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)
        self.asked.append(query)
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        known = authorization == f"Basic {basic}"
        if authorization is not None and not known:
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "who?"}]}
        access = []
        for scope in query.get("scope", []):
            kind, name, actions = scope.split(":")
            allowed = [
                action
                for action in actions.split(",")
                if known or (action == "pull" and self.anonymous_pull)
            ]
            access.append({"type": kind, "name": name, "actions": allowed})
        return 200, {"token": self._token(access), "expires_in": 300}

    def _token(self, access: list[dict[str, object]]) -> str:
        der = _openssl("x509", "-in", self.authority.path, "-outform", "DER")
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        now = int(time.time())
        self.last_end = now + self.lifetime_s
        claims = {
            "iss": "newroot-test-issuer", "sub": USER, "aud": "newroot-test",
            "exp": self.last_end, "nbf": now - 30, "iat": now - 30, "jti": "1", "access": access,
        }  # fmt: skip
        signed = b".".join(_url64(json.dumps(part).encode()) for part in (header, claims))
        return (signed + b"." + _url64(self._sign(signed))).decode()

    def _sign(self, data: bytes) -> bytes:
        key = self.authority.directory / "ca.key"
        der = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(key)], input=data, capture_output=True,
            check=True,
        ).stdout  # fmt: skip
        # JWS wants r and s side by side, 32 bytes each (RFC 7518, 3.4), OpenSSL gives ASN.1.
        length = der[3]
        r, s = der[4 : 4 + length], der[6 + length :]
        return b"".join(number.lstrip(b"\0").rjust(32, b"\0") for number in (r, s))

    def __enter__(self) -> TokenService:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _url64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
