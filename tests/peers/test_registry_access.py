"""Registries that want to know who asks, or to be known: users, tokens, TLS, mirrors, proxies."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures.trees import run
from registries.server import (
    PASSWORD,
    USER,
    Authority,
    Server,
    TokenService,
    free_port,
    htpasswd,
    serve,
)

import newroot
from newroot.engine import Engine
from newroot.errors import RegistryError, UsageError
from newroot.images.bootstrap import bootstrap_busybox
from newroot.images.store import ImageStore
from newroot.testing.needs import needs

pytestmark = [needs("root", "skopeo", "docker-registry", "openssl"), pytest.mark.timeout(200)]
SOURCE = str(Path(newroot.__file__).parent.parent)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    """A store with a busybox."""
    store = ImageStore(tmp_path_factory.mktemp("made"))
    bootstrap_busybox(store)
    return store


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own: no credentials, no registries.conf of the host's."""
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "runtime").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    return home


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "root", run_root=str(tmp_path / "run")) as engine:
        yield engine


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, made: ImageStore) -> Iterator[Server]:
    """A registry that wants a user and a password."""
    directory = tmp_path_factory.mktemp("guarded")
    with serve(directory, auth=htpasswd(directory)) as server:
        push(made, f"{server.host}/a/busybox:1")
        yield server


def push(store: ImageStore, name: str) -> None:
    run(
        "skopeo", "copy", "-q", "--dest-tls-verify=false", "--dest-creds", f"{USER}:{PASSWORD}",
        f"oci:{store.images}:docker.io/library/busybox:latest", f"docker://{name}",
    )  # fmt: skip


def command(root: Path, *words: str, input: str | None = None):
    return subprocess.run(
        [sys.executable, "-m", "newroot.cli.main", "--root", str(root), *words],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": SOURCE}, check=False,
        input=input,
    )  # fmt: skip


# ── users ────────────────────────────────────────────────────────────────────────────────────


def test_without_a_password_the_error_says_login(guarded, engine):
    with pytest.raises(RegistryError, match="it wants to know who asks") as caught:
        engine.pull(f"{guarded.host}/a/busybox:1", tls_verify=False)

    assert (401, f"newroot login {guarded.host}") == (caught.value.status, caught.value.hint)


def test_a_password_that_is_given_is_used(guarded, engine):
    name = f"{guarded.host}/a/busybox:1"
    assert engine.pull(name, tls_verify=False, username=USER, password=PASSWORD).reference == name
    with pytest.raises(RegistryError, match="does not accept our user and password"):
        engine.pull(f"{guarded.host}/a/other:1", tls_verify=False, username=USER, password="no")


@pytest.mark.parametrize("key", ["", "/a", "/a/busybox"])
def test_podman_s_keys_of_host_namespace_and_repository(guarded, engine, tmp_path, key):
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    path = tmp_path / "auth.json"
    wrong = base64.b64encode(b"somebody:else").decode()
    auths = {f"{guarded.host}{key}": {"auth": auth}, f"{guarded.host}/b": {"auth": wrong}}
    path.write_text(json.dumps({"auths": auths}))

    assert engine.pull(f"{guarded.host}/a/busybox:1", tls_verify=False, authfile=str(path))


def test_login_is_remembered_for_us_and_skopeo_and_logout_forgets(guarded, home, tmp_path):
    root = tmp_path / "root"
    wrong = command(
        root, "login", "--tls-verify=false", "-u", USER, "--password-stdin", guarded.host,
        input="wrong\n",
    )  # fmt: skip
    assert 125 == wrong.returncode
    assert "does not know this user or password" in wrong.stderr
    config = home / ".docker/config.json"
    assert not config.exists()
    good = command(
        root, "login", "--tls-verify=false", "-u", USER, "--password-stdin", guarded.host,
        input=f"{PASSWORD}\n",
    )  # fmt: skip
    assert (0, "Login Succeeded\n") == (good.returncode, good.stdout), good.stderr
    assert 0o600 == config.stat().st_mode & 0o777
    name = f"{guarded.host}/a/busybox:1"
    assert 0 == command(root, "pull", "--tls-verify=false", name).returncode
    run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}")
    run("skopeo", "login", "--get-login", guarded.host)
    gone = command(root, "logout", guarded.host)
    assert f"Removed login credentials for {guarded.host}\n" == gone.stdout, gone.stderr
    assert {"auths": {}} == json.loads(config.read_text())
    assert "Not logged in" in command(root, "logout", guarded.host).stdout


