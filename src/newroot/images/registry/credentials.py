"""Who we are to a registry: the files of Docker and of the containers tools, and their helpers.

    $REGISTRY_AUTH_FILE or --authfile      alone, when given
    $XDG_RUNTIME_DIR/containers/auth.json  podman's (without the variable: /run/containers/<uid>)
    $XDG_CONFIG_HOME/containers/auth.json
    $DOCKER_CONFIG/config.json             Docker's (~/.docker/config.json), with credHelpers and
                                           credsStore

A key is a host, or in containers' files a namespace or a repository too; the longest that fits
wins: containers-auth.json(5).  A helper is a program ``docker-credential-NAME`` that is asked on
its standard input (github.com/docker/docker-credential-helpers).  Secrets are in no error message
and in no repr.
"""

from __future__ import annotations

import binascii
import os

from newroot.errors import RegistryError, UsageError
from newroot.oci import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

#: What Docker calls its own registry in its files.
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = ("docker.io", "index.docker.io", "registry-1.docker.io")
_FILES_ALONE = "containers-auth.json"
_IDENTITY_USER = "<token>"  # a helper's word for: the secret is a refresh token
_HELPER_OUTPUT_MAX = 1 << 20
_HELPER_TIMEOUT_S = 30
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


class Credentials:
    """A user's name and password, or a refresh token in their place."""

    __slots__ = ("identity_token", "password", "username")

    def __init__(self, username: str, password: str, identity_token: str = "") -> None:
        self.username = username
        self.password = password
        self.identity_token = identity_token

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, …)"

    def basic(self) -> str:
        """The value of an Authorization header: RFC 7617."""
        joined = f"{self.username}:{self.password}".encode()
        return f"Basic {binascii.b2a_base64(joined, newline=False).decode()}"


