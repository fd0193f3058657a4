"""``newroot login`` and ``logout``: who you are to a registry."""

from __future__ import annotations

from newroot.cli.flags import Flag, Parsed, Positional, Verb
from newroot.cli.pull import REGISTRY_FLAGS, read_access
from newroot.cli.verbs import VERBS
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.verbs import Context


def _login(parsed: Parsed, context: Context) -> int:
    from newroot.images.registry.login import DOCKER_HUB, log_in

    registry = parsed.positionals[0] if parsed.positionals else DOCKER_HUB
    username, password = _who(parsed)
    where = log_in(registry, username, password, access=read_access(parsed))
    if not where.startswith("docker-credential-"):
        _warn_of_file(where)
    print("Login Succeeded")
    return 0


def _who(parsed: Parsed) -> tuple[str, str]:
    import sys

    username, password = parsed.text("username"), parsed.text("password")
    if parsed.is_set("password_stdin"):
        if password is not None:
            raise UsageError("--password and --password-stdin do not go together")
        if username is None:
            raise UsageError("--password-stdin needs --username")
        password = sys.stdin.readline().rstrip("\r\n") if sys.stdin is not None else ""
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    if (username is None or password is None) and not at_terminal:
        raise UsageError(
            "user and password are not asked for without a terminal",
            hint="newroot login -u USER --password-stdin HOST < FILE",
        )
    if username is None:
        print("Username: ", end="", flush=True)
        username = sys.stdin.readline().strip()
    if password is None:
        from getpass import getpass

        password = getpass("Password: ")
    return username, password


def _warn_of_file(path: str) -> None:
    import sys

    print(
        f"newroot: warning: the password is kept unencrypted in {path}; a credential helper "
        "(credsStore in that file) would keep it better",
        file=sys.stderr,
    )


def _logout(parsed: Parsed, context: Context) -> int:
    from newroot.images.registry.client import Access
    from newroot.images.registry.login import DOCKER_HUB, check_host, log_out

    registry = parsed.positionals[0] if parsed.positionals else DOCKER_HUB
    host = check_host(registry)
    if log_out(registry, access=Access(authfile=parsed.text("authfile"))):
        print(f"Removed login credentials for {host}")
    else:
        print(f"Not logged in to {host}")
    return 0


_REGISTRY = (Positional(name="REGISTRY", optional=True),)

LOGIN = Verb(
    name="login",
    summary=VERBS["login"][1],
    run=_login,
    flags=(
        Flag(name="username", short="u", metavar="USER", help="The user's name"),
        Flag(name="password", short="p", metavar="PASSWORD", help="The password, for all to see"),
        Flag(name="password-stdin", help="Read the password from standard input"),
        *REGISTRY_FLAGS,
    ),
    positionals=_REGISTRY,
    details=(
        "The registry (docker.io, if none is given) is asked whether it knows the user. What "
        "is kept is kept where Docker keeps it, ~/.docker/config.json, by its credential helper "
        "if it names one; podman, skopeo and buildah find it there."
    ),
    examples=(("a password from a file", "newroot login -u me --password-stdin quay.io < secret"),),
)

LOGOUT = Verb(
    name="logout",
    summary=VERBS["logout"][1],
    run=_logout,
    flags=(REGISTRY_FLAGS[1],),
    positionals=_REGISTRY,
)