def test_a_login_keeps_what_else_is_in_the_file(guarded, home, tmp_path):
    config = home / ".docker/config.json"
    config.parent.mkdir()
    before = {"auths": {"other.example": {"auth": "YTpi"}}, "psFormat": "x"}
    config.write_text(json.dumps(before))
    done = command(
        tmp_path, "login", "--tls-verify=false", "-u", USER, "-p", PASSWORD, guarded.host
    )
    assert 0 == done.returncode, done.stderr
    after = json.loads(config.read_text())
    assert ("x", "YTpi") == (after["psFormat"], after["auths"]["other.example"]["auth"])
    assert guarded.host in after["auths"]


HELPER = """#!/bin/sh
# A credential helper: keeps one credential in a file.
case "$1" in
store) cat > "$HELPER_FILE" ;;
get) read -r server
  test -f "$HELPER_FILE" && cat "$HELPER_FILE" && exit 0
  echo "credentials not found in native keychain"; exit 1 ;;
erase) rm -f "$HELPER_FILE" ;;
esac
"""


@pytest.mark.parametrize("word", ["credsStore", "credHelpers"])
def test_a_credential_helper_keeps_the_password(guarded, home, tmp_path, monkeypatch, word):
    helper = tmp_path / "bin/docker-credential-test"
    helper.parent.mkdir()
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HELPER_FILE", str(tmp_path / "kept"))
    config = home / ".docker/config.json"
    config.parent.mkdir()
    config.write_text(
        json.dumps({word: "test" if word == "credsStore" else {guarded.host: "test"}})
    )
    done = command(
        tmp_path, "login", "--tls-verify=false", "-u", USER, "-p", PASSWORD, guarded.host
    )
    assert 0 == done.returncode, done.stderr
    assert PASSWORD not in config.read_text()
    kept = json.loads((tmp_path / "kept").read_text())
    assert {"ServerURL": guarded.host, "Username": USER, "Secret": PASSWORD} == kept
    pulled = command(tmp_path, "pull", "--tls-verify=false", f"{guarded.host}/a/busybox:1")
    assert 0 == pulled.returncode, pulled.stderr
    command(tmp_path, "logout", guarded.host)
    assert not (tmp_path / "kept").exists()


# ── tokens ───────────────────────────────────────────────────────────────────────────────────


def test_a_token_is_fetched_once_for_a_pull_and_with_rights_for_a_push(made, engine, tmp_path):
    with TokenService(tmp_path / "ca") as service:
        with serve(tmp_path / "registry", auth=service.settings()) as server:
            push(made, f"{server.host}/a/busybox:1")
            service.asked.clear()
            name = f"{server.host}/a/busybox:1"
            engine.pull(name, tls_verify=False)
            assert [["repository:a/busybox:pull"]] == [each["scope"] for each in service.asked]
            assert "account" not in service.asked[0]
            with pytest.raises(RegistryError, match="401") as caught:
                engine.push(name, f"{server.host}/b/busybox:1", tls_verify=False)
            assert caught.value.hint == f"newroot login {server.host}"
            service.asked.clear()
            pushed = engine.push(
                name, f"{server.host}/b/busybox:1", tls_verify=False,
                username=USER, password=PASSWORD,
            )  # fmt: skip
            assert engine.images.get(name).digest == pushed.digest
            scopes = {scope for each in service.asked for scope in each["scope"]}
            assert scopes == {"repository:b/busybox:pull,push", "repository:a/busybox:pull"}
            with pytest.raises(RegistryError, match="does not know this user or password"):
                engine.pull(f"{server.host}/c:1", tls_verify=False, username=USER, password="wrong")


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────


def test_tls_wants_an_authority_that_is_trusted(made, engine, tmp_path, home):
    authority = Authority(tmp_path / "ca")
    with serve(tmp_path / "registry", tls=authority) as server:
        push(made, f"{server.host}/busybox:1")
        name = f"{server.host}/busybox:1"
        with pytest.raises(RegistryError, match="its certificate is not to be trusted") as caught:
            engine.pull(name)
        assert "certs.d" in str(caught.value.hint)
        engine.pull(name, cert_dir=_certs(tmp_path / "dir", authority))
        engine.remove_image(name)
        _certs(home / f".config/containers/certs.d/{server.host}", authority)
        engine.pull(name)
        engine.remove_image(name)
        (home / f".config/containers/certs.d/{server.host}/ca.crt").unlink()
        engine.pull(name, tls_verify=False)


