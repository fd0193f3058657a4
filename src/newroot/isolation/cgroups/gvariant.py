"""The annotations ``org.systemd.property.NAME``: a property's value in GVariant's text form.

As runc takes them (its docs/systemd.md): ``uint64 5000000``, ``'inactive-or-failed'``, ``true``,
``['a', 'b']``.  A number without a type is an int32 there, and a name that ends in Sec, as the
manual pages have them, stands for the property in microseconds that D-Bus has.  Pure.
"""

from __future__ import annotations

from newroot.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.isolation.cgroups.systemd import Variant

PREFIX = "org.systemd.property."

_INTEGERS = {
    "byte": ("y", 0, 2**8 - 1),
    "int16": ("n", -(2**15), 2**15 - 1),
    "uint16": ("q", 0, 2**16 - 1),
    "int32": ("i", -(2**31), 2**31 - 1),
    "uint32": ("u", 0, 2**32 - 1),
    "int64": ("x", -(2**63), 2**63 - 1),
    "uint64": ("t", 0, 2**64 - 1),
}
_BOOLEANS = {"true": True, "false": False}


def properties_of(untrusted_annotations: dict[str, str]) -> dict[str, Variant]:
    """The properties that *untrusted_annotations* ask for; other annotations are left alone."""
    found = {}
    for key, text in untrusted_annotations.items():
        if key.startswith(PREFIX):
            name = key.removeprefix(PREFIX)
            if len(name) < 3 or not (name.isascii() and name.isalpha()):
                raise _wrong(key, f"{name!r} is not the name of a property")
            value = _parse(key, text.strip())
            if name.endswith("Sec") and not name.endswith("USec"):
                name, value = f"{name.removesuffix('Sec')}USec", _microseconds(key, value)
            found[name] = value
    return found


def _parse(key: str, text: str) -> Variant:
    if text.startswith("["):
        return _parse_array(key, text)
    kind, space, rest = text.partition(" ")
    if space and kind in _INTEGERS:
        return _parse_integer(key, kind, rest.strip())
    if space and kind in ("boolean", "string", "double"):
        text = rest.strip()
    if text in _BOOLEANS:
        return "b", _BOOLEANS[text]
    if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0] and "\\" not in text:
        inner = text[1:-1]
        if text[0] not in inner:
            return "s", inner
    if kind != "double" and text.lstrip("+-").isdecimal():
        return _parse_integer(key, "int32", text)
    try:
        return "d", float(text)
    except ValueError:
        raise _wrong(key, f"{text!r} is not a value in GVariant's text form") from None


def _parse_integer(key: str, kind: str, text: str) -> Variant:
    signature, low, high = _INTEGERS[kind]
    try:
        number = int(text, 0)
    except ValueError:
        raise _wrong(key, f"{text!r} is not a number") from None
    if not low <= number <= high:
        raise _wrong(key, f"{number} is not between {low} and {high}: give its type, as uint64")
    return signature, number


def _parse_array(key: str, text: str) -> Variant:
    if not text.endswith("]"):
        raise _wrong(key, f"{text!r} is an array without an end")
    items = [_parse(key, part.strip()) for part in text[1:-1].split(",") if part.strip()]
    signatures = {signature for signature, _ in items}
    if len(signatures) > 1:
        raise _wrong(key, f"{text!r} has members of several types")
    return f"a{signatures.pop() if signatures else 's'}", [value for _, value in items]


def _microseconds(key: str, value: Variant) -> Variant:
    signature, number = value
    if signature not in "ynqiuxtd" or not isinstance(number, (int, float)) or number < 0:
        raise _wrong(key, f"{number!r} is not a number of seconds")
    return "t", int(number * 1000000)


def _wrong(key: str, what: str) -> SpecError:
    return SpecError(what, pointer=f"/annotations/{key.replace('~', '~0').replace('/', '~1')}")
