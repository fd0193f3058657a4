"""Image names as people type them: ``busybox``, ``localhost:5000/a/b:tag@sha256:…``.

The grammar is distribution-spec's (the ``reference`` package of the distribution project writes it
down), the defaults are Docker's: no host means ``docker.io``, one component there means
``library/``, no tag means ``latest``.  ``newroot run`` walks through here, so no ``re``.
"""

from __future__ import annotations

from newroot.errors import UsageError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALNUM = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX = frozenset("0123456789abcdef")
_HEX_LENGTHS = {"sha256": 64, "sha512": 128}
_NAME_MAX = 255  #: of domain and path together
_TAG_MAX = 128


@record
class Reference:
    """Which image: a repository, and in it a tag or a digest or both."""

    domain: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @property
    def repository(self) -> str:
        """Domain and path: ``docker.io/library/busybox``."""
        return f"{self.domain}/{self.path}"

    def __str__(self) -> str:
        """The whole name, with ``latest`` where neither tag nor digest was given."""
        return self.repository + self._suffix()

    def familiar(self) -> str:
        """The shortest name that means the same: ``busybox:latest``."""
        library, _, rest = self.path.partition("/")
        short = rest if library == "library" and "/" not in rest else self.path
        # docker.io/0.0/a may not lose its host: 0.0 would become one.
        if self.domain != DEFAULT_DOMAIN or _split_domain(short)[0] is not None:
            short = self.repository
        return short + self._suffix()

    def _suffix(self) -> str:
        tag = self.tag or (DEFAULT_TAG if self.digest is None else None)
        return (f":{tag}" if tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """Read *text* as Docker's command line does.

    Raises UsageError that says at which character the name is wrong, and why.
    """
    if not text:
        raise UsageError("read an image name: it is empty")
    name, digest = _split_digest(text)
    name, tag = _split_tag(text, name)
    domain, path, offset = _split_domain(name)
    if domain is not None:
        _check_domain(text, domain)
    _check_path(text, path, offset)
    if len(path) == 64 and _HEX.issuperset(path) and domain is None:
        raise _wrong(text, 0, "64 hexadecimal digits are an image ID, not a name")
    domain = DEFAULT_DOMAIN if domain in (None, "index.docker.io") else domain
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"library/{path}"
    if len(domain) + 1 + len(path) > _NAME_MAX:
        raise UsageError(f"read image name {text!r}: it is longer than {_NAME_MAX} characters")
    return Reference(domain=domain, path=path, tag=tag, digest=digest)


def is_short(text: str) -> bool:
    """Whether *text* names no host, so that a search list says where to look."""
    return _split_domain(text.partition("@")[0])[0] is None


def familiar(name: str) -> str:
    """The short form of a stored *name*; a name that is no reference stays as it is."""
    try:
        return parse(name).familiar()
    except UsageError:
        return name


def _cut(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _wrong(text: str, at: int, words: str, *, hint: str | None = None) -> UsageError:
    return UsageError(f"read image name {_cut(text)}: at character {at + 1}: {words}", hint=hint)


def _split_digest(text: str) -> tuple[str, str | None]:
    name, at, digest = text.partition("@")
    if not at:
        return text, None
    start = len(name) + 1
    algorithm, colon, encoded = digest.partition(":")
    if not colon:
        raise _wrong(text, start, "a digest looks like sha256:0123…")
    if algorithm not in _HEX_LENGTHS:
        raise _wrong(text, start, f"digest algorithm {algorithm!r} is not sha256 or sha512")
    start += len(algorithm) + 1
    _each(text, encoded, start, _HEX.__contains__, "a digest")
    wanted = _HEX_LENGTHS[algorithm]
    if len(encoded) != wanted:
        found = len(encoded)
        raise _wrong(
            text, start, f"a {algorithm} digest has {wanted} hexadecimal digits, here {found}"
        )
    return name, digest


def _split_tag(text: str, name: str) -> tuple[str, str | None]:
    slash = name.rfind("/")
    colon = name.rfind(":")
    if colon <= slash:  # the colon of a port, or none
        return name, None
    tag = name[colon + 1 :]
    start = colon + 1
    if not tag:
        raise _wrong(text, start, "the tag is empty")
    if tag[0] in ".-":
        raise _wrong(text, start, f"a tag may not start with {tag[0]!r}")
    _each(text, tag, start, lambda c: c in _ALNUM or c in "_.-", "a tag")
    if len(tag) > _TAG_MAX:
        raise _wrong(text, start + _TAG_MAX, f"the tag is longer than {_TAG_MAX} characters")
    return name[:colon], tag


def _split_domain(name: str) -> tuple[str | None, str, int]:
    """Docker's rule: what stands before the first slash is a host when it looks like one."""
    first, slash, rest = name.partition("/")
    looks_like_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if slash and looks_like_host:
        return first, rest, len(first) + 1
    return None, name, 0


def _check_domain(text: str, domain: str) -> None:
    host, colon, port = domain, "", ""
    if domain.startswith("["):
        host, bracket, rest = domain.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _wrong(text, len(host), "an IPv6 address ends with ']'")
        colon, port = rest[:1], rest[1:]
        _each(text, host[1:], 1, lambda c: c in "0123456789abcdefABCDEF:", "an IPv6 address")
        start_of_port = len(host) + 2
    else:
        host, colon, port = domain.partition(":")
        start_of_port = len(host) + 1
        _check_host(text, host)
    if colon and not (port.isascii() and port.isdigit()):
        raise _wrong(text, start_of_port, f"port {port!r} is not a number")


def _check_host(text: str, host: str) -> None:
    start = 0
    for label in host.split("."):
        _each(text, label, start, lambda c: c in _ALNUM or c == "-", "a host name")
        if not label:
            raise _wrong(text, start, "a part of the host name is empty")
        if label[0] == "-" or label[-1] == "-":
            raise _wrong(text, start, "a part of a host name may not start or end with '-'")
        start += len(label) + 1


def _check_path(text: str, path: str, start: int) -> None:
    if not path:
        raise _wrong(text, start, "the repository's name is missing")
    for component in path.split("/"):
        _check_component(text, component, start)
        start += len(component) + 1


def _check_component(text: str, component: str, start: int) -> None:
    """Letters and digits, joined by one of ``.`` ``_`` ``__`` or any number of ``-``."""
    if not component:
        raise _wrong(text, start, "a part of the repository's name is empty")
    if component != component.lower():
        at = next(i for i, c in enumerate(component) if c != c.lower())
        raise _wrong(
            text,
            start + at,
            f"{component[at]!r}: a repository's name is in lower case",
            hint=f"perhaps {_lowered(text, component, start)!r}",
        )
    _each(text, component, start, lambda c: c in _LOWER or c in "._-", "a repository's name")
    for at in (0, len(component) - 1):
        if component[at] in "._-":
            raise _wrong(
                text,
                start + at,
                f"a part of a repository's name may not start or end with {component[at]!r}",
            )
    _check_separators(text, component, start)


def _lowered(text: str, component: str, start: int) -> str:
    return text[:start] + component.lower() + text[start + len(component) :]


def _check_separators(text: str, component: str, start: int) -> None:
    run = ""
    for at, character in enumerate(component):
        run = run + character if character in "._-" else ""
        if run in ("", ".", "_", "__") or run.strip("-") == "":
            continue
        raise _wrong(text, start + at, f"{run!r} may not stand in a repository's name")


def _each(text: str, part: str, start: int, allowed: Callable[[str], bool], what: str) -> None:
    for at, character in enumerate(part):
        if not allowed(character):
            raise _wrong(text, start + at, f"{character!r} may not stand in {what}")
