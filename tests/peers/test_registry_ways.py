"""On the way to a registry: proxies, certificates of our own, and tokens that end meanwhile."""

from __future__ import annotations

import contextlib
import io
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures.trees import run
from registries import proxy as proxy_module
from registries.server import Authority, Server, TokenService, serve

from newroot.engine import Engine
from newroot.errors import RegistryError
from newroot.images.flat import import_tar
from newroot.images.registry.progress import UNPACKING
from newroot.testing.archives import Archive
from newroot.testing.needs import needs

pytestmark = [needs("root", "skopeo", "docker-registry", "openssl"), pytest.mark.timeout(200)]

NAME = "registry.test:5000"  # .test is nobody's: RFC 6761
LAYERS = 6


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the host's: no credentials, no proxies, no certificates."""
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    return tmp_path


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "root", run_root=str(tmp_path / "run")) as engine:
        yield engine


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> str:
    """skopeo's word for an image of some layers."""
    made = Archive()
    with Engine(tmp_path_factory.mktemp("made")) as engine:
        import_tar(engine.images, io.BytesIO(made.of(made.file("0", b"0" * 9000))), "it")
        storage = engine.storage
        storage.prepare()
        for number in range(1, LAYERS):
            upper = Path(storage.directory(f"{number:064}"), "upper")
            upper.mkdir(parents=True)
            (upper / str(number)).write_bytes(os.urandom(9000))
            lower = list(engine.images.get("it").layers)
            record = {"id": f"{number:064}", "lower": lower, "created": 1.0, "source": "it"}
            storage.write(f"{number:064}", "record.json", {**record, "command": []})
            engine.commit(f"{number:064}", "it")
        return f"oci:{engine.images.images}:docker.io/library/it:latest"


def push(layout: str, server: Server, *words: str) -> None:
    run("skopeo", "copy", "-q", *words, layout, f"docker://{server.host}/a/it:1")


# ── proxies ──────────────────────────────────────────────────────────────────────────────────


class Proxy:
    """A proxy that runs."""

    def __init__(self, port: int, log: Path) -> None:
        self.address = f"127.0.0.1:{port}"
        self._log = log

    @property
    def asked(self) -> list[str]:
        return self._log.read_text().splitlines()


