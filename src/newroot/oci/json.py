"""JSON as the OCI documents need it, without importing ``json``.

``import json`` pulls in ``re`` and costs 6 ms on CPython 3.11, about one interpreter start.  The
parser and the encoder themselves are C, in ``_json``, and need neither: this file calls them.  An
interpreter without ``_json`` gets the ``json`` module; both roads are tested to agree.

Strict where RFC 8259 is: UTF-8 without a byte order mark, no NaN, nothing after the value.
"""

from __future__ import annotations

from sys import modules

from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

try:
    _json: Any = __import__("_json")  # private, so its stub says less than it does
except ImportError:  # PyPy and friends
    _json = None

_SPACE = " \t\n\r"
_CONSTANTS = ("NaN", "Infinity", "-Infinity")


def loads(data: bytes | str, *, what: str = "JSON") -> Any:
    """Parse one JSON document; *what* names it in errors, for example ``config.json``.

    Raises UsageError that names the line and the column.
    """
    text = data if isinstance(data, str) else _decode(data, what)
    try:
        value, end = _scan(text, _skip_space(text, 0))
    except StopIteration as stop:
        raise _bad(what, text, _place(stop.value, text), _found(text, stop.value)) from None
    except RecursionError:
        raise UsageError(f"read {what}: it is nested too deeply") from None
    except SystemError:
        # CPython < 3.12's _json takes JSONDecodeError only from a json.decoder that is imported
        # already, and else fails without an exception (Modules/_json.c, raise_errmsg()).
        if "json.decoder" in modules:
            raise
        __import__("json.decoder")
        return loads(text, what=what)
    except ValueError as error:
        # A JSONDecodeError, which _json takes from json.decoder, or int()'s refusal of a number
        # of more than 4,300 digits.
        words = getattr(error, "msg", None)
        if words is None:
            constant = error.args[0] if error.args[0] in _CONSTANTS else None
            words = f"{constant} is not JSON" if constant else "a number has too many digits"
            raise UsageError(f"read {what}: {words}") from None
        raise _bad(what, text, error.pos, _decapitalise(words)) from None  # type: ignore[attr-defined]
    end = _skip_space(text, end)
    if end != len(text):
        raise _bad(what, text, end, f"{_shown(text[end])} after the end of the document")
    return value


def dumps(value: object, *, sort_keys: bool = False) -> str:
    """Render *value* as compact ASCII JSON.

    Lone surrogates (a non-UTF-8 path as ``os.fsdecode`` gives it) survive a round trip.
    """
    try:
        return "".join(_encoder(sort_keys)(value, 0))
    except RecursionError:
        raise UsageError("write JSON: it is nested too deeply") from None


def _decode(data: bytes, what: str) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        raise UsageError(
            f"read {what}: line 1, column 1: it starts with a byte order mark",
            hint="save it as UTF-8 without BOM",
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        raise _bad(what, before, len(before), "this byte is not UTF-8") from None


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _place(at: object, text: str) -> int:
    return at if isinstance(at, int) else len(text)


def _found(text: str, at: object) -> str:
    place = _place(at, text)
    if place >= len(text):
        return "it is empty" if not text.strip(_SPACE) else "it ends before the value"
    return f"expecting a value, found {_shown(text[place])}"


def _shown(character: str) -> str:
    return repr(character) if character.isprintable() else f"U+{ord(character):04X}"


def _decapitalise(words: str) -> str:
    return words[:1].lower() + words[1:]


def _bad(what: str, text: str, at: int, words: str) -> UsageError:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return UsageError(f"read {what}: line {line}, column {column}: {words}")


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


class _Context:
    """What ``_json.make_scanner`` reads its settings from: ``json.JSONDecoder``'s attributes."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}


def _refuse_type(value: object) -> Any:
    raise UsageError(f"write JSON: a {type(value).__name__} has no place in it")


def _c_encoder(sort_keys: bool) -> Callable[[object, int], Any]:
    made: Callable[[object, int], Any] = _json.make_encoder(
        None, _refuse_type, _json.encode_basestring_ascii, None, ":", ",", sort_keys, False, False
    )
    return made


def _slow_encoder(sort_keys: bool) -> Callable[[object, int], Any]:
    import json

    encoder = json.JSONEncoder(
        check_circular=False,
        allow_nan=False,
        sort_keys=sort_keys,
        separators=(",", ":"),
        default=_refuse_type,
    )
    return lambda value, _level: encoder.encode(value)


def _slow_scanner() -> Callable[[str, int], tuple[Any, int]]:
    import json

    decoder: Any = json.JSONDecoder(parse_constant=_refuse_constant)
    scan: Callable[[str, int], tuple[Any, int]] = decoder.scan_once
    return scan


if _json is not None:
    _scan: Callable[[str, int], tuple[Any, int]] = _json.make_scanner(_Context())
    _encoder = _c_encoder
else:
    _scan = _slow_scanner()
    _encoder = _slow_encoder
