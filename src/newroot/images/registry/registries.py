"""registries.conf: where an image's name leads, as the containers tools have it.

containers-registries.conf(5) and containers-registries.conf.d(5) are the reference: short names and
aliases, prefix and location, mirrors, blocked, insecure.  Without such a file everything is
Docker's way: a short name is docker.io's.  That is also what a file without a search list means
here, where podman would refuse the name.  Version 1 of the format is refused.
"""

from __future__ import annotations

import os

from newroot.errors import UsageError
from newroot.images.reference import DEFAULT_DOMAIN, Reference, is_short, parse
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

ENFORCING, PERMISSIVE, DISABLED = "enforcing", "permissive", "disabled"
_MODES = (ENFORCING, PERMISSIVE, DISABLED)
_PULL_FROM_MIRROR = ("", "all", "digest-only", "tag-only")


@record
class Endpoint:
    """One place where a repository may be had."""

    host: str  #: ``host[:port]``
    path: str  #: the repository's name there
    insecure: bool = False  #: plain HTTP and unverified TLS are allowed
    is_mirror: bool = False

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"


@record
class Mirror:
    """One ``[[registry.mirror]]``."""

    location: str
    insecure: bool = False
    by_digest: bool = True  #: used when the name has a digest
    by_tag: bool = True  #: used when it has none


@record
class Rule:
    """One ``[[registry]]``: what holds for the names that begin with its prefix."""

    prefix: str
    location: str  #: empty: names are not rewritten
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()


@record
class Registries:
    """What the files say, all taken together."""

    search: tuple[str, ...] = (DEFAULT_DOMAIN,)
    rules: tuple[Rule, ...] = ()
    aliases: dict[str, str] | None = None
    mode: str = PERMISSIVE
    helpers: tuple[str, ...] = ()  #: ``credential-helpers``

    def candidates(self, text: str) -> tuple[Reference, ...]:
        """The whole names that *text* may mean, in the order in which to try them.

        Raises UsageError for a name that cannot be, and for a short one that is ambiguous where
        the files forbid to guess.
        """
        reference = parse(text)
        if not is_short(text):
            return (reference,)
        name, suffix = _cut_suffix(text)
        alias = (self.aliases or {}).get(name)
        if alias:
            return (parse(alias + suffix),)
        if len(self.search) > 1 and self.mode == ENFORCING:
            meant = ", ".join(f"{registry}/{text}" for registry in self.search)
            raise UsageError(
                f"find image {text!r}: a short name of several registries, and registries.conf "
                "says not to guess",
                hint=f"give the whole name, one of {meant}",
            )
        return tuple(parse(f"{registry}/{text}") for registry in self.search)

    def endpoints(self, reference: Reference) -> tuple[Endpoint, ...]:
        """The places to ask for *reference*: mirrors first, then the registry itself.

        Raises UsageError when the files block it.
        """
        rule = self._rule(reference)
        if rule is None:
            return (Endpoint(host=reference.domain, path=reference.path),)
        if rule.blocked:
            raise UsageError(
                f"reach {reference}: registries.conf blocks what begins with {rule.prefix}"
            )
        found = [
            _endpoint(reference, rule.prefix, mirror.location, mirror.insecure, is_mirror=True)
            for mirror in rule.mirrors
            if (mirror.by_digest if reference.digest else mirror.by_tag)
        ]
        found.append(_endpoint(reference, rule.prefix, rule.location, rule.insecure))
        return tuple(found)

    def is_insecure(self, host: str) -> bool:
        """Whether the registry at *host* may be reached without verified TLS."""
        return any(rule.insecure for rule in self.rules if _host_of(rule.location) == host)

    def _rule(self, reference: Reference) -> Rule | None:
        matching = [rule for rule in self.rules if _match(reference, rule.prefix)]
        return max(matching, key=lambda rule: len(rule.prefix), default=None)


