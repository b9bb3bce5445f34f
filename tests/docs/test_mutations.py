"""What became of the mutants of the code that matters most: nearly all are noticed, and the others have a reason."""

import tomllib
from typing import Final

import pytest

from tests.mutate import RESULTS, TESTS, with_plain_properties

FOUND: Final = tomllib.loads(RESULTS.read_text(encoding="utf-8"))
LEAST: Final = 0.95  # of all mutants


def test_nearly_all_mutants_are_noticed() -> None:
    mutants, survived = (sum(one[key] for one in FOUND["module"].values()) for key in ("mutants", "survived"))
    assert survived <= (1.0 - LEAST) * mutants, f"{survived} of {mutants} survived: add tests, then make mutate"


@pytest.mark.parametrize("module", FOUND["module"])
def test_each_survivor_has_a_reason(module: str) -> None:
    assert module in TESTS
    survivors = [one for one in FOUND["survivor"] if one["module"] == module]
    assert len(survivors) == FOUND["module"][module]["survived"]
    assert [one for one in survivors if not one["reason"]] == []


def test_a_property_is_mutated_as_the_function_that_it_is() -> None:
    source = """\
class One:
    @property
    def size(self) -> int:
        return 1

    def other(self) -> int:
        return 2
"""
    assert (
        with_plain_properties(source)
        == """\
class One:
    def size(self) -> int:
        return 1
    size = property(size)

    def other(self) -> int:
        return 2
"""
    )
