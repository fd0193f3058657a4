"""Registries that lie, drip, loop and never end: each gets a clear error, and nothing is kept."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from newroot.errors import (
    DigestMismatch,
    ImageError,
    NewrootError,
    RegistryError,
    SizeMismatch,
    UnsafeEntry,
)
from newroot.images.registry import http as client_http
from newroot.images.registry.client import Access
from newroot.images.registry.pull import pull_image
from newroot.images.registry.registries import Registries
from newroot.images.store import Image, ImageStore
from newroot.testing.archives import Archive

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

Answer = Callable[["Handler"], None]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def do_GET(self) -> None:
        self.registry.seen.append((self.command, self.path, dict(self.headers)))
        answer = self.registry.answers.get(self.path.partition("?")[0])
        if answer is None:
            self.give(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"never heard of"}]}')
            return
        # Whoever is refused hangs up in the middle.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            answer(self)

    do_HEAD = do_GET

    def give(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        pass


class Registry:
    """An honest image, of which a test replaces an answer."""

    def __init__(self, store: ImageStore, server: http.server.ThreadingHTTPServer) -> None:
        self.store = store
        self.host = f"127.0.0.1:{server.server_port}"
        self.answers: dict[str, Answer] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.tar = Archive().of(Archive().file("etc/hi", os.urandom(300_000)))
        self.layer = gzip.compress(self.tar, mtime=0)
        self.config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [digest_of(self.tar)]},
            }
        ).encode()
        self.manifest: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.descriptor(self.config, CONFIG),
            "layers": [self.descriptor(self.layer, LAYER)],
        }
        self.blob(self.config)
        self.blob(self.layer)
        self.publish()

    def descriptor(self, data: bytes, media_type: str) -> dict[str, object]:
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    def blob(self, data: bytes, answer: Answer | None = None) -> str:
        path = f"/v2/a/blobs/{digest_of(data)}"
        self.answers[path] = answer or (lambda handler: handler.give(200, data))
        return path

    def publish(self, document: object = None, media_type: str = MANIFEST) -> None:
        data = json.dumps(self.manifest if document is None else document).encode()
        for name in ("1", digest_of(data)):
            self.answers[f"/v2/a/manifests/{name}"] = lambda handler: handler.give(
                200, data, Content_Type=media_type
            )

    def pull(self, name: str = "a:1", **options: object) -> Image:
        return pull_image(
            self.store, f"{self.host}/{name}", access=Access(tls_verify=False),
            registries=Registries(), **options,
        )  # fmt: skip

    def refused(self, kind: type[NewrootError], words: str, name: str = "a:1") -> NewrootError:
        """Pull; the error is that, and the store holds nothing."""
        with pytest.raises(kind, match=words) as caught:
            self.pull(name)
        assert () == self.store.list()
        images = Path(self.store.images)
        assert [] == [p.name for p in images.glob("blobs/sha256/*")]
        assert [] == [p.name for p in Path(self.store.layers).glob("*")]
        return caught.value


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    # The waits between attempts are what they are, only shorter.
    monkeypatch.setattr(client_http.Http.__init__, "__kwdefaults__",
                        {"environ": None, "first_delay_s": 0.001})  # fmt: skip
    handler = type("OfOneTest", (Handler,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    found = handler.registry = Registry(ImageStore(tmp_path / "root"), server)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def partials(registry: Registry) -> list[str]:
    return [n for n in os.listdir(registry.store.images) if n.startswith(".partial-")]


def test_the_honest_image_comes(registry):
    assert 1 == len(registry.pull().layers)


# ── manifests ────────────────────────────────────────────────────────────────────────────────


def test_a_manifest_without_an_end(registry):
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", MANIFEST)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while True:
            handler.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")

    registry.answers["/v2/a/manifests/1"] = endless
    registry.refused(RegistryError, "longer than 4194304 bytes")


def test_a_manifest_that_is_announced_as_huge_is_not_read(registry):
    def huge(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()

    registry.answers["/v2/a/manifests/1"] = huge
    registry.refused(RegistryError, "longer than 4194304 bytes")


def test_a_manifest_of_another_digest(registry):
    registry.answers[f"/v2/a/manifests/{digest_of(b'other')}"] = registry.answers[
        "/v2/a/manifests/1"
    ]
    registry.refused(DigestMismatch, "its digest is sha256:", f"a@{digest_of(b'other')}")


def test_a_manifest_that_is_not_what_its_header_says(registry):
    data = json.dumps(registry.manifest).encode()
    registry.answers["/v2/a/manifests/1"] = lambda handler: handler.give(
        200, data, Content_Type=MANIFEST, Docker_Content_Digest=digest_of(b"other")
    )
    registry.refused(DigestMismatch, "its digest is sha256:")


@pytest.mark.parametrize(
    ("document", "media_type", "words"),
    [
        ({"schemaVersion": 1, "fsLayers": []},
         "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1"),
        ({"schemaVersion": 2, "mediaType": MANIFEST, "manifests": [], "layers": []}, MANIFEST,
         "an index and a manifest at once"),
        ({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}, MANIFEST, "the registry calls"),
        ({"schemaVersion": 2}, "text/html", "neither an image's manifest nor an index"),
        ({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}, INDEX, "there is no image for"),
        (["what"], MANIFEST, "not a JSON object"),
    ],
)  # fmt: skip
def test_documents_that_are_no_image(registry, document, media_type, words):
    registry.publish(document, media_type)
    registry.refused(ImageError, words)


def test_an_index_that_names_itself_through_others(registry):
    inner = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    for _ in range(4):
        data = json.dumps(inner).encode()
        registry.publish(inner, INDEX)
        inner = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [registry.descriptor(data, INDEX)],
        }
    registry.publish(inner, INDEX)
    registry.refused(ImageError, "nested more than 2 deep")


def test_an_artifact_is_no_image(registry):
    registry.manifest["config"] = {
        **registry.descriptor(registry.config, "application/vnd.cncf.helm.config.v1+json")
    }
    registry.publish()
    registry.refused(ImageError, "no image but an artifact")


@pytest.mark.parametrize(
    ("media_type", "words"),
    [
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "forbids to distribute"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "forbids to distribute"),
        ("application/x-evil", "of a kind that newroot does not take"),
    ],
)
def test_layers_that_are_refused_with_a_reason(registry, media_type, words):
    registry.manifest["layers"] = [registry.descriptor(registry.layer, media_type)]
    registry.publish()
    registry.refused(ImageError, words)


def test_more_layers_than_an_overlay_takes(registry):
    registry.manifest["layers"] = [registry.descriptor(registry.layer, LAYER)] * 501
    registry.publish()
    registry.refused(ImageError, "an image of 501 layers")


def test_a_config_that_is_announced_as_huge(registry):
    registry.manifest["config"] = {
        **registry.descriptor(registry.config, CONFIG), "size": 1 << 40
    }  # fmt: skip
    registry.publish()
    registry.refused(ImageError, "more than 16777216")


def test_a_digest_that_would_be_a_path_is_no_digest(registry):
    registry.manifest["layers"] = [
        {"mediaType": LAYER, "digest": "sha256:../../../../etc/passwd", "size": 1}
    ]
    registry.publish()
    registry.refused(ImageError, "is not a sha256 digest")


# ── blobs ────────────────────────────────────────────────────────────────────────────────────


def test_a_layer_of_other_bytes_is_not_kept(registry):
    other = bytearray(registry.layer)
    other[len(other) // 2] ^= 1
    registry.blob(registry.layer, lambda handler: handler.give(200, bytes(other)))
    registry.refused(ImageError, "damaged gzip data|its digest is")
    assert [] == partials(registry)


def test_a_layer_that_is_good_gzip_of_other_bytes_is_not_kept(registry):
    other = gzip.compress(Archive().of(Archive().file("evil")), mtime=0)
    wanted = {**registry.descriptor(registry.layer, LAYER), "size": len(other)}
    registry.manifest["layers"] = [wanted]
    registry.publish()
    registry.blob(registry.layer, lambda handler: handler.give(200, other))
    registry.refused(DigestMismatch, "its digest is")
    assert [] == partials(registry)


def test_a_layer_of_another_diff_id_is_not_kept(registry):
    other = gzip.compress(Archive().of(Archive().file("evil")), mtime=0)
    registry.manifest["layers"] = [registry.descriptor(other, LAYER)]
    registry.blob(other)
    registry.publish()
    registry.refused(DigestMismatch, "its diff ID is")
    assert [] == partials(registry)


def test_a_layer_without_an_end(registry):
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(registry.layer)
        while True:
            handler.wfile.write(bytes(65536))

    registry.blob(registry.layer, endless)
    registry.refused(SizeMismatch, "were promised, more come")


def test_a_wrong_content_length(registry):
    registry.blob(registry.layer, lambda handler: handler.give(200, registry.layer + b"more"))
    registry.refused(SizeMismatch, "were promised")


def test_a_layer_that_ends_too_early_is_asked_for_again_and_then_given_up(registry):
    def short(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(registry.layer[:1000])

    path = registry.blob(registry.layer, short)
    registry.refused(RegistryError, "ends after 1000 of")
    assert 9 == len([1 for _, asked, _ in registry.seen if asked == path])


def test_a_layer_that_leaves_its_directory(registry):
    tar = Archive().of(Archive().file("../../evil"))
    layer = gzip.compress(tar, mtime=0)
    config = registry.config.replace(digest_of(registry.tar).encode(), digest_of(tar).encode())
    registry.blob(layer)
    registry.blob(config)
    registry.manifest |= {
        "layers": [registry.descriptor(layer, LAYER)],
        "config": registry.descriptor(config, CONFIG),
    }
    registry.publish()
    registry.refused(UnsafeEntry, "climbs above the root")


# ── broken connections ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_layer_is_taken_up_where_it_broke(registry, ranges):
    """With a registry that knows ranges, and with one that begins anew each time."""
    breaks = [1000, 50_000, 200_000]

    def answer(handler: Handler) -> None:
        said = handler.headers.get("Range", "bytes=0-")
        start = int(said.removeprefix("bytes=").partition("-")[0]) if ranges else 0
        data = registry.layer[start:]
        handler.send_response(206 if start else 200)
        if start:
            size = len(registry.layer)
            handler.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        end = breaks.pop(0) if breaks else len(registry.layer)
        handler.wfile.write(data[: max(end - start, 0)])
        handler.close_connection = True

    path = registry.blob(registry.layer, answer)
    image = registry.pull()

    assert 1 == len(image.layers)
    asked = [headers.get("Range") for _, at, headers in registry.seen if at == path]
    assert [None, "bytes=1000-", "bytes=50000-", "bytes=200000-"] == asked


def test_a_range_that_was_not_asked_for_is_refused(registry):
    def answer(handler: Handler) -> None:
        if handler.headers.get("Range") is None:
            handler.send_response(200)
            handler.send_header("Connection", "close")
            handler.end_headers()
            handler.wfile.write(registry.layer[:1000])
            return
        handler.give(206, registry.layer[500:], Content_Range="bytes 500-9/10")

    registry.blob(registry.layer, answer)
    registry.refused(RegistryError, "asked from byte 1000 on and sends 'bytes 500")


def test_a_registry_that_is_busy_is_asked_again_when_it_says(registry):
    answers = [503, 429, 502]
    honest = registry.answers["/v2/a/manifests/1"]

    def busy(handler: Handler) -> None:
        if answers:
            handler.give(answers.pop(0), Retry_After="0")
        else:
            honest(handler)

    registry.answers["/v2/a/manifests/1"] = busy
    assert registry.pull()


def test_a_registry_that_wants_to_be_left_alone_for_long(registry):
    registry.answers["/v2/a/manifests/1"] = lambda handler: handler.give(429, Retry_After="3600")
    error = registry.refused(RegistryError, "asks to come back in 3600 seconds")
    assert "logging in" in str(error.hint)
    manifests = [path for _, path, _ in registry.seen if "manifests" in path]
    assert 1 == len(manifests)


def test_retry_after_is_heeded(registry, monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(client_http.Http, "wait", lambda _, seconds: waited.append(seconds))
    answers = [503]
    honest = registry.answers["/v2/a/manifests/1"]
    registry.answers["/v2/a/manifests/1"] = lambda handler: (
        handler.give(answers.pop(), Retry_After="7") if answers else honest(handler)
    )
    assert registry.pull()
    assert [7.0] == waited


# ── redirects and tokens ─────────────────────────────────────────────────────────────────────


def test_redirects_in_a_circle(registry):
    here = "/v2/a/manifests/1"
    registry.answers[here] = lambda handler: handler.give(307, Location=here)
    registry.refused(RegistryError, "more than 10 redirects")


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://h/x", "gopher:"])
def test_a_redirect_to_what_is_no_web_page(registry, location):
    registry.answers["/v2/a/manifests/1"] = lambda handler: handler.give(302, Location=location)
    registry.refused(RegistryError, "it redirects to")


def test_a_password_does_not_follow_a_redirect_to_another_host(registry, tmp_path):
    (tmp_path / "auth.json").write_text(
        json.dumps({"auths": {registry.host: {"auth": "dXNlcjpwYXNz"}}})
    )
    elsewhere: list[dict[str, str]] = []

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            elsewhere.append(dict(self.headers))
            self.send_response(200)
            self.send_header("Content-Length", str(len(registry.layer)))
            self.end_headers()
            self.wfile.write(registry.layer)

        def log_message(self, *words: object) -> None:
            pass

    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=other.serve_forever, args=(0.02,))
    thread.start()
    honest = dict(registry.answers)

    def guard(answer: Answer) -> Answer:
        def guarded(handler: Handler) -> None:
            if handler.headers.get("Authorization") != "Basic dXNlcjpwYXNz":
                handler.give(401, WWW_Authenticate='Basic realm="x"')
            else:
                answer(handler)

        return guarded

    registry.answers = {path: guard(answer) for path, answer in honest.items()}
    registry.blob(
        registry.layer,
        guard(lambda h: h.give(307, Location=f"http://127.0.0.1:{other.server_port}/blob")),
    )
    try:
        assert registry.pull()
    finally:
        other.shutdown()
        thread.join()
        other.server_close()
    assert 1 == len(elsewhere)
    assert "authorization" not in {name.lower() for name in elsewhere[0]}


@pytest.mark.parametrize(
    ("challenge", "words"),
    [
        ('Bearer realm="file:///etc/passwd"', "it sends to 'file:///etc/passwd' for a token"),
        ('Bearer realm="/token"', "it sends to '/token' for a token"),
        ("Negotiate", "it wants to know who asks"),
        ("", "it wants to know who asks"),
        ("Bearer realm=" + '"' * 5000, "it sends to|it wants to know"),
    ],
)
def test_challenges_that_lead_nowhere(registry, challenge, words):
    registry.answers["/v2/a/manifests/1"] = lambda handler: handler.give(
        401, WWW_Authenticate=challenge
    )
    registry.refused(RegistryError, words)


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "", None, 7])
def test_a_token_that_is_none(registry, token):
    realm = f'Bearer realm="http://{registry.host}/token"'
    registry.answers["/v2/a/manifests/1"] = lambda handler: handler.give(
        401, WWW_Authenticate=realm
    )
    data = json.dumps({"token": token}).encode()
    registry.answers["/token"] = lambda handler: handler.give(200, data)
    registry.refused(RegistryError, "there is no token in the answer")


def test_a_token_that_never_suffices_is_asked_for_twice(registry):
    realm = f'Bearer realm="http://{registry.host}/token"'
    registry.answers["/v2/a/manifests/1"] = lambda handler: handler.give(
        401, WWW_Authenticate=realm
    )
    registry.answers["/token"] = lambda handler: handler.give(200, b'{"token":"never"}')
    registry.refused(RegistryError, "it wants to know who asks")
    assert len([1 for _, path, _ in registry.seen if path.startswith("/token")]) <= 3


def test_what_a_registry_says_is_shown_short_and_plain(registry):
    said = {"errors": [{"code": "DENIED", "message": "no\u001b[31m" + "x" * 10_000}] * 4}
    registry.answers["/v2/a/manifests/1"] = lambda handler: handler.give(
        403, json.dumps(said).encode()
    )
    error = registry.refused(RegistryError, "it is not allowed; no")
    assert len(str(error)) < 1200


# ── blobs and layers that do not belong together ─────────────────────────────────────────────


def test_a_config_that_names_another_image_s_layer_for_a_blob_is_refused(registry):
    """Both are here, whole and verified: each alone says nothing of the other."""
    registry.pull()
    other_tar = Archive().of(Archive().file("etc/passwd", b"another image's"))
    other = gzip.compress(other_tar, mtime=0)
    config = json.loads(registry.config)
    first_blob, first_tar = registry.layer, registry.tar

    def publish(layer: bytes, tar: bytes) -> None:
        config["rootfs"]["diff_ids"] = [digest_of(tar)]
        data = json.dumps(config).encode()
        registry.blob(data)
        registry.manifest["config"] = registry.descriptor(data, CONFIG)
        registry.manifest["layers"] = [registry.descriptor(layer, LAYER)]
        registry.publish()

    registry.blob(other)
    publish(other, other_tar)
    second = registry.pull()
    publish(first_blob, other_tar)
    with pytest.raises(DigestMismatch, match="its diff ID is"):
        registry.pull()

    assert second == registry.store.get(f"{registry.host}/a:1")
    publish(first_blob, first_tar)
    assert registry.pull().layers != second.layers
