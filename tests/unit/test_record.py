"""Records behave as dataclasses do, and are made without compiling anything."""

from __future__ import annotations

import copy
import pickle

import pytest

from ghostd.record import Described, Frozen, Mutable, default, described, fields, replace


class Point(Frozen):
    """A place."""

    x: int
    y: int = 2
    z: int = 3


class Spot(Frozen):
    """Another kind with the same fields."""

    x: int
    y: int = 2
    z: int = 3


class Choice(Frozen, kw_only=True):
    """Given by name, and looked at."""

    much: int = Described(1, "how much")  # type: ignore[assignment]
    must: str

    def __post_init__(self) -> None:
        if self.much < 0:
            raise ValueError(f"{self.much} is less than nothing")


class Count(Mutable):
    """It goes up."""

    done: int = 0
    undone: int = 0


@pytest.mark.parametrize(
    ("made", "values"),
    [
        (Point(1), (1, 2, 3)),
        (Point(1, 5), (1, 5, 3)),
        (Point(1, 5, 6), (1, 5, 6)),
        (Point(x=1), (1, 2, 3)),
        (Point(1, z=9), (1, 2, 9)),
        (Point(z=9, y=8, x=7), (7, 8, 9)),
    ],
)
def test_a_record_is_made_by_position_and_by_name_with_defaults_for_the_rest(
    made: Point, values: tuple[int, ...]
) -> None:
    assert (made.x, made.y, made.z) == values


def test_a_record_has_no_room_for_anything_but_its_fields() -> None:
    assert not hasattr(Point(1), "__dict__")
    with pytest.raises(AttributeError):
        Count().other = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("values", "named", "said"),
    [
        ((), {}, "no x"),
        ((1, 2, 3, 4), {}, "at most 3 values, and was given 4"),
        ((1,), {"x": 1}, "x twice"),
        ((1,), {"w": 1}, "w, which it does not have"),
        ((), {"y": 1, "w": 1}, "w, which it does not have, no x"),
    ],
)
def test_what_does_not_fit_is_refused_and_named(values: tuple[int, ...], named: dict[str, int], said: str) -> None:
    with pytest.raises(TypeError, match=rf"Point\(\) .*{said}"):
        Point(*values, **named)


@pytest.mark.parametrize("values", [("a",), (1, "a")])
def test_a_record_by_names_only_takes_no_other_way(values: tuple[object, ...]) -> None:
    with pytest.raises(TypeError, match="takes names only"):
        Choice(*values)  # type: ignore[call-arg]
    assert Choice(must="a").much == 1
    assert Choice(must="a", much=2).much == 2


def test_a_record_that_may_refuse_itself_is_never_made_wrong() -> None:
    with pytest.raises(ValueError, match="-1 is less"):
        Choice(must="a", much=-1)
    with pytest.raises(ValueError, match="-1 is less"):
        replace(Choice(must="a"), much=-1)


def test_records_are_equal_by_kind_and_fields() -> None:
    assert Point(1) == Point(1, 2, 3)
    assert Point(1) != Point(2)
    assert Point(1) != Spot(1)
    assert Point(1) != (1, 2, 3)
    assert len({Point(1), Point(1, 2), Point(2)}) == 2
    assert Count() == Count()


def test_a_frozen_record_never_changes() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match=r"Point\.x cannot be set"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match=r"Point\.x cannot be deleted"):
        del point.x
    assert point == Point(1)


def test_a_mutable_record_changes_and_has_no_hash() -> None:
    count = Count()
    count.done += 1
    assert count == Count(1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(count)


def test_a_record_shows_its_fields() -> None:
    assert repr(Point(1)) == "Point(x=1, y=2, z=3)"
    assert repr(Choice(must="a")) == "Choice(much=1, must='a')"


def test_a_record_is_matched_by_position_and_by_name() -> None:
    match Point(1, 2):
        case Point(x, z=z):
            assert (x, z) == (1, 3)
    assert Choice.__match_args__ == ()


def test_a_copy_differs_in_what_was_said_only() -> None:
    point = Point(1)
    assert replace(point, y=9) == Point(1, 9)
    assert point == Point(1)
    assert copy.copy(point) == copy.deepcopy(point) == pickle.loads(pickle.dumps(point)) == point


def test_a_class_of_records_tells_its_fields_their_defaults_and_what_was_said_of_them() -> None:
    assert fields(Point) == fields(Point(1)) == ("x", "y", "z")
    assert default(Point, "z") == 3
    assert described(Choice) == described(Choice(must="a")) == {"much": "how much"}


def test_a_field_without_a_default_may_not_stand_behind_one_with() -> None:
    with pytest.raises(TypeError, match="a field without a default stands behind"):

        class Wrong(Frozen):
            first: int = 1
            second: int  # type: ignore[misc]
