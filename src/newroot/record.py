"""``@record``: a frozen value with named fields.

To a type checker it is ``dataclasses.dataclass(frozen=True, kw_only=True)``.  At run time it is
the look-alike below, because ``import dataclasses`` costs 15 ms on CPython 3.11, twice a whole
interpreter start, and records are what every container start is made of.  They have no slots, for
those can only be had by making each class twice.

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
        """Make *cls* a frozen record of its annotated fields, keyword-only."""
        body = cls.__dict__
        own = body.get("__annotations__", ())
        inherited = getattr(cls, "_fields", ())
        cls._fields = inherited + tuple(name for name in own if name not in inherited)
        cls._names = frozenset(cls._fields)
        defaults = {name: body[name] for name in own if name in body}
        cls._defaults = {**getattr(cls, "_defaults", {}), **defaults}
        cls.__init__ = _init
        cls.__setattr__ = _refuse
        cls.__delattr__ = _refuse
        cls.__eq__ = _eq
        cls.__hash__ = _hash
        cls.__reduce__ = _reduce
        if "__repr__" not in body:
            cls.__repr__ = _repr
        return cls


def _init(self: Any, **values: object) -> None:
    fields = self.__dict__  # what is put in here does not pass by _refuse
    fields.update(self._defaults)
    fields.update(values)
    if fields.keys() != self._names:
        for name in self._fields:
            if name not in fields:
                raise TypeError(f"{type(self).__name__}: missing field {name!r}")
        unknown = next(name for name in values if name not in self._names)
        raise TypeError(f"{type(self).__name__}: unknown field {unknown!r}")


def fields_of(kind: type[Any]) -> tuple[str, ...]:
    """The names of a record class's fields, in their order."""
    names: tuple[str, ...] = kind._fields
    return names


def values_of(record: Any) -> tuple[object, ...]:
    """The values of a record's fields, in their order."""
    return tuple(map(record.__dict__.__getitem__, record._fields))


def replace(record: T, **changes: object) -> T:
    """A copy of *record* with some fields changed."""
    return type(record)(**record.__dict__ | changes)


def _refuse(self: Any, name: str, value: object = None) -> None:
    raise AttributeError(f"{type(self).__name__} is frozen: cannot change {name!r}")


def _eq(self: Any, other: object) -> object:
    if type(other) is not type(self):
        return NotImplemented
    return self.__dict__ == other.__dict__


def _hash(self: Any) -> int:
    return hash((type(self), values_of(self)))


def _repr(self: Any) -> str:
    fields = ", ".join(f"{n}={getattr(self, n)!r}" for n in self._fields)
    return f"{type(self).__name__}({fields})"


def _reduce(self: Any) -> tuple[object, ...]:
    return _rebuild, (type(self), values_of(self))


def _rebuild(cls: Any, values: tuple[object, ...]) -> object:
    return cls(**dict(zip(cls._fields, values, strict=True)))