def _certs(directory: Path, authority: Authority) -> str:
    directory.mkdir(parents=True)
    (directory / "ca.crt").write_bytes(authority.path.read_bytes())
    return str(directory)


def test_plain_http_is_used_only_where_it_is_asked_for(made, engine, tmp_path):
    with serve(tmp_path / "registry") as server:
        push(made, f"{server.host}/busybox:1")
        with pytest.raises(RegistryError, match="WRONG_VERSION_NUMBER") as caught:
            engine.pull(f"{server.host}/busybox:1")
        assert "--tls-verify=false" in str(caught.value.hint)
        assert [] == [r for r in server.requests() if "newroot" in r]
        _conf(tmp_path, f'[[registry]]\nlocation="{server.host}"\ninsecure=true\n')
        assert engine.pull(f"{server.host}/busybox:1")


def _conf(tmp_path: Path, text: str) -> None:
    (tmp_path / "registries.conf").write_text(text)


# ── where a name leads ───────────────────────────────────────────────────────────────────────


def test_a_mirror_is_asked_first_and_the_registry_when_it_has_not(made, engine, tmp_path):
    with serve(tmp_path / "mirror") as mirror, serve(tmp_path / "origin") as origin:
        push(made, f"{mirror.host}/copy/one:1")
        push(made, f"{origin.host}/lib/one:1")
        push(made, f"{origin.host}/lib/two:1")
        _conf(
            tmp_path,
            f'[[registry]]\nprefix="example.test/x"\nlocation="{origin.host}/lib"\ninsecure=true\n'
            f'[[registry.mirror]]\nlocation="{mirror.host}/copy"\ninsecure=true\n'
            f'[[registry.mirror]]\nlocation="127.0.0.1:{free_port()}"\n',
        )
        asked = len(origin.requests())
        one = engine.pull("example.test/x/one:1")
        assert "example.test/x/one:1" == one.reference
        assert asked == len(origin.requests())
        assert "example.test/x/two:1" == engine.pull("example.test/x/two:1").reference
        assert asked < len(origin.requests())
        with pytest.raises(RegistryError, match="none of 3 places has it"):
            engine.pull("example.test/x/three:1")


def test_a_short_name_is_searched_for_and_an_alias_goes_before(made, engine, tmp_path):
    with serve(tmp_path / "registry") as server:
        push(made, f"{server.host}/short:1")
        push(made, f"{server.host}/full/name:1")
        where = f'[[registry]]\nlocation="{server.host}"\ninsecure=true\n'
        search = f'unqualified-search-registries=["127.0.0.1:{free_port()}", "{server.host}"]\n'
        aliases = f'[aliases]\n"nick"="{server.host}/full/name"\n'
        _conf(tmp_path, search + where + aliases)
        assert f"{server.host}/short:1" == engine.pull("short:1").reference
        assert f"{server.host}/full/name:1" == engine.pull("nick:1").reference
        _conf(tmp_path, 'short-name-mode="enforcing"\n' + search + where)
        with pytest.raises(UsageError, match="says not to guess") as caught:
            engine.pull("short:1")
        assert f"{server.host}/short:1" in str(caught.value.hint)
        _conf(tmp_path, where.replace("insecure", "blocked"))
        with pytest.raises(UsageError, match="blocks"):
            engine.pull(f"{server.host}/short:1")


def test_a_run_finds_what_a_short_name_brought_without_asking_again(made, tmp_path):
    with serve(tmp_path / "registry") as server:
        push(made, f"{server.host}/short:1")
        _conf(
            tmp_path,
            f'unqualified-search-registries=["{server.host}"]\n'
            f'[[registry]]\nlocation="{server.host}"\ninsecure=true\n',
        )
        root = tmp_path / "root"
        first = command(root, "run", "-q", "--rm", "short:1", "echo", "hi")
        assert ("hi\n", 0) == (first.stdout, first.returncode), first.stderr
        asked = len(server.requests())
        assert "hi\n" == command(root, "run", "-q", "--rm", "short:1", "echo", "hi").stdout
        assert asked == len(server.requests())
