"""Who we are to a registry, tried and remembered, or forgotten: ``login`` and ``logout``.

Docker's file is written unless another is named, through its credential helper where it names one;
podman, skopeo and buildah read it too.
"""

from __future__ import annotations

import binascii
import os

from newroot.errors import RegistryError, SyscallError, UsageError
from newroot.images.reference import parse
from newroot.images.registry.client import Access, Connections
from newroot.images.registry.credentials import (
    auth_files,
    call_helper,
    docker_config,
    find_credentials,
    helper_for,
    key_of,
    read_auth_file,
    table_of,
)
from newroot.images.registry.registries import Endpoint, load_registries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DOCKER_HUB = "docker.io"


def log_in(
    registry: str,
    username: str,
    password: str,
    *,
    access: Access | None = None,
) -> str:
    """Ask *registry* whether it knows the user, and remember; return where it is kept.

    Raises RegistryError when it does not know the user, UsageError for what cannot be.
    """
    if not username or not password:
        raise UsageError(f"log in to {registry}: a user and a password are needed")
    access = Access() if access is None else access
    host = check_host(registry)
    _try(host, username, password, access)
    path = _file(access)
    document = read_auth_file(path)
    helper = helper_for(document, host, path)
    if helper is not None:
        _store_in_helper(helper, host, username, password)
        return f"docker-credential-{helper}"
    auths = dict(table_of(document, "auths", path))
    joined = f"{username}:{password}".encode()
    auths[key_of(host)] = {"auth": binascii.b2a_base64(joined, newline=False).decode()}
    _write(path, {**document, "auths": auths})
    return path


def log_out(registry: str, *, access: Access | None = None) -> bool:
    """Forget who we are to *registry*; False when that was not known."""
    access = Access() if access is None else access
    host = check_host(registry)
    forgotten = False
    for path in dict.fromkeys((_file(access), *auth_files(access.authfile, os.environ))):
        document = read_auth_file(path)
        helper = helper_for(document, host, path)
        if helper is not None and find_credentials(host, authfile=path) is not None:
            code, out = call_helper(helper, "erase", key_of(host))
            if code != 0:
                raise RegistryError(
                    f"ask credential helper docker-credential-{helper} to forget {host}: "
                    f"{out.strip()[:200]}",
                    url=host,
                )
            forgotten = True
        auths = dict(table_of(document, "auths", path))
        known = {key_of(host), host, f"https://{host}"} & auths.keys()
        if known:
            for key in known:
                del auths[key]
            _write(path, {**document, "auths": auths})
            forgotten = True
    return forgotten


def check_host(registry: str) -> str:
    """*registry* as ``host[:port]``.  Raises UsageError."""
    host = registry
    for scheme in ("https://", "http://"):
        host = host.removeprefix(scheme)
    host = host.rstrip("/")
    if "/" in host:
        host = host.partition("/")[0]
    if host in ("", "index.docker.io", "registry-1.docker.io"):
        return DOCKER_HUB
    try:
        # With a dot or a port it is a host to the grammar; a bare word needs one to be.
        parse(f"{host}/a" if set(".:") & set(host) or host == "localhost" else f"{host}.x/a")
    except UsageError as error:
        raise UsageError(f"log in to {registry!r}: {error}", hint="give HOST[:PORT]") from None
    return host


def _try(host: str, username: str, password: str, access: Access) -> None:
    """GET /v2/, which answers 200 to whom it knows: distribution-spec, "Determining Support"."""
    registries = load_registries()
    known = Access(
        tls_verify=access.tls_verify, cert_dir=access.cert_dir, username=username, password=password
    )
    endpoint = Endpoint(host=host, path="", insecure=registries.is_insecure(host))
    with Connections(known) as connections:
        repository = connections.repository(endpoint)
        response = repository.ping()
        if response.status == 401:
            response.discard()
            raise RegistryError(
                f"log in to {host}: it does not know this user or password",
                url=response.url,
                status=401,
            )
        if response.status >= 400:
            raise repository.refusal(response, "log in")
        response.discard()


def _file(access: Access) -> str:
    return access.authfile or os.environ.get("REGISTRY_AUTH_FILE") or docker_config(os.environ)


def _store_in_helper(helper: str, host: str, username: str, password: str) -> None:
    from newroot.oci import json

    said = json.dumps({"ServerURL": key_of(host), "Username": username, "Secret": password})
    code, out = call_helper(helper, "store", said)
    if code != 0:
        raise RegistryError(
            f"ask credential helper docker-credential-{helper} to keep the password of {host}: "
            f"{out.strip()[:200] or f'it ended with {code}'}",
            url=host,
        )


def _write(path: str, document: dict[str, Any]) -> None:
    """Replace the file as a whole, readable for its owner alone."""
    import json
    import secrets

    # A link, to where dotfiles are kept, stays one.
    path = os.path.realpath(path)
    beside = f"{path}.{secrets.token_hex(8)}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=8)
            file.write("\n")
            file.flush()
            os.fsync(fd)
        os.rename(beside, path)
    except OSError as error:
        raise SyscallError(
            f"write {path}: {error.strerror}", errno=error.errno or 0, call="write", target=path
        ) from error