def load_registries(
    environ: Mapping[str, str] | None = None,
    *,
    home: str | None = None,
    system: str = "/etc/containers",
) -> Registries:
    """Read the files of this user.  Raises UsageError that names the file and what is wrong."""
    environ = os.environ if environ is None else environ
    home = environ.get("HOME", "/root") if home is None else home
    found: dict[str, Any] = {}
    rules: dict[str, Rule] = {}
    aliases: dict[str, str] = {}
    for path in _files(environ, home, system):
        document = _read(path)
        for key in ("unqualified-search-registries", "short-name-mode", "credential-helpers"):
            if key in document:
                found[key] = _checked(document[key], key, path)
        for rule in _rules(document, path):
            rules[rule.prefix] = rule
        aliases.update(_aliases(document, path))
    search = tuple(found.get("unqualified-search-registries") or (DEFAULT_DOMAIN,))
    return Registries(
        search=search,
        rules=tuple(rules.values()),
        aliases=aliases,
        mode=found.get("short-name-mode") or PERMISSIVE,
        helpers=tuple(found.get("credential-helpers") or ()),
    )


# ── files ────────────────────────────────────────────────────────────────────────────────────


def _files(environ: Mapping[str, str], home: str, system: str) -> Iterator[str]:
    """The main file, then the drop-ins, in the order in which the later one wins."""
    own = f"{environ.get('XDG_CONFIG_HOME') or f'{home}/.config'}/containers"
    chosen = environ.get("CONTAINERS_REGISTRIES_CONF")
    if chosen:
        yield chosen
        return
    if os.path.exists(f"{own}/registries.conf"):
        yield f"{own}/registries.conf"
    else:
        yield f"{system}/registries.conf"
        yield from _drop_ins(f"{system}/registries.conf.d")
    yield from _drop_ins(f"{own}/registries.conf.d")


def _drop_ins(directory: str) -> list[str]:
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [f"{directory}/{name}" for name in sorted(names) if name.endswith(".conf")]


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"read {path}: {error}") from None
    if all(line.lstrip()[:1] in ("", "#") for line in text.split("\n")):
        return {}  # as distributions ship it; parsing costs 10 ms of imports
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"read {path}: {error}") from None
    if "registries" in document:
        raise UsageError(
            f"read {path}: it is in version 1 of the format, which newroot does not read",
            hint="write [[registry]] tables and unqualified-search-registries: "
            "containers-registries.conf(5)",
        )
    return document


# ── what is in them ──────────────────────────────────────────────────────────────────────────


def _checked(value: object, key: str, path: str) -> object:
    if key == "short-name-mode":
        if value not in ("", *_MODES):
            raise UsageError(f"read {path}: {key} is {value!r}, not one of {', '.join(_MODES)}")
        return value
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise UsageError(f"read {path}: {key} is not a list of strings")
    if key == "unqualified-search-registries":
        for host in value:
            _check_location(host, key, path)
    return value


def _rules(document: dict[str, Any], path: str) -> Iterator[Rule]:
    tables = document.get("registry", [])
    if not isinstance(tables, list):
        raise UsageError(f"read {path}: registry is not [[registry]] but something else")
    for table in tables:
        fields = _Fields(table, "registry", path)
        location = _trimmed(fields.text("location"))
        prefix = _trimmed(fields.text("prefix")) or location
        if not prefix or not (location or prefix.startswith("*.")):
            raise UsageError(f"read {path}: a [[registry]] has no location")
        _check_prefix(prefix, path)
        if location:
            _check_location(location, "location", path)
        yield Rule(
            prefix=prefix,
            location=location,
            insecure=fields.truth("insecure"),
            blocked=fields.truth("blocked"),
            mirrors=tuple(_mirrors(fields, path)),
        )


def _mirrors(registry: _Fields, path: str) -> Iterator[Mirror]:
    by_digest_only = registry.truth("mirror-by-digest-only")
    for table in registry.tables("mirror"):
        fields = _Fields(table, "registry.mirror", path)
        location = _trimmed(fields.text("location"))
        if not location:
            raise UsageError(f"read {path}: a [[registry.mirror]] has no location")
        _check_location(location, "location", path)
        which = fields.text("pull-from-mirror")
        if which not in _PULL_FROM_MIRROR:
            raise UsageError(f"read {path}: pull-from-mirror is {which!r}")
        if which and by_digest_only:
            raise UsageError(
                f"read {path}: pull-from-mirror does not go with mirror-by-digest-only"
            )
        yield Mirror(
            location=location,
            insecure=fields.truth("insecure"),
            by_digest=which != "tag-only",
            by_tag=which != "digest-only" and not by_digest_only,
        )


