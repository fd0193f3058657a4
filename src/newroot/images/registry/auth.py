"""How we say who we are to one registry: Basic, or a Bearer token from where it sends us.

RFC 7235 for the challenge; distribution's docs/spec/auth/token.md and oauth.md for the token.  The
first request goes out without anything, as most pulls need nothing; what was asked for once is
given at once from then on.  Thread-safe.
"""

from __future__ import annotations

import re
import threading
import time

from newroot.errors import RegistryError
from newroot.oci import json
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from newroot.images.registry.credentials import Credentials
    from newroot.images.registry.http import Http, Response

_TOKEN_DOCUMENT_MAX = 1 << 20
_EXPIRES_IN_S = 60  # token.md: what holds when the service does not say
_SPARE_S = 10
_CLIENT_ID = "newroot"

_PARAMETER = re.compile(r'\s*([\w!#$%&\'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))\s*')
_SCHEME = re.compile(r"[\s,]*([\w!#$%&'*+.^`|~-]+)(?=\s|,|$)")


@record
class Challenge:
    """One of the ways in that a registry offers."""

    scheme: str  #: in lower case
    parameters: dict[str, str]


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """What the WWW-Authenticate headers *values* offer; what cannot be read is left out."""
    found: list[Challenge] = []
    for value in values:
        at = 0
        while scheme := _SCHEME.match(value, at):
            at = scheme.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(value, at):
                name, quoted, plain = parameter.groups()
                parameters[name.lower()] = (
                    plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                )
                at = parameter.end()
                if value[at : at + 1] != ",":
                    break
                # After a comma comes a parameter, or the next challenge.
                at += 1
                if not _PARAMETER.match(value, at):
                    break
            found.append(Challenge(scheme=scheme.group(1).lower(), parameters=parameters))
    return found


class Authorizer:
    """What goes into the Authorization header for one registry."""

    def __init__(
        self,
        http: Http,
        host: str,
        credentials: Callable[[], Credentials | None],
        *,
        insecure: bool,
    ) -> None:
        self._http = http
        self._host = host
        self._find = credentials
        self._insecure = insecure
        self._found: list[Credentials | None] = []
        self._challenge: Challenge | None = None
        self._tokens: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def header(self, scope: str) -> str | None:
        """What to send with a request for *scope*; None when nothing was ever asked for."""
        with self._lock:
            if self._challenge is None:
                return None
            if self._challenge.scheme == "basic":
                credentials = self._credentials()
                return credentials.basic() if credentials is not None else None
            return f"Bearer {self._token(scope)}"

    def answer(self, response: Response, scope: str, *, sent: str | None) -> bool:
        """Learn from a 401; False when what it asks for was *sent* already, or we have nothing."""
        offered = parse_challenges(response.headers.getlist("WWW-Authenticate"))
        bearer = next((c for c in offered if c.scheme == "bearer"), None)
        basic = next((c for c in offered if c.scheme == "basic"), None)
        with self._lock:
            if bearer is not None:
                # Another thread may have fetched a new token since: then that one is to be tried.
                known = self._tokens.get(scope)
                if sent is not None and known is not None and sent == f"Bearer {known[0]}":
                    del self._tokens[scope]
                self._challenge = bearer
                return True
            if basic is not None and sent is None and self._credentials() is not None:
                self._challenge = basic
                return True
            return False

    def has_credentials(self) -> bool:
        with self._lock:
            return self._credentials() is not None

    def _credentials(self) -> Credentials | None:
        # A helper is a program: it is asked once, and only by who needs it.
        if not self._found:
            self._found.append(self._find())
        return self._found[0]

    # ── tokens ───────────────────────────────────────────────────────────────────────────────

    def _token(self, scope: str) -> str:
        known = self._tokens.get(scope)
        if known is None or known[1] < time.monotonic():
            known = self._tokens[scope] = self._fetch(scope)
        return known[0]

    def _fetch(self, scope: str) -> tuple[str, float]:
        assert self._challenge is not None
        parameters = self._challenge.parameters
        realm = parameters.get("realm", "")
        if not realm.startswith(("https://", "http://")):
            raise RegistryError(
                f"log in to {self._host}: it sends to {realm[:200]!r} for a token", url=realm
            )
        credentials = self._credentials()
        if realm.startswith("http://") and not self._insecure and credentials is not None:
            raise RegistryError(
                f"log in to {self._host}: it wants the password sent in the clear, to {realm}",
                url=realm,
                hint="--tls-verify=false allows that",
            )
        fields = [("service", parameters["service"])] if parameters.get("service") else []
        fields += [("scope", each) for each in scope.split(" ") if each]
        if credentials is not None and credentials.identity_token:
            response = self._by_refresh_token(realm, fields, credentials.identity_token)
        else:
            response = self._by_get(realm, fields, credentials)
        return self._read(response, realm)

    def _by_get(
        self, realm: str, fields: list[tuple[str, str]], credentials: Credentials | None
    ) -> Response:
        from urllib.parse import urlencode

        headers = {}
        if credentials is not None:
            fields = [("account", credentials.username), *fields]
            headers["Authorization"] = credentials.basic()
        joint = "&" if "?" in realm else "?"
        url = f"{realm}{joint}{urlencode(fields)}" if fields else realm
        return self._http.request("GET", url, headers=headers, insecure=self._insecure)

    def _by_refresh_token(
        self, realm: str, fields: list[tuple[str, str]], refresh_token: str
    ) -> Response:
        from urllib.parse import urlencode

        scope = " ".join(value for name, value in fields if name == "scope")
        form = {
            "grant_type": "refresh_token",
            "client_id": _CLIENT_ID,
            "refresh_token": refresh_token,
            "scope": scope,
            **{name: value for name, value in fields if name == "service"},
        }
        return self._http.request(
            "POST",
            realm,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(form).encode(),
            insecure=self._insecure,
        )

    def _read(self, response: Response, realm: str) -> tuple[str, float]:
        data = response.document(_TOKEN_DOCUMENT_MAX)
        if response.status != 200:
            refused = response.status in (400, 401, 403)
            raise RegistryError(
                f"log in to {self._host}: its token service "
                + (
                    "does not know this user or password"
                    if refused and self._credentials() is not None
                    else f"answers {response.status}"
                ),
                url=realm,
                status=response.status,
                hint=f"newroot login {self._host}" if refused else None,
            )
        document = json.loads(data, what=f"the token of {realm}")
        document = document if isinstance(document, dict) else {}
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryError(
                f"log in to {self._host}: there is no token in the answer of {realm}", url=realm
            )
        lasts = document.get("expires_in")
        lasts_s = lasts if isinstance(lasts, int) and lasts > 0 else _EXPIRES_IN_S
        return token, time.monotonic() + max(lasts_s - _SPARE_S, 1)