@contextlib.contextmanager
def proxy(directory: Path, server: Server, *words: str) -> Iterator[Proxy]:
    log = directory / "proxy-log"
    log.touch()
    process = subprocess.Popen(
        [sys.executable, proxy_module.__file__, str(log), f"{NAME}={server.host}", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        yield Proxy(int(process.stdout.readline()), log)
        process.communicate()


@pytest.fixture
def registry(tmp_path: Path, layout: str) -> Iterator[Server]:
    with serve(tmp_path / "registry") as server:
        push(layout, server, "--dest-tls-verify=false")
        yield server


@pytest.mark.parametrize("spelled", [str.upper, str.lower])
def test_plain_http_goes_through_the_proxy(registry, engine, tmp_path, monkeypatch, spelled):
    with proxy(tmp_path, registry) as way:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(spelled(name), f"http://{way.address}")
        image = engine.pull(f"{NAME}/a/it:1", tls_verify=False)
        asked = way.asked

    assert LAYERS == len(image.layers)
    assert f"GET http://{NAME}/v2/a/it/manifests/1" in asked
    assert LAYERS + 1 == sum("/blobs/" in line for line in asked)


def test_tls_goes_through_a_tunnel_that_the_proxy_cannot_look_into(
    layout, engine, tmp_path, monkeypatch
):
    authority = Authority(tmp_path / "ca")
    with (
        serve(tmp_path / "registry", tls=authority, name="registry.test") as server,
        proxy(tmp_path, server) as way,
    ):
        push(layout, server, "--dest-tls-verify=false")
        monkeypatch.setenv("HTTPS_PROXY", way.address)
        engine.pull(f"{NAME}/a/it:1", cert_dir=certificates(tmp_path / "certs", authority))
        asked = way.asked

    assert {f"CONNECT {NAME}"} == set(asked)


@pytest.mark.parametrize("without", [NAME, "registry.test", ".test", "other.example,test", "*"])
def test_no_proxy_names_who_is_asked_directly(registry, engine, tmp_path, monkeypatch, without):
    with proxy(tmp_path, registry) as way:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{way.address}")
        monkeypatch.setenv("HTTP_PROXY", f"http://{way.address}")
        monkeypatch.setenv("NO_PROXY", without)
        with pytest.raises(RegistryError, match="there is no such host"):
            engine.pull(f"{NAME}/a/it:1", tls_verify=False)
        asked = way.asked

    assert [] == asked


def test_a_proxy_that_wants_a_password_gets_the_one_of_its_url(
    registry, engine, tmp_path, monkeypatch
):
    with proxy(tmp_path, registry, "me:it's @secret") as way:
        for password, works in (("wrong", False), ("it%27s%20%40secret", True)):
            for name in ("HTTP_PROXY", "HTTPS_PROXY"):
                monkeypatch.setenv(name, f"http://me:{password}@{way.address}")
            if works:
                assert engine.pull(f"{NAME}/a/it:1", tls_verify=False)
            else:
                with pytest.raises(RegistryError, match="407"):
                    engine.pull(f"{NAME}/a/it:1", tls_verify=False)


def test_a_proxy_that_is_not_there_is_named(engine, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(RegistryError, match="refused") as caught:
        engine.pull(f"{NAME}/a/it:1")

    assert "https_proxy" in str(caught.value.hint)


# ── who we are, by a certificate ─────────────────────────────────────────────────────────────


def certificates(directory: Path, authority: Authority, *, own: bool = False) -> str:
    """A directory as containers-certs.d(5) has them."""
    directory.mkdir(parents=True)
    (directory / "ca.crt").write_bytes(authority.path.read_bytes())
    if own:
        certificate, key = authority.certificate("client", "client.test")
        (directory / "client.cert").write_bytes(Path(certificate).read_bytes())
        (directory / "client.key").write_bytes(Path(key).read_bytes())
    return str(directory)


def test_a_registry_that_wants_a_certificate_is_shown_ours(layout, engine, tmp_path):
    authority = Authority(tmp_path / "ca")
    shown = certificates(tmp_path / "own", authority, own=True)
    with serve(tmp_path / "registry", tls=authority, wants_certificates=True) as server:
        push(layout, server, "--dest-cert-dir", shown)
        name = f"{server.host}/a/it:1"
        with pytest.raises(RegistryError, match=r"(?i)certificate"):
            engine.pull(name, cert_dir=certificates(tmp_path / "none", authority))
        stranger = certificates(tmp_path / "stranger", Authority(tmp_path / "other"), own=True)
        Path(stranger, "ca.crt").write_bytes(authority.path.read_bytes())
        with pytest.raises(RegistryError, match=r"(?i)certificate|unknown ca"):
            engine.pull(name, cert_dir=stranger)
        assert LAYERS == len(engine.pull(name, cert_dir=shown).layers)
        pushed = engine.push(name, f"{server.host}/b/it:1", cert_dir=shown)
        Path(tmp_path / ".config/containers/certs.d").mkdir(parents=True)
        Path(tmp_path / f".config/containers/certs.d/{server.host}").symlink_to(shown)
        engine.remove_image(name)

        assert pushed.digest == engine.pull(f"{server.host}/b/it:1").digest


# ── tokens that end ──────────────────────────────────────────────────────────────────────────

#: A registry takes a token for so long after its end: distribution, registry/auth/token, Leeway.
LEEWAY_S = 60


def test_a_token_that_ends_in_the_middle_of_a_pull_is_renewed(layout, engine, tmp_path):
    lasts_s = 3
    service = TokenService(tmp_path / "ca")
    with service, serve(tmp_path / "registry", auth=service.settings()) as server:
        push(layout, server, "--dest-tls-verify=false", "--dest-creds", "alice:secret")
        service.lifetime_s = lasts_s - LEEWAY_S
        service.asked.clear()
        waited = threading.Event()

        def hold_until_it_ends(progress) -> None:
            # Whoever tells of progress waits here, and with it all others.
            if progress.phase == UNPACKING and not waited.is_set():
                while (left_s := service.last_end + LEEWAY_S + 1 - time.time()) > 0:
                    select.select((), (), (), left_s)  # the clock itself is waited for
                waited.set()

        image = engine.pull(
            f"{server.host}/a/it:1", tls_verify=False, on_progress=hold_until_it_ends
        )
        refused = [line for line in server.log.read_text().splitlines() if '" 401 ' in line]

    assert waited.is_set()
    assert LAYERS == len(image.layers)
    assert 2 == len(service.asked), "one token before, and one after"
    assert any("/blobs/" in line for line in refused), "the registry refused the old one"
