"""HTTP as a registry client needs it, on urllib3: docs/decisions/0020-http-by-urllib3.md.

Added to the library here: proxies from the environment as Go reads it, redirects that lose the
Authorization header on another host and never leave TLS, retries with back-off that heed
Retry-After, bounds on what is read, errors in our words.  Thread-safe; ``stop`` ends every request
from another thread.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time

import urllib3
from urllib3 import exceptions as lib

from newroot.errors import RegistryError, UsageError
from newroot.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Body = bytes | Callable[[], Any] | None

USER_AGENT = f"newroot/{VERSION}"
_CONNECT_TIMEOUT_S = 20
_READ_TIMEOUT_S = 60
_ATTEMPTS = 5
_FIRST_DELAY_S = 0.5
_DELAY_MAX_S = 30
_RETRY_AFTER_MAX_S = 120
_RETRIED = (408, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_REDIRECTS_MAX = 10
_ERROR_BODY_MAX = 64 << 10


class Stopped(Exception):
    """Another thread said ``stop``."""


class Response:
    """An answer of which the body is still to be read."""

    def __init__(self, raw: urllib3.BaseHTTPResponse, url: str, on_close: Callable[..., None]):
        self.url = url
        self.status = raw.status
        self.headers = raw.headers
        self.raw = raw
        self._on_close = on_close

    @property
    def length(self) -> int | None:
        """Content-Length, where there is a sane one."""
        value = self.headers.get("Content-Length", "")
        return int(value) if value.isascii() and value.isdigit() else None

    def read(self, size: int) -> bytes:
        """At most *size* bytes of the body, ``b""`` at its end.

        Raises RegistryError when the connection breaks, also when it ends before Content-Length.
        """
        try:
            return self.raw.read(size)
        except (lib.HTTPError, OSError) as error:
            raise RegistryError(
                f"read {self.url}: {_words(error)}", url=self.url, status=self.status
            ) from error

    def document(self, limit: int) -> bytes:
        """The whole body.  Raises RegistryError when it is longer than *limit*."""
        with self:
            parts, size = [], 0
            if (self.length or 0) > limit:
                raise self._too_long(limit)
            while chunk := self.read(min(limit + 1 - size, 1 << 16)):
                parts.append(chunk)
                size += len(chunk)
                if size > limit:
                    raise self._too_long(limit)
            return b"".join(parts)

    def _too_long(self, limit: int) -> RegistryError:
        return RegistryError(
            f"read {self.url}: the answer is longer than {limit} bytes",
            url=self.url,
            status=self.status,
        )

    def discard(self) -> None:
        """Be done with an answer of which nobody wants the body."""
        if (self.length or 0) <= _ERROR_BODY_MAX:
            try:
                self.document(_ERROR_BODY_MAX)
            except RegistryError:
                pass
        self.close()

    def close(self) -> None:
        """Give the connection back when the body was read, else end it."""
        self._on_close(self)
        if getattr(self.raw, "length_remaining", None) == 0:
            # Nothing is to come, but only reading tells http.client (HEAD; an exact last read).
            self.raw.drain_conn()
            self.raw.release_conn()
        else:
            self.raw.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Http:
    """Connections to registries, and to wherever these send us."""

    def __init__(
        self,
        context: Callable[[str, bool], object],
        *,
        environ: Mapping[str, str] | None = None,
        first_delay_s: float = _FIRST_DELAY_S,
    ) -> None:
        """*context* makes the TLS context for a ``host[:port]``, verifying or not."""
        self._context = context
        self._environ = os.environ if environ is None else environ
        self._first_delay_s = first_delay_s
        self._pools: dict[tuple[str, bool, str | None], urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self._open: set[Response] = set()
        self._stopped = threading.Event()

    def close(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            pool.clear()

    def stop(self) -> None:
        """End what other threads read; they get ``Stopped``."""
        self._stopped.set()
        with self._lock:
            for response in self._open:
                try:
                    response.raw.shutdown()
                except (ValueError, RuntimeError, OSError):
                    pass  # it has come to its end

    def check_stopped(self) -> None:
        if self._stopped.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Sleep, unless stopped."""
        self._stopped.wait(seconds)
        self.check_stopped()

    def delay_s(self, attempt: int) -> float:
        """How long to wait before attempt number *attempt* + 1, counted from 1."""
        doubled: float = self._first_delay_s * 2 ** (attempt - 1)
        return min(_DELAY_MAX_S, doubled) * (0.5 + random.random() / 2)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body = None,
        insecure: bool = False,
        attempts: int = _ATTEMPTS,
    ) -> Response:
        """Send a request until it is answered; whether the answer is good is the caller's to see.

        A *body* that is a function makes a fresh file for each attempt.  Raises RegistryError.
        """
        for attempt in range(1, attempts + 1):
            self.check_stopped()
            try:
                response = self._follow(method, url, headers, body, insecure)
            except RegistryError as error:
                if attempt == attempts or not getattr(error, "may_pass", False):
                    raise
                self.wait(self.delay_s(attempt))
                continue
            if response.status not in _RETRIED or attempt == attempts:
                return response
            response.discard()
            self.wait(max(self._retry_after(response), self.delay_s(attempt)))
        raise AssertionError("the last attempt returns or raises")

    # ── one request ──────────────────────────────────────────────────────────────────────────

    def _follow(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, insecure: bool
    ) -> Response:
        first = urllib3.util.parse_url(url)
        here = url
        for _ in range(_REDIRECTS_MAX + 1):
            response = self._send(method, here, headers, body, insecure)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None or method not in _SAFE:
                return response
            response.discard()
            here = join(here, location)
            there = urllib3.util.parse_url(here)
            if there.scheme not in ("http", "https") or not there.host:
                raise RegistryError(f"{method} {url}: it redirects to {here[:200]!r}", url=url)
            if there.scheme == "http" and first.scheme == "https" and not insecure:
                raise RegistryError(
                    f"{method} {url}: it redirects from TLS to plain HTTP, to {here}",
                    url=url,
                    hint="--tls-verify=false allows that",
                )
            if origin(here) != origin(url):
                headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
        raise RegistryError(f"{method} {url}: more than {_REDIRECTS_MAX} redirects", url=url)

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, insecure: bool
    ) -> Response:
        pool = self._pool(url, insecure)
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        file = body() if callable(body) else body
        try:
            raw = pool.urlopen(
                method, url, headers=sent, body=file, redirect=False, retries=False,
                preload_content=False, decode_content=False,
            )  # fmt: skip
        except (lib.HTTPError, OSError, ValueError) as error:
            raise _failed(method, url, error) from error
        finally:
            if file is not None and not isinstance(file, bytes):
                file.close()
        response = Response(raw, url, self._forget)
        with self._lock:
            self._open.add(response)
        if self._stopped.is_set():
            response.close()
            raise Stopped
        return response

    def _forget(self, response: Response) -> None:
        with self._lock:
            self._open.discard(response)

    def _pool(self, url: str, insecure: bool) -> urllib3.PoolManager:
        parsed = urllib3.util.parse_url(url)
        host = parsed.netloc or ""
        proxy = self._proxy(parsed.scheme or "https", parsed.host or "", host)
        key = (host if parsed.scheme == "https" else "", insecure, proxy)
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                if insecure:
                    import warnings

                    # Whoever allowed it need not be told of it by each connection.
                    warnings.simplefilter("ignore", lib.InsecureRequestWarning)
                context = self._context(host, insecure) if parsed.scheme == "https" else None
                pool = self._pools[key] = _new_pool(proxy, context)
            return pool

    def _proxy(self, scheme: str, host: str, netloc: str) -> str | None:
        if not any(name.lower().endswith("_proxy") for name in self._environ):
            return None
        # As Go's net/http has it: never for this machine itself.
        if host == "localhost" or host.startswith("127.") or host in ("::1", "[::1]"):
            return None
        from urllib import request

        table = {
            name.lower()[: -len("_proxy")]: value
            for name, value in sorted(self._environ.items())  # lower case comes last, and wins
            if name.lower().endswith("_proxy") and value
        }
        if request.proxy_bypass_environment(netloc, table):  # type: ignore[attr-defined]
            return None
        proxy = table.get(scheme) or table.get("all")
        return proxy if proxy is None or "://" in proxy else f"http://{proxy}"

    def _retry_after(self, response: Response) -> float:
        value = response.headers.get("Retry-After", "").strip()
        if not value:
            return 0
        if value.isascii() and value.isdigit():
            seconds = float(value) if len(value) < 10 else float("inf")
        else:
            seconds = _until(value)
        if seconds > _RETRY_AFTER_MAX_S:
            raise RegistryError(
                f"{response.url}: the registry answers {response.status} and asks to come back "
                f"in {seconds:.0f} seconds",
                url=response.url,
                status=response.status,
                hint="it limits how much one may ask of it; logging in may raise the limit",
            )
        return max(seconds, 0)


