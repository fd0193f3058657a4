"""Records: what they promise is what a frozen, keyword-only dataclass promises."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.record import record, replace, values_of


@record
class Point:
    """A place."""

    x: int
    y: int = 0

    def moved(self, by: int) -> Point:
        return replace(self, x=self.x + by)


@record
class Named(Point):
    """A place with a name."""

    name: str
    y: int = 7


@record
class Empty:
    """Nothing."""


def test_fields_are_keyword_only_and_have_defaults() -> None:
    assert (Point(x=1).x, Point(x=1).y) == (1, 0)
    with pytest.raises(TypeError):
        Point(1)  # type: ignore[misc, call-arg]


def test_a_missing_field_is_named() -> None:
    with pytest.raises(TypeError, match="Point: missing field 'x'"):
        Point(y=1)  # type: ignore[call-arg]


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(TypeError, match="Point: unknown field 'z'"):
        Point(x=1, z=2)  # type: ignore[call-arg]


def test_records_are_frozen() -> None:
    point = Point(x=1)
    with pytest.raises(AttributeError, match="Point is frozen: cannot change 'x'"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del point.x
    with pytest.raises(AttributeError):
        point.other = 2  # type: ignore[attr-defined]

    assert point == Point(x=1)


def test_a_record_holds_its_fields_and_nothing_else() -> None:
    assert vars(Point(x=1)) == {"x": 1, "y": 0}
    assert vars(Empty()) == {}


def test_the_class_is_the_one_that_was_written() -> None:
    @record
    class Louder(Point):
        def moved(self, by: int) -> Point:
            return super().moved(by * 2)

    assert Louder(x=1).moved(by=2).x == 5


def test_equal_values_of_another_class_are_not_equal() -> None:
    assert Point(x=1) != Named(x=1, y=0, name="n")
    assert Point(x=1) != (1, 0)
    assert Empty() == Empty()


def test_inherited_fields_come_first_and_a_new_default_replaces_the_old() -> None:
    named = Named(x=1, name="n")

    assert values_of(named) == (1, 7, "n")
    assert repr(named) == "Named(x=1, y=7, name='n')"


def test_methods_and_docstrings_stay() -> None:
    assert Point(x=1).moved(by=2) == Point(x=3)
    assert Point.__doc__ == "A place."
    assert isinstance(Named(x=1, name="n"), Point)


def test_replace_changes_a_copy_only() -> None:
    point = Point(x=1, y=2)

    assert replace(point, y=3) == Point(x=1, y=3)
    assert point == Point(x=1, y=2)
    with pytest.raises(TypeError, match="unknown field 'z'"):
        replace(point, z=1)


def test_a_record_with_an_unhashable_value_does_not_hash() -> None:
    with pytest.raises(TypeError):
        hash(Point(x=[]))  # type: ignore[arg-type]


values = st.integers() | st.text() | st.none() | st.tuples(st.integers())


@given(x=values, y=values, name=values)
def test_equality_hash_pickle_and_copy_agree(x: object, y: object, name: object) -> None:
    one = Named(x=x, y=y, name=name)  # type: ignore[arg-type]
    for other in (
        Named(x=x, y=y, name=name),  # type: ignore[arg-type]
        pickle.loads(pickle.dumps(one)),
        copy.copy(one),
        copy.deepcopy(one),
        replace(one),
    ):
        assert other == one
        assert hash(other) == hash(one)
        assert repr(other) == repr(one)


@given(a=st.tuples(values, values), b=st.tuples(values, values))
def test_records_are_equal_as_their_values_are(
    a: tuple[object, object], b: tuple[object, object]
) -> None:
    one, two = Point(x=a[0], y=a[1]), Point(x=b[0], y=b[1])  # type: ignore[arg-type]

    assert (one == two) == (a == b)
