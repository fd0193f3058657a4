"""One repository of one registry, by the verbs of distribution-spec 1.1.

What a registry says is not believed: manifests are bounded and hashed, a blob ends where its
descriptor says, media types are checked against the document.  Where insecure is allowed, TLS is
tried first and plain HTTP after it, as podman and Docker do.
"""

from __future__ import annotations

import hashlib

from newroot.errors import DigestMismatch, ImageError, RegistryError, SizeMismatch, UsageError
from newroot.images.registry.auth import Authorizer
from newroot.images.registry.credentials import find_credentials
from newroot.images.registry.http import Http, origin
from newroot.oci import json
from newroot.oci.image import INDEXES, MANIFESTS, Descriptor
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypedDict

    from newroot.images.registry.credentials import Credentials
    from newroot.images.registry.http import Body, Response
    from newroot.images.registry.registries import Endpoint

    class AccessWords(TypedDict, total=False):
        """The fields of ``Access``, as keyword arguments."""

        tls_verify: bool | None
        authfile: str | None
        cert_dir: str | None
        username: str | None
        password: str | None


CHUNK = 1 << 20
_HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
_ACCEPT = ", ".join((*INDEXES, *MANIFESTS))
_SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_ERROR_MAX = 64 << 10
_RESUMES_MAX = 8


@record
class Access:
    """How registries are to be reached; what is None is as the files and the environment say."""

    tls_verify: bool | None = None  #: False: plain HTTP and unverified TLS are allowed
    authfile: str | None = None
    cert_dir: str | None = None
    username: str | None = None
    password: str | None = None


@record
class Fetched:
    """A manifest or an index, verified against its digest."""

    descriptor: Descriptor
    data: bytes
    document: dict[str, Any]


class Connections:
    """What the repositories of one pull or push share: connections, and who we are where."""

    def __init__(self, access: Access, *, helpers: Sequence[str] = ()) -> None:
        self.access = access
        self._helpers = helpers
        self.http = Http(self._tls)
        self._authorizers: dict[tuple[str, str], Authorizer] = {}
        self._schemes: dict[str, str] = {}

    def __enter__(self) -> Connections:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def repository(self, endpoint: Endpoint) -> Repository:
        verify = self.access.tls_verify
        insecure = endpoint.insecure if verify is None else not verify
        return Repository(self, endpoint, insecure=insecure)

    def authorizer(self, endpoint: Endpoint, *, insecure: bool) -> Authorizer:
        key = (endpoint.host, endpoint.path)
        found = self._authorizers.get(key)
        if found is None:
            found = self._authorizers[key] = Authorizer(
                self.http, endpoint.host, lambda: self._credentials(endpoint), insecure=insecure
            )
        return found

    def _credentials(self, endpoint: Endpoint) -> Credentials | None:
        if self.access.username is not None:
            from newroot.images.registry.credentials import Credentials

            return Credentials(self.access.username, self.access.password or "")
        return find_credentials(
            endpoint.host, endpoint.path, authfile=self.access.authfile, helpers=self._helpers
        )

    def _tls(self, host: str, insecure: bool) -> object:
        from newroot.images.registry.trust import tls_context

        return tls_context(host, verify=not insecure, cert_dir=self.access.cert_dir)

    def scheme(self, host: str, *, insecure: bool) -> str:
        """``https``, or what an insecure registry answers to."""
        if not insecure:
            return "https"
        found = self._schemes.get(host)
        if found is None:
            found = self._schemes[host] = self._try_schemes(host)
        return found

    def _try_schemes(self, host: str) -> str:
        """A handshake tells, and costs no request."""
        try:
            self.http.request(
                "GET", f"https://{host}/v2/", headers={}, insecure=True, attempts=1
            ).discard()
        except RegistryError:
            return "http"
        return "https"