def find_credentials(
    host: str,
    path: str = "",
    *,
    authfile: str | None = None,
    helpers: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Credentials | None:
    """What is known for the repository *path* at *host*; None when nothing is.

    *helpers* are registries.conf's, asked in their order, in which ``containers-auth.json`` means
    the files.  Raises UsageError for a file that cannot be read.
    """
    environ = os.environ if environ is None else environ
    keys = tuple(_keys(host, path))
    for helper in helpers or (_FILES_ALONE,):
        if helper == _FILES_ALONE:
            found = _in_files(keys, authfile, environ)
        else:
            found = _ask_helper(helper, host)
        if found is not None:
            return found
    return None


def _keys(host: str, path: str) -> Iterator[str]:
    """What a repository may be listed under, the most exact first."""
    host = "docker.io" if host in _HUB_HOSTS else host
    parts = path.split("/") if path else []
    for count in range(len(parts), -1, -1):
        yield "/".join([host, *parts[:count]])


def _in_files(
    keys: Sequence[str], authfile: str | None, environ: Mapping[str, str]
) -> Credentials | None:
    for path in auth_files(authfile, environ):
        document = read_auth_file(path)
        found = _in_document(document, keys, path)
        if found is not None:
            return found
    return None


def auth_files(authfile: str | None, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The files to look into, in their order."""
    chosen = authfile or environ.get("REGISTRY_AUTH_FILE")
    if chosen:
        return (chosen,)
    home = environ.get("HOME", "/root")
    runtime = environ.get("XDG_RUNTIME_DIR")
    runtime = f"{runtime}/containers" if runtime else f"/run/containers/{os.geteuid()}"
    return (
        f"{runtime}/auth.json",
        f"{environ.get('XDG_CONFIG_HOME') or f'{home}/.config'}/containers/auth.json",
        docker_config(environ),
    )


def docker_config(environ: Mapping[str, str]) -> str:
    """Docker's file, which ``login`` writes unless told another."""
    home = environ.get("HOME", "/root")
    return f"{environ.get('DOCKER_CONFIG') or f'{home}/.docker'}/config.json"


def read_auth_file(path: str) -> dict[str, Any]:
    """One file as it is; empty when it is not there.  Raises UsageError."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"read {path}: {error.strerror}") from None
    if not data.strip():
        return {}
    document = json.loads(data, what=path)
    if not isinstance(document, dict):
        raise UsageError(f"read {path}: it is not a JSON object")
    return document


def table_of(document: dict[str, Any], key: str, path: str) -> dict[str, Any]:
    """The object at *key* of an auth file, empty when it is missing."""
    table = document.get(key)
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise UsageError(f"read {path}: {key} is not an object")
    return table


def _in_document(document: dict[str, Any], keys: Sequence[str], path: str) -> Credentials | None:
    host = keys[-1]
    auths = table_of(document, "auths", path)
    # Docker and podman ask a helper made for the host before they look into the file.
    helper = helper_for(document, host, path)
    if helper is not None:
        found = _ask_helper(helper, _server_of(host))
        if found is not None:
            return found
    listed = {_normal(key): value for key, value in auths.items()}
    for key in keys:
        if key in listed:
            found = _read_entry(listed[key], key, path)
            if found is not None:
                return found
    return None


def helper_for(document: dict[str, Any], host: str, path: str) -> str | None:
    """The helper that keeps the credentials of *host*, if one does."""
    helpers = table_of(document, "credHelpers", path)
    server = _server_of(host)
    helper = helpers.get(server) or helpers.get(host) or document.get("credsStore")
    return helper if isinstance(helper, str) and helper else None


def _server_of(host: str) -> str:
    return DOCKER_HUB_KEY if host in _HUB_HOSTS else host


def key_of(host: str) -> str:
    """Under what Docker lists *host*."""
    return _server_of(host)


def _normal(key: str) -> str:
    """``https://host/v1/`` and the like, as older Dockers wrote them, are the host."""
    for scheme in ("https://", "http://"):
        if key.startswith(scheme):
            key = key[len(scheme) :].partition("/")[0]
    host, slash, rest = key.rstrip("/").partition("/")
    return ("docker.io" if host in _HUB_HOSTS else host) + slash + rest


def _read_entry(entry: object, key: str, path: str) -> Credentials | None:
    if not isinstance(entry, dict):
        raise UsageError(f"read {path}: the entry of {key} is not an object")
    token = entry.get("identitytoken")
    token = token if isinstance(token, str) else ""
    auth = entry.get("auth")
    if isinstance(auth, str) and auth:
        try:
            username, colon, password = binascii.a2b_base64(auth).decode().partition(":")
        except (ValueError, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise UsageError(f"read {path}: auth of {key} is not base64 of user:password")
        return Credentials(username, password.rstrip("\0"), token)
    user, secret = entry.get("username"), entry.get("password")
    if isinstance(user, str) and isinstance(secret, str) and user:
        return Credentials(user, secret, token)
    return Credentials("", "", token) if token else None


# ── helpers ──────────────────────────────────────────────────────────────────────────────────


def call_helper(helper: str, verb: str, words: str) -> tuple[int, str]:
    """Run ``docker-credential-HELPER VERB`` with *words* on its input; its code and its output."""
    import subprocess

    if not helper or not _NAME.issuperset(helper):
        raise UsageError(f"ask credential helper {helper!r}: that is no name of a program")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, verb],
            input=words.encode(),
            capture_output=True,
            timeout=_HELPER_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise UsageError(
            f"ask credential helper {program}: there is no such program",
            hint="install it, or take it out of credHelpers, credsStore or credential-helpers",
        ) from None
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"ask credential helper {program}: no answer for {_HELPER_TIMEOUT_S} s"
        ) from None
    except OSError as error:
        raise UsageError(f"ask credential helper {program}: {error.strerror}") from None
    return done.returncode, done.stdout[:_HELPER_OUTPUT_MAX].decode(errors="replace")


def _ask_helper(helper: str, server: str) -> Credentials | None:
    code, out = call_helper(helper, "get", server)
    if code != 0:
        # docker-credential-helpers, credentials/error.go: it has none for this server
        if "credentials not found" in out:
            return None
        raise RegistryError(
            f"ask credential helper docker-credential-{helper} for {server}: "
            f"{out.strip()[:200] or f'it ended with {code}'}",
            url=server,
        )
    answer = json.loads(out, what=f"docker-credential-{helper}'s answer")
    if not isinstance(answer, dict):
        raise UsageError(f"read docker-credential-{helper}'s answer: it is not an object")
    username, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise UsageError(f"read docker-credential-{helper}'s answer: Username or Secret is missing")
    if not secret:
        return None
    if username == _IDENTITY_USER:
        return Credentials("", "", secret)
    return Credentials(username, secret)
