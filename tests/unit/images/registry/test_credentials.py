"""Who we are: Docker's files, containers' files, and what registries ask."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import UsageError
from newroot.images.registry.auth import parse_challenges
from newroot.images.registry.credentials import Credentials, find_credentials


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def find(path: Path, host: str, repository: str = "") -> str | None:
    found = find_credentials(host, repository, authfile=str(path), environ={})
    return None if found is None else f"{found.username}:{found.password}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "auth.json"


def test_the_longest_key_that_fits_wins(file):
    keys = ["a.io", "a.io/x", "a.io/x/y", "a.io:5000"]
    file.write_text(json.dumps({"auths": {key: auth(f"u:{key}") for key in keys}}))

    assert "u:a.io" == find(file, "a.io")
    assert "u:a.io" == find(file, "a.io", "xx")
    assert "u:a.io/x" == find(file, "a.io", "x/z")
    assert "u:a.io/x/y" == find(file, "a.io", "x/y")
    assert "u:a.io:5000" == find(file, "a.io:5000", "x")
    assert find(file, "b.io") is None


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"]
)
def test_docker_hub_has_many_names(file, key):
    file.write_text(json.dumps({"auths": {key: auth("me:secret")}}))

    assert "me:secret" == find(file, "docker.io", "library/alpine")


@pytest.mark.parametrize("key", ["https://a.io", "https://a.io/v2/", "http://a.io/v1/"])
def test_old_keys_with_a_scheme_are_hosts(file, key):
    file.write_text(json.dumps({"auths": {key: auth("me:se:cret")}}))

    assert "me:se:cret" == find(file, "a.io", "x")


def test_the_files_are_read_in_podman_s_order(tmp_path):
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    files = ["run/containers/auth.json", ".config/containers/auth.json", ".docker/config.json"]
    for name in reversed(files):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"auths": {"a.io": auth(f"{name}:x")}}))
        found = find_credentials("a.io", environ=environ)
        assert found is not None
        assert name == found.username


def test_an_identity_token_stands_for_the_password(file):
    entry = {**auth("00000000-0000-0000-0000-000000000000:"), "identitytoken": "refresh"}
    file.write_text(json.dumps({"auths": {"a.io": entry}}))
    found = find_credentials("a.io", authfile=str(file), environ={})

    assert found is not None
    assert "refresh" == found.identity_token


def test_a_secret_is_in_no_repr():
    assert "secret" not in repr(Credentials("me", "secret", "secret"))


@pytest.mark.parametrize(
    "text",
    ["[]", '{"auths": []}', '{"auths": {"a.io": 1}}', '{"auths": {"a.io": {"auth": "!"}}}',
     '{"auths": {"a.io": {"auth": "bm9jb2xvbg=="}}}', "{", '{"credHelpers": []}'],
)  # fmt: skip
def test_a_damaged_file_is_named(file, text):
    file.write_text(text)
    with pytest.raises(UsageError, match=r"auth\.json"):
        find(file, "a.io")


@pytest.mark.parametrize("helper", ["../evil", "a/b", "a b", "$(x)"])
def test_a_helper_is_a_name_and_no_path(file, helper):
    file.write_text(json.dumps({"credsStore": helper}))
    with pytest.raises(UsageError, match="no name of a program"):
        find(file, "a.io")


@given(
    st.dictionaries(
        st.sampled_from(["auths", "credHelpers", "x"]),
        st.recursive(st.none() | st.text(max_size=5), lambda v: st.dictionaries(
            st.sampled_from(["a.io", "auth", "identitytoken", "username", "password"]), v,
            max_size=3), max_leaves=6),
    )
)  # fmt: skip
def test_any_file_is_read_or_refused(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("auth") / "auth.json"
    document.pop("credHelpers", None)
    path.write_text(json.dumps(document))
    try:
        find(path, "a.io", "x")
    except UsageError:
        pass


# ── challenges ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"',
            [("bearer",
              {"realm": "https://a/t", "service": "s", "scope": "repository:a:pull,push"})],
        ),
        ('bearer REALM = "a\\"b" , service=s', [("bearer", {"realm": 'a"b', "service": "s"})]),
        ('Negotiate, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Digest a=b, c="d", Bearer realm="r"',
         [("digest", {"a": "b", "c": "d"}), ("bearer", {"realm": "r"})]),
        ("", []),
        ('Bearer realm="never ends', [("bearer", {})]),
    ],
)  # fmt: skip
def test_challenges_are_read(header, expected):
    found = [(each.scheme, each.parameters) for each in parse_challenges([header])]
    if "never ends" in header:
        assert "bearer" == found[0][0]
        return
    assert expected == found


@given(st.lists(st.text(alphabet='Bearer Bsic="\\,; \t0aé', max_size=80), max_size=3))
def test_any_challenge_is_read(values):
    for challenge in parse_challenges(values):
        assert challenge.scheme == challenge.scheme.lower()
