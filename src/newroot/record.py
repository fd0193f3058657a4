"""``@record``: a frozen value with named fields.

To a type checker it is ``dataclasses.dataclass(frozen=True, slots=True, kw_only=True)``.  At run
time it is the look-alike below, because ``import dataclasses`` costs 15 ms on CPython 3.11, twice
a whole interpreter start, and records are what every container start is made of.

A field's default must be immutable, for it is shared.  Records may inherit from records.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")

    @dataclass_transform(frozen_default=True, kw_only_default=True)
    def record(cls: type[T]) -> type[T]: ...

else:

    def record(cls):
        """Make *cls* a frozen record of its annotated fields, keyword-only and slotted."""
        body = dict(cls.__dict__)
        own = tuple(body.get("__annotations__", ()))
        defaults = {**getattr(cls, "_defaults", {}), **{n: body.pop(n) for n in own if n in body}}
        for name in ("__dict__", "__weakref__"):
            body.pop(name, None)
        inherited = getattr(cls, "_fields", ())
        body.update(
            __slots__=tuple(name for name in own if name not in inherited),
            __init__=_init,
            __setattr__=_refuse,
            __delattr__=_refuse,
            __eq__=_eq,
            __hash__=_hash,
            __reduce__=_reduce,
            _fields=inherited + tuple(name for name in own if name not in inherited),
            _defaults=defaults,
        )
        body.setdefault("__repr__", _repr)
        made = type(cls)(cls.__name__, cls.__bases__, body)
        # A zero-argument super() in a method would still see the class as it was before slots.
        return made


_set = object.__setattr__


def _init(self: Any, **values: object) -> None:
    given = {**self._defaults, **values}
    try:
        for name in self._fields:
            _set(self, name, given.pop(name))
    except KeyError as missing:
        raise TypeError(f"{type(self).__name__}: missing field {missing}") from None
    if given:
        raise TypeError(f"{type(self).__name__}: unknown field {next(iter(given))!r}")


def values_of(record: Any) -> tuple[object, ...]:
    """The values of a record's fields, in their order."""
    return tuple(getattr(record, name) for name in record._fields)


def replace(record: T, **changes: object) -> T:
    """A copy of *record* with some fields changed."""
    fields: Any = record
    return type(record)(**{n: getattr(record, n) for n in fields._fields} | changes)


def _refuse(self: Any, name: str, value: object = None) -> None:
    raise AttributeError(f"{type(self).__name__} is frozen: cannot change {name!r}")


def _eq(self: Any, other: object) -> object:
    if type(other) is not type(self):
        return NotImplemented
    return values_of(self) == values_of(other)


def _hash(self: Any) -> int:
    return hash((type(self), values_of(self)))


def _repr(self: Any) -> str:
    fields = ", ".join(f"{n}={getattr(self, n)!r}" for n in self._fields)
    return f"{type(self).__name__}({fields})"


def _reduce(self: Any) -> tuple[object, ...]:
    return _rebuild, (type(self), values_of(self))


def _rebuild(cls: Any, values: tuple[object, ...]) -> object:
    return cls(**dict(zip(cls._fields, values, strict=True)))