_SAFE = ("GET", "HEAD")


def _new_pool(proxy: str | None, context: object) -> urllib3.PoolManager:
    timeout = urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=_READ_TIMEOUT_S)
    if proxy is None:
        return urllib3.PoolManager(maxsize=8, timeout=timeout, ssl_context=context)
    parsed = urllib3.util.parse_url(proxy)
    if parsed.scheme not in ("http", "https"):
        raise UsageError(
            f"use the proxy {parsed.scheme}://{parsed.host}: newroot speaks to http and https "
            "proxies only"
        )
    headers = None
    if parsed.auth:
        from urllib.parse import unquote

        headers = urllib3.make_headers(proxy_basic_auth=unquote(parsed.auth))
    return urllib3.ProxyManager(
        proxy, maxsize=8, timeout=timeout, ssl_context=context, proxy_headers=headers
    )


def _until(date: str) -> float:
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError):
        return 0


def join(base: str, location: str) -> str:
    """The URL that *location* means at *base*: RFC 3986, 5.2."""
    from urllib.parse import urljoin

    return urljoin(base, location)


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: RFC 6454."""
    parsed = urllib3.util.parse_url(url)
    scheme = parsed.scheme or ""
    return scheme, parsed.host or "", parsed.port or {"http": 80, "https": 443}.get(scheme, 0)


# ── errors ───────────────────────────────────────────────────────────────────────────────────


def _failed(method: str, url: str, error: Exception) -> RegistryError:
    hint = None
    chain = list(_causes(error))
    certificate = next((e for e in chain if type(e).__name__ == "SSLCertVerificationError"), None)
    if certificate is not None:
        hint = (
            "put its authority's certificate into /etc/containers/certs.d/HOST[:PORT]/ca.crt; "
            "--tls-verify=false trusts anybody"
        )
    elif any(isinstance(e, lib.SSLError) for e in chain):
        hint = "a registry without TLS needs --tls-verify=false, or insecure in registries.conf"
    elif any(isinstance(e, lib.ProxyError) for e in chain):
        hint = "the environment's http_proxy, https_proxy and no_proxy say which proxy to use"
    failed = RegistryError(f"{method} {url}: {_words(error)}", url=url, hint=hint)
    passing = (lib.ProtocolError, lib.TimeoutError, lib.NewConnectionError, ConnectionError)
    may_pass = isinstance(error, passing) and not any(
        isinstance(e, (lib.SSLError, lib.NameResolutionError, ConnectionRefusedError))
        for e in chain
    )
    failed.may_pass = may_pass  # type: ignore[attr-defined]
    return failed


def _causes(error: BaseException) -> Iterable[BaseException]:
    seen: list[BaseException] = []
    here: BaseException | None = error
    while here is not None and here not in seen:
        seen.append(here)
        reason = getattr(here, "reason", None)
        cause = here.__cause__ or here.__context__
        here = reason if isinstance(reason, BaseException) else cause
    return seen


def _words(error: BaseException) -> str:
    """The innermost words, which are the kernel's or OpenSSL's."""
    for cause in reversed(list(_causes(error))):
        if isinstance(cause, lib.IncompleteRead):
            return "the connection ended too early"
        if isinstance(cause, (lib.ReadTimeoutError, lib.ConnectTimeoutError, TimeoutError)):
            return "no answer in time"
        verify_message = getattr(cause, "verify_message", None)
        if verify_message:
            return f"its certificate is not to be trusted: {verify_message}"
        if isinstance(cause, socket.gaierror):
            return f"there is no such host: {cause.strerror}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return str(error)
