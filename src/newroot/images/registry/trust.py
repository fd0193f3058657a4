"""Whom we believe to be a registry: the host's certificates, and ``certs.d``.

    /etc/containers/certs.d/HOST[:PORT]/   and $XDG_CONFIG_HOME/containers/certs.d/…
    /etc/docker/certs.d/HOST[:PORT]/

In them ``*.crt`` are certificate authorities, ``X.cert`` with ``X.key`` is a certificate of ours:
containers-certs.d(5).  ``--cert-dir`` stands for all of them.
"""

from __future__ import annotations

import os
import ssl

from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def tls_context(
    host: str,
    *,
    verify: bool = True,
    cert_dir: str | None = None,
    environ: Mapping[str, str] | None = None,
    system: str = "/etc",
) -> ssl.SSLContext:
    """The context for connections to *host* (``host[:port]``).  Raises UsageError."""
    environ = os.environ if environ is None else environ
    if verify:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    directories = (cert_dir,) if cert_dir else tuple(_directories(host, environ, system))
    for directory in directories:
        _load(context, directory, must_exist=directory == cert_dir)
    return context


def _directories(host: str, environ: Mapping[str, str], system: str) -> Iterator[str]:
    home = environ.get("HOME", "/root")
    yield f"{environ.get('XDG_CONFIG_HOME') or f'{home}/.config'}/containers/certs.d/{host}"
    yield f"{system}/containers/certs.d/{host}"
    yield f"{system}/docker/certs.d/{host}"


def _load(context: ssl.SSLContext, directory: str, *, must_exist: bool) -> None:
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError) as error:
        if must_exist:
            raise UsageError(f"read certificates in {directory}: {error.strerror}") from None
        return
    except OSError as error:
        raise UsageError(f"read certificates in {directory}: {error.strerror}") from None
    for name in names:
        path = f"{directory}/{name}"
        try:
            if name.endswith(".crt"):
                context.load_verify_locations(cafile=path)
            elif name.endswith(".cert"):
                key = f"{path[: -len('.cert')]}.key"
                if not os.path.exists(key):
                    raise UsageError(f"read {path}: its key {key} is not there")
                # An empty password, or OpenSSL asks for one at the terminal.
                context.load_cert_chain(path, key, password="")
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"read {path}: {error.strerror or error}") from None
