"""``--format`` as a line with places in it: ``{Names}``, ``{State.Status}``; and Go's plain ones.

``{{.State.Status}}``, ``{{json .Mounts}}`` and ``{{index .Config.Labels "a"}}`` mean what they mean
to docker, for most scripts need no more; the rest of Go's templates is refused by name.  What
stands in ``{…}`` is printed as JSON if it is no text, in ``{{…}}`` as Go prints it.  Why:
docs/decisions/0030-plain-places-in-templates.md.
"""

from __future__ import annotations

from newroot.errors import UsageError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


@record
class Place:
    """What stands between braces."""

    path: tuple[str, ...]  #: names, from the outermost; empty: all
    form: str = "text"  #: text, go or json

    @property
    def name(self) -> str:
        return ".".join(self.path)


Pieces = list[tuple[str, Place | None]]

#: What begins one of Go's actions that are not taken.
_REFUSED = frozenset(
    ("range", "if", "else", "end", "with", "define", "template", "block", "printf", "print",
     "println", "len", "join", "split", "lower", "upper", "title", "truncate", "pad", "eq", "ne",
     "and", "or", "not", "slice", "html", "js", "urlquery", "call")
)  # fmt: skip


def read_template(text: str) -> Pieces:
    """What stands before each place, and the place; at last what stands after all.

    ``\\t`` and ``\\n`` are a tab and a new line, as for Docker; ``{{`` and ``}}`` are braces where
    nothing of Go's stands between them.  Raises UsageError.
    """
    rest = text.replace("\\t", "\t").replace("\\n", "\n")
    pieces: Pieces = []
    before = ""
    while rest:
        if rest.startswith("{{"):
            words, end, after = rest[2:].partition("}}")
            place = _go_place(words.strip("- \t"), text) if end else None
            if place is not None:
                pieces.append((before, place))
                before, rest = "", after
            else:
                before, rest = before + "{", rest[2:]
        elif rest.startswith("}}"):
            before, rest = before + "}", rest[2:]
        elif rest.startswith("{"):
            name, end, rest = rest[1:].partition("}")
            if not end or "{" in name:
                raise UsageError(f"--format {text!r}: a brace is never closed")
            pieces.append((before, Place(path=_names(name))))
            before = ""
        elif rest.startswith("}"):
            raise UsageError(f"--format {text!r}: a brace was never opened", hint="}} is a brace")
        else:
            before, rest = before + rest[0], rest[1:]
    return [*pieces, (before, None)]


def _names(path: str) -> tuple[str, ...]:
    return tuple(name for name in path.strip().split(".") if name)


def _go_place(words: str, text: str) -> Place | None:
    """One of Go's actions; None for what is no action but text in braces."""
    first, _, rest = words.partition(" ")
    if words.startswith(".") and not rest:
        return Place(path=_names(words), form="go")
    if first == "json" and rest.strip().startswith("."):
        return Place(path=_names(rest), form="json")
    if first == "index" and rest.strip().startswith("."):
        path, *keys = _quoted_words(rest)
        return Place(path=(*_names(path), *keys), form="go")
    if first in _REFUSED or words.startswith((".", "$", "/*", "(")):
        raise UsageError(
            f"--format {text!r}: of Go's templates newroot knows {{{{.Name}}}}, "
            "{{json .Name}} and {{index .Name KEY}}",
            hint="write {Name} or {State.Status}; --format json has every name",
        )
    return None


def _quoted_words(text: str) -> list[str]:
    import shlex

    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--format: {error}".lower()) from None


def fill(pieces: Iterable[tuple[str, Place | None]], value: Callable[[Place], str]) -> str:
    """The line that a template makes."""
    return "".join(before + ("" if place is None else value(place)) for before, place in pieces)


def value_at(facts: Any, place: Place) -> str:
    """What *facts* have at *place*, as words; names in any case.  Raises UsageError."""
    here = facts
    for name in place.path:
        here = _member(here, name, place)
    return shown(here, place.form)


def _member(here: Any, name: str, place: Place) -> Any:
    if isinstance(here, list) and name.isdecimal() and int(name) < len(here):
        return here[int(name)]
    keys = {key.lower(): key for key in here} if isinstance(here, dict) else {}
    key = name if isinstance(here, dict) and name in here else keys.get(name.lower())
    if key is None:
        if place.form == "go" and isinstance(here, dict) and len(place.path) > 2:
            return None  # a map may or may not have a key: text/template, "<no value>"
        raise UsageError(
            f"--format: there is no {place.name!r}",
            hint="one of " + ", ".join(map(str, keys.values())) if keys else None,
        )
    return here[key]


def shown(value: Any, form: str) -> str:
    """One value in words."""
    import json

    if form == "json":
        return json.dumps(value, separators=(",", ":"))
    if form == "go":
        return _as_go(value)
    return value if isinstance(value, str) else json.dumps(value)


def _as_go(value: Any) -> str:
    """As fmt.Print does: ``[a b]``, ``map[a:b]``."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(_as_go, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_as_go(value[key])}' for key in sorted(value))}]"
    return str(value)
