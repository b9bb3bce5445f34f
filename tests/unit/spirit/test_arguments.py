"""What a pool finds out about the user's functions without loading the library that looks into them."""

import functools
import inspect
from collections.abc import Callable

import pytest

from ghostd.spirit import arguments


class Thing:
    """Methods of every kind."""

    def none(self) -> None: ...
    def one(self, _first: object) -> None: ...
    def two(self, _first: object, _second: object = None) -> None: ...
    def rest(self, *_rest: object) -> None: ...
    def by_name(self, *, _must: object) -> None: ...
    def by_name_or_not(self, *, _may: object = None, **_more: object) -> None: ...
    @classmethod
    def of_class(cls, _first: object) -> None: ...
    @staticmethod
    def static(_first: object) -> None: ...
    def __call__(self, _first: object) -> None: ...


def plain(_first: object, /, _second: object, _third: object = 3) -> None: ...


@functools.wraps(plain)
def wrapped() -> None: ...


FUNCTIONS: list[Callable[..., object]] = [
    *(getattr(Thing(), name) for name in vars(Thing) if name[0] != "_"),
    *(getattr(Thing, name) for name in vars(Thing) if name[0] != "_"),
    Thing(), plain, wrapped, functools.partial(plain, 1), lambda: None, lambda *_: None, print, int, Thing, dict,
]  # fmt: skip


@pytest.mark.parametrize("count", range(5))
@pytest.mark.parametrize(
    "function", FUNCTIONS, ids=lambda function: getattr(function, "__qualname__", type(function).__name__)
)
def test_whether_a_function_takes_so_much_is_found_as_inspect_finds_it(
    function: Callable[..., object], count: int
) -> None:
    try:
        inspect.signature(function).bind(*range(count))
        expected = True
    except TypeError:
        expected = False
    except ValueError:  # it cannot be looked into
        expected = count == 0
    assert arguments.fit(function, *range(count)) == expected