class Repository:
    """The images of one repository at one registry."""

    def __init__(self, connections: Connections, endpoint: Endpoint, *, insecure: bool) -> None:
        self.endpoint = endpoint
        self.http = connections.http
        self._connections = connections
        self._insecure = insecure
        self._authorizer = connections.authorizer(endpoint, insecure=insecure)

    def __str__(self) -> str:
        return str(self.endpoint)

    # ── requests ─────────────────────────────────────────────────────────────────────────────

    def url(self, path: str) -> str:
        return f"{self._base()}{self.endpoint.path}/{path}"

    def _base(self) -> str:
        host = _HUB_HOST if self.endpoint.host == _HUB else self.endpoint.host
        scheme = self._connections.scheme(host, insecure=self._insecure)
        return f"{scheme}://{host}/v2/"

    def ping(self) -> Response:
        """Ask the registry itself: 200 says that it knows us."""
        return self._send("GET", self._base(), "")

    def send(
        self,
        method: str,
        url: str,
        *,
        actions: str = "pull",
        more_scope: str = "",
        headers: Mapping[str, str] | None = None,
        body: Body = None,
    ) -> Response:
        """Send a request to this repository, saying who we are when that is asked."""
        scope = f"repository:{self.endpoint.path}:{actions}{more_scope}"
        return self._send(method, url, scope, headers, body)

    def _send(
        self,
        method: str,
        url: str,
        scope: str,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
    ) -> Response:
        same_host = origin(url) == origin(self._base())
        for _ in range(3):
            # An upload may lead to another host, which is not to see who we are.
            sent = self._authorizer.header(scope) if same_host else None
            with_auth = dict(headers or {})
            if sent is not None:
                with_auth["Authorization"] = sent
            response = self.http.request(
                method, url, headers=with_auth, body=body, insecure=self._insecure
            )
            if response.status != 401 or not same_host:
                return response
            if not self._authorizer.answer(response, scope, sent=sent):
                return response
            response.discard()
            if self._authorizer.header(scope) == sent:
                break
        return response

    def refusal(self, response: Response, doing: str) -> RegistryError:
        """The error that an unwanted answer is, with the registry's own words."""
        try:
            said = _said(response.document(_ERROR_MAX))
        except RegistryError:
            said = ""
        words, hint = _STATUS_WORDS.get(response.status, ("", None))
        if response.status == 401 and self._authorizer.has_credentials():
            words, hint = "it does not accept our user and password", None
        what = "; ".join(part for part in (words, said) if part) or "it says no more"
        if response.status in (401, 403):
            hint = hint or f"newroot login {self.endpoint.host}"
        return RegistryError(
            f"{doing} at {self}: {what} (HTTP {response.status})",
            url=response.url,
            status=response.status,
            hint=hint,
        )

    # ── manifests ────────────────────────────────────────────────────────────────────────────

    def head_manifest(self, wanted: str) -> str | None:
        """The digest of the manifest *wanted*, a tag or a digest, if the registry tells it."""
        with self.send(
            "HEAD", self.url(f"manifests/{wanted}"), headers={"Accept": _ACCEPT}
        ) as response:
            if response.status != 200:
                if response.status in (404, 405):
                    return None
                raise self.refusal(response, f"look up {wanted}")
            return response.headers.get("Docker-Content-Digest")

    def get_manifest(
        self, wanted: str, *, expected: Descriptor | None = None, limit: int
    ) -> Fetched:
        """Fetch the manifest or index *wanted*, a tag or a digest.

        Raises RegistryError, DigestMismatch, ImageError for what newroot does not read.
        """
        doing = f"fetch the manifest {wanted}"
        response = self.send("GET", self.url(f"manifests/{wanted}"), headers={"Accept": _ACCEPT})
        if response.status != 200:
            raise self.refusal(response, doing)
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        told = response.headers.get("Docker-Content-Digest")
        data = response.document(limit)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        named = wanted if ":" in wanted else told
        self._check_digest(data, digest, named, doing)
        if expected is not None and len(data) != expected.size:
            raise SizeMismatch(
                f"{doing} at {self}: {expected.size} bytes were promised, {len(data)} came"
            )
        document = self._document(data, media_type, doing)
        media_type = document.get("mediaType") or media_type
        descriptor = Descriptor(media_type=media_type, digest=digest, size=len(data))
        return Fetched(descriptor=descriptor, data=data, document=document)

    def _check_digest(self, data: bytes, digest: str, named: str | None, doing: str) -> None:
        if named is not None and named.startswith("sha512:"):
            digest = f"sha512:{hashlib.sha512(data).hexdigest()}"
        if named is not None and named != digest:
            raise DigestMismatch(f"{doing} at {self}: its digest is {digest}, not {named[:140]}")

    def _document(self, data: bytes, media_type: str, doing: str) -> dict[str, Any]:
        try:
            document = json.loads(data, what="the manifest")
        except UsageError as error:
            raise ImageError(f"{doing} at {self}: {error}") from None
        if not isinstance(document, dict):
            raise ImageError(f"{doing} at {self}: it is not a JSON object")
        said = document.get("mediaType", media_type)
        if media_type in _SCHEMA_1 or document.get("schemaVersion") == 1:
            raise ImageError(
                f"{doing} at {self}: it is of Docker's schema 1, which newroot does not read",
                hint="push the image again with a Docker of after 2017, or convert it with skopeo",
            )
        if said not in (*INDEXES, *MANIFESTS):
            raise ImageError(
                f"{doing} at {self}: the registry sends {str(said)[:100]!r}, which is neither an "
                "image's manifest nor an index"
            )
        # One document must not be two things to two readers: CVE-2021-41190.
        if media_type not in (said, "", "application/json", "application/octet-stream"):
            raise ImageError(
                f"{doing} at {self}: the registry calls it {media_type[:100]!r}, "
                f"the document itself {str(said)[:100]!r}"
            )
        both = "manifests" in document and ("layers" in document or "config" in document)
        if both:
            raise ImageError(f"{doing} at {self}: it is an index and a manifest at once")
        return {**document, "mediaType": said}

    # ── blobs ────────────────────────────────────────────────────────────────────────────────

    def blob(
        self, descriptor: Descriptor, *, offset: int = 0, on_bytes: Callable[[int], None]
    ) -> Download:
        """The bytes of a blob from *offset* on; *on_bytes* is told how many more came."""
        return Download(self, descriptor, offset=offset, on_bytes=on_bytes)

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the registry has a blob in this repository."""
        url = self.url(f"blobs/{descriptor.digest}")
        with self.send("HEAD", url, actions="pull,push") as response:
            if response.status not in (200, 404):
                raise self.refusal(response, f"look up the blob {descriptor.digest}")
            return response.status == 200


class Download:
    """A blob's bytes, chunk by chunk; a connection that breaks is taken up where it broke.

    What comes is bounded by the descriptor's size, and not verified: LayerStream does that.
    """

    def __init__(
        self,
        repository: Repository,
        descriptor: Descriptor,
        *,
        offset: int,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._repository = repository
        self._descriptor = descriptor
        self._on_bytes = on_bytes
        self._response: Response | None = None
        self._broken = 0
        self._good_until = offset
        self.offset = offset

    def __call__(self) -> bytes:
        while self.offset < self._descriptor.size:
            try:
                if self._response is None:
                    self._response = self._ask()
                wanted = min(CHUNK, self._descriptor.size - self.offset)
                chunk = self._response.read(wanted)
                if not chunk:
                    raise RegistryError(
                        f"{self._doing}: it ends after {self.offset} of "
                        f"{self._descriptor.size} bytes",
                        url=self._response.url,
                    )
            except RegistryError as error:
                self._broke(error)
                continue
            self.offset += len(chunk)
            self._on_bytes(len(chunk))
            return chunk
        self._end()
        return b""

    def close(self) -> None:
        """Let go of the connection."""
        if self._response is not None:
            self._response.close()
            self._response = None

    @property
    def _doing(self) -> str:
        return f"fetch the blob {self._descriptor.digest} at {self._repository}"

    def _broke(self, error: RegistryError) -> None:
        """Wait, and go on; or give up, when it does not get on."""
        http = self._repository.http
        self.close()
        http.check_stopped()
        if error.status is not None and error.status not in (200, 206):
            raise error
        # Many breaks in a long blob are bad luck, many within a few bytes are not.
        if self.offset - self._good_until > CHUNK:
            self._good_until, self._broken = self.offset, 0
        self._broken += 1
        if self._broken > _RESUMES_MAX:
            raise error
        http.wait(http.delay_s(min(self._broken, 6)) if self._broken > 1 else 0)

    def _ask(self) -> Response:
        headers = {"Range": f"bytes={self.offset}-"} if self.offset else {}
        url = self._repository.url(f"blobs/{self._descriptor.digest}")
        response = self._repository.send("GET", url, headers=headers)
        if response.status == 206 and self.offset:
            self._check_range(response)
            return response
        if response.status != 200:
            raise self._repository.refusal(response, f"fetch the blob {self._descriptor.digest}")
        length = response.length
        if length is not None and length != self._descriptor.size:
            response.close()
            raise self._wrong_size(length)
        self._skip(response)
        return response

    def _check_range(self, response: Response) -> None:
        said = response.headers.get("Content-Range", "")
        if not said.startswith(f"bytes {self.offset}-"):
            response.close()
            raise RegistryError(
                f"{self._doing}: it was asked from byte {self.offset} on and sends {said[:80]!r}",
                url=response.url,
                status=416,
            )

    def _skip(self, response: Response) -> None:
        """A registry without ranges begins anew."""
        left = self.offset
        while left:
            chunk = response.read(min(CHUNK, left))
            if not chunk:
                response.close()
                raise self._wrong_size(self.offset - left)
            left -= len(chunk)

    def _end(self) -> None:
        """Whoever sends more than the descriptor's size is not to be read from again."""
        if self._response is not None:
            more = self._response.read(1)
            self.close()
            if more:
                raise SizeMismatch(
                    f"{self._doing}: {self._descriptor.size} bytes were promised, more come"
                )

    def _wrong_size(self, size: int) -> SizeMismatch:
        return SizeMismatch(
            f"{self._doing}: {self._descriptor.size} bytes were promised, {size} come"
        )


_STATUS_WORDS: dict[int, tuple[str, str | None]] = {
    401: ("it wants to know who asks", None),
    403: ("it is not allowed", None),
    404: ("it is not there", "is the name right, and may you see it?"),
    429: ("too much was asked of it", "wait, or log in"),
}


def _said(data: bytes) -> str:
    """The errors that a registry lists: distribution-spec, "Error Codes"."""
    try:
        document = json.loads(data, what="the answer")
    except UsageError:
        return ""
    errors = document.get("errors") if isinstance(document, dict) else None
    found = []
    for error in errors[:3] if isinstance(errors, list) else ():
        if isinstance(error, dict):
            words = str(error.get("message") or "")[:200]
            code = str(error.get("code") or "")[:60]
            found.append(f"{words} ({code})" if words and code else words or code)
    return ", ".join(each for each in found if each)