def _aliases(document: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    table = document.get("aliases", {})
    if not isinstance(table, dict):
        raise UsageError(f"read {path}: aliases is not a table")
    for name, value in table.items():
        if not isinstance(value, str):
            raise UsageError(f"read {path}: alias {name!r} is not a string")
        if value and (is_short(value) or _cut_suffix(value)[1]):
            raise UsageError(
                f"read {path}: alias {name!r}: {value!r} is not a whole name without tag"
            )
        if not is_short(name) or _cut_suffix(name)[1]:
            raise UsageError(f"read {path}: alias {name!r} is not a short name without tag")
        yield name, value  # an empty one takes an earlier file's back


class _Fields:
    """One TOML table, each field of its type."""

    def __init__(self, table: object, name: str, path: str) -> None:
        if not isinstance(table, dict):
            raise UsageError(f"read {path}: {name} is not a table")
        self._table = table
        self._where = f"read {path}: [[{name}]]"

    def text(self, key: str) -> str:
        value = self._table.get(key, "")
        if not isinstance(value, str):
            raise UsageError(f"{self._where} {key} is not a string")
        return value

    def truth(self, key: str) -> bool:
        value = self._table.get(key, False)
        if not isinstance(value, bool):
            raise UsageError(f"{self._where} {key} is neither true nor false")
        return value

    def tables(self, key: str) -> list[Any]:
        value = self._table.get(key, [])
        if not isinstance(value, list):
            raise UsageError(f"{self._where} {key} is not a list of tables")
        return value


def _trimmed(location: str) -> str:
    return location.rstrip("/")


def _check_location(location: str, key: str, path: str) -> None:
    if "://" in location:
        raise UsageError(
            f"read {path}: {key} {location!r} has a scheme", hint="write HOST[:PORT][/PATH]"
        )
    try:
        _parse_prefix(location)
    except UsageError as error:
        raise UsageError(f"read {path}: {key}: {error}") from None


def _check_prefix(prefix: str, path: str) -> None:
    if "*" not in prefix:
        _check_location(prefix, "prefix", path)
    elif not prefix.startswith("*.") or set("*/:@") & set(prefix[1:]):
        raise UsageError(f"read {path}: prefix {prefix!r}: a wildcard stands for subdomains alone")


def _parse_prefix(text: str) -> None:
    """Check ``host[:port][/path[:tag|@digest]]``, which a reference is once it has a path."""
    host, slash, _ = text.partition("/")
    if slash:
        parse(text if not is_short(text) else f"docker.io/{text}")
    else:
        parse(f"{host}/a")


# ── names ────────────────────────────────────────────────────────────────────────────────────


def _cut_suffix(text: str) -> tuple[str, str]:
    """A name, and its ``:tag`` and ``@digest``."""
    name, at, digest = text.partition("@")
    colon = name.rfind(":")
    if colon > name.rfind("/"):
        return name[:colon], text[colon:]
    return name, at + digest


def _host_of(location: str) -> str:
    return location.partition("/")[0]


def _match(reference: Reference, prefix: str) -> bool:
    if prefix.startswith("*."):
        return reference.domain.partition(":")[0].endswith(prefix[1:])
    name = str(reference)
    return name.startswith(prefix) and name[len(prefix) : len(prefix) + 1] in ("", "/", ":", "@")


def _endpoint(
    reference: Reference, prefix: str, location: str, insecure: bool, *, is_mirror: bool = False
) -> Endpoint:
    """*reference*'s repository, with *location* in *prefix*'s place."""
    if not location or prefix.startswith("*."):
        # A wildcard's location, where there is one, stands for the matched host.
        where = location + f"/{reference.path}" if location else reference.repository
    else:
        prefix, location = _cut_suffix(prefix)[0], _cut_suffix(location)[0]
        where = location + reference.repository[len(prefix) :]
    host, _, path = where.partition("/")
    if not path:
        raise UsageError(
            f"reach {reference}: registries.conf leads from {prefix} to {location}, "
            "where no repository's name is left"
        )
    return Endpoint(host=host, path=path, insecure=insecure, is_mirror=is_mirror)
