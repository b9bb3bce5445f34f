"""How options are declared and checked: each kind takes what it says and refuses the rest."""

from __future__ import annotations

import pytest

from ghostd.errors import OptionError
from ghostd.options import Kind, Option, check, declared, option
from ghostd.record import Frozen


class Example(Frozen, kw_only=True):
    """One option of each kind."""

    seconds: float = option(1.0, Kind.SECONDS, "Some seconds.", why="one", least=0.5, most=10.0)
    whole: int = option(1, Kind.WHOLE, "Some things.", why="one", least=1, most=5)
    unbounded: int = option(0, Kind.WHOLE, "Any number.", why="none")
    flag: bool = option(default=False, kind=Kind.FLAG, help="Whether.", why="no")
    text: str = option("", Kind.TEXT, "A text.", why="empty")
    path: str | None = option(None, Kind.PATH, "A path; none: nowhere.", why="nowhere")
    name: str | int | None = option(None, Kind.NAME, "A user; none: the same.", why="the same")
    names: object = option(None, Kind.NAMES, "Groups; none: the same.", why="the same")
    mode: int = option(0o022, Kind.MODE, "A mask.", why="usual")
    choice: str = option("a", Kind.CHOICE, "A letter.", why="first", choices=("a", "b"))
    thing: object = option(None, Kind.OBJECT, "A thing.", why="none")
    plain: int = 7  # no option

    def __post_init__(self) -> None:
        check(self)


FITS: dict[str, tuple[object, ...]] = {
    "seconds": (0.5, 1, 10, 10.0),
    "whole": (1, 5),
    "unbounded": (0, 10**30),
    "flag": (True, False),
    "text": ("", "words", "\n"),
    "path": (None, "", "/", "a b"),
    "name": (None, "nobody", 0, 65534),
    "names": (None, "staff", 0, ["staff", 5], ("a",)),
    "mode": (0, 0o777),
    "choice": ("a", "b"),
    "thing": (None, object, 1, "x"),
}

FITS_NOT: dict[str, tuple[object, ...]] = {
    "seconds": (0.49, 10.1, float("nan"), float("inf"), "1", None, True, []),
    "whole": (0, 6, 1.0, "1", None, True),
    "unbounded": (-1, 0.0),
    "flag": (0, 1, None, "yes"),
    "text": (None, 1, b"", "a\0b"),
    "path": (1, "a\0b", []),
    "name": ("", -1, True, "a\0b", 1.0, []),
    "names": ("", -1, [], (), [""], [None], ["a", -1], {"a"}),
    "mode": (-1, 0o1000, True, "022", None, 1.0),
    "choice": ("c", "", None, 1, "A"),
}


def each(table: dict[str, tuple[object, ...]]) -> list[tuple[str, object]]:
    return [(name, value) for name, values in table.items() for value in values]


@pytest.mark.parametrize(("name", "value"), each(FITS))
def test_what_is_allowed_is_taken_as_it_is(name: str, value: object) -> None:
    assert getattr(Example(**{name: value}), name) is value  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), each(FITS_NOT))
def test_what_is_not_allowed_is_refused_with_name_value_and_what_is(name: str, value: object) -> None:
    with pytest.raises(OptionError) as caught:
        Example(**{name: value})  # type: ignore[arg-type]
    assert str(caught.value) == f"option {name}: {value!r} is not allowed; it takes {declared(Example)[name].allowed}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("seconds", "a number of seconds, at least 0.5 and at most 10"),
        ("whole", "a whole number, at least 1 and at most 5"),
        ("unbounded", "a whole number, at least 0"),
        ("flag", "true or false"),
        ("choice", "one of a, b"),
        ("names", "a name or number, or a list of them"),
    ],
)
def test_what_is_allowed_can_be_said(name: str, text: str) -> None:
    assert declared(Example)[name].allowed == text


def test_the_declarations_come_in_order_from_class_and_instance_without_other_fields() -> None:
    assert list(declared(Example)) == list(declared(Example()))
    assert list(declared(Example))[:2] == ["seconds", "whole"]
    assert "plain" not in declared(Example)


def test_none_is_allowed_where_it_is_the_default_or_said_to_be() -> None:
    assert declared(Example)["path"].optional
    assert not declared(Example)["text"].optional
    made = option("x", Kind.TEXT, "A text.", why="x", optional=True)
    assert made.about == Option(Kind.TEXT, "A text.", "x", optional=True)
