"""Environment variables as -e and --env-file give them.

``NAME=VALUE`` sets, ``NAME`` alone takes the value from the caller's environment and, when it has
none, takes the variable away.  Later ones win over earlier ones, -e over --env-file.  A file has
one variable a line, no quoting, no continuation, ``#`` at the start for a comment: Docker's format
(docker/cli, opts/file.go), and nobody else's.
"""

from __future__ import annotations

from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: name -> value; None: to be taken out of the image's environment
Variables = dict[str, "str | None"]


def read_environment(
    env_files: Iterable[str], env: Iterable[str], host: Mapping[str, str]
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """What to set and what to unset.  *host* is the caller's environment."""
    variables: Variables = {}
    for path in env_files:
        variables.update(parse_env_file(_read(path), host, path=path))
    for word in env:
        name, value = parse_env(word, host)
        variables[name] = value
    return (
        tuple((name, value) for name, value in variables.items() if value is not None),
        tuple(name for name, value in variables.items() if value is None),
    )


def parse_env(word: str, host: Mapping[str, str]) -> tuple[str, str | None]:
    """Read one ``NAME=VALUE`` or ``NAME``."""
    name, has_value, value = word.partition("=")
    if not name or "\0" in word:
        raise UsageError(f"invalid environment variable {word!r}", hint="NAME=VALUE or NAME")
    return name, value if has_value else host.get(name)


def parse_env_file(content: bytes, host: Mapping[str, str], *, path: str = "") -> Variables:
    """Read a file's *content*; *path* is for the messages."""
    variables: Variables = {}
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, raw in enumerate(lines, start=1):
        try:
            line = raw.removesuffix(b"\r").decode().lstrip()
        except UnicodeDecodeError:
            raise UsageError(f"{path}:{number}: not UTF-8") from None
        if not line or line.startswith("#"):
            continue
        name, has_value, value = line.partition("=")
        if not has_value:
            name = name.rstrip()
        if not name:
            raise UsageError(f"{path}:{number}: no name before the equals sign")
        if any(map(str.isspace, name)) or "\0" in line:
            raise UsageError(f"{path}:{number}: the name {name!r} has white space in it")
        if has_value:
            variables[name] = value
        elif name in host:
            variables[name] = host[name]
    return variables


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"reading the environment from {path!r}: {why}") from None
