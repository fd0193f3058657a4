"""``newroot pull``: images from registries; and how ``newroot run`` gets one that is missing."""

from __future__ import annotations

from newroot.cli.flags import Flag, Parsed, Positional, Verb
from newroot.cli.layers_as import LAYERS_FLAG, opened_store
from newroot.cli.verbs import VERBS
from newroot.errors import NotFound, RegistryError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.verbs import Context
    from newroot.engine import Engine
    from newroot.images.registry.client import Access
    from newroot.images.store import Image


def _pull(parsed: Parsed, context: Context) -> int:
    from newroot.cli.transfer import Display
    from newroot.images.registry.pull import pull_image

    access = read_access(parsed)
    with opened_store(parsed, context) as store:
        for name in parsed.positionals:
            with Display(name, "Pulling", quiet=parsed.is_set("quiet")) as display:
                image = pull_image(
                    store, name, platform=parsed.text("platform"), access=access,
                    on_progress=display.on_progress,
                )  # fmt: skip
            _warn_of_platform(image, asked=parsed.text("platform") is not None)
            print(image.digest if parsed.is_set("quiet") else image.reference)
    return 0


def fetch_for_run(
    engine: Engine,
    name: str,
    *,
    platform: str | None,
    tls_verify: bool | None,
    quiet: bool,
    always: bool,
) -> str:
    """Bring the image *name* for ``newroot run``; return its name in the store."""
    from newroot.cli.transfer import Display
    from newroot.images.registry.pull import find_local

    if not always:
        # A short name may be here under the name that registries.conf gives it.
        local = find_local(engine.images, name)
        if local is not None:
            return local.reference
    try:
        with Display(name, "Pulling", quiet=quiet, to_stderr=True) as display:
            image = engine.pull(
                name, platform=platform, tls_verify=tls_verify, on_progress=display.on_progress
            )
    except (RegistryError, UsageError) as error:
        if always:
            raise
        missing = engine.images.not_found(name)
        raise NotFound(f"{missing}, and {error}", hint=error.hint or missing.hint) from error
    _warn_of_platform(image, asked=platform is not None)
    return image.reference


def _warn_of_platform(image: Image, *, asked: bool) -> None:
    import sys

    from newroot.images.platform import host_platform

    here = host_platform()
    found = image.config.get("architecture")
    if not asked and found not in (None, "", here.architecture):
        print(
            f"newroot: warning: {image.reference} is for linux/{found}, this machine is {here}",
            file=sys.stderr,
        )


def read_access(parsed: Parsed) -> Access:
    """How to reach registries, by the flags that ``pull``, ``push`` and ``login`` share."""
    from newroot.images.registry.client import Access

    username = password = None
    creds = parsed.text("creds") if "creds" in parsed.flags else None
    if creds is not None:
        username, colon, password = creds.partition(":")
        if not username or not colon:
            raise UsageError("--creds needs USER:PASSWORD")
    verify = parsed.text("tls_verify")
    return Access(
        tls_verify=None if verify is None else verify == "true",
        authfile=parsed.text("authfile"),
        cert_dir=parsed.text("cert_dir"),
        username=username,
        password=password,
    )


REGISTRY_FLAGS = (
    Flag(
        name="tls-verify",
        metavar="true|false",
        choices=("true", "false"),
        help="Want TLS of a registry that can be trusted (true), or take what comes, "
        "plain HTTP too (false); registries.conf says it per registry",
    ),
    Flag(
        name="authfile",
        metavar="FILE",
        completes="file",
        help="Where users and passwords are kept ($REGISTRY_AUTH_FILE)",
    ),
    Flag(
        name="cert-dir",
        metavar="DIR",
        completes="directory",
        help="Trust the *.crt in DIR, and show its *.cert with *.key",
    ),
)
CREDS_FLAG = Flag(name="creds", metavar="USER:PASSWORD", help="Who you are to the registry")

PULL = Verb(
    name="pull",
    summary=VERBS["pull"][1],
    run=_pull,
    flags=(
        Flag(
            name="platform",
            metavar="OS/ARCH[/VARIANT]",
            help="The platform to fetch, if not this machine's",
        ),
        Flag(name="quiet", short="q", help="Print the digest alone"),
        LAYERS_FLAG,
        CREDS_FLAG,
        *REGISTRY_FLAGS,
    ),
    positionals=(Positional(name="IMAGE", repeat=True),),
    details=(
        "Layers come several at a time, are verified as they come, and unpacked at once. What an "
        "interrupted pull left is gone on from. An image that has not changed costs one request. "
        "Short names, mirrors and insecure registries are as in registries.conf (docker.io, "
        "where it is silent); users and passwords as docker login and podman login leave them."
    ),
    examples=(
        ("from Docker Hub", "newroot pull alpine"),
        ("a registry of this machine, without TLS",
         "newroot pull --tls-verify=false localhost:5000/a/b:1"),
        ("another platform's", "newroot pull --platform linux/arm64 quay.io/a/b"),
    ),
)  # fmt: skip
