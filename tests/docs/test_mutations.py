"""What became of the mutants of the code that matters most: nearly all are noticed, and the others have a reason."""

import tomllib
from typing import Final

import pytest

from tests.mutate import RESULTS, TESTS, with_plain_properties

FOUND: Final = tomllib.loads(RESULTS.read_text(encoding="utf-8"))
LEAST: Final = 0.95  # of the mutants of each part


PARTS: Final = sorted({name if (name := module.partition("/")[0]) == "core" else module for module in TESTS})


@pytest.mark.parametrize("part", PARTS)
def test_nearly_all_mutants_are_noticed(part: str) -> None:
    found = [one for module, one in FOUND["module"].items() if module.startswith(part)]
    mutants, survived = (sum(one[key] for one in found) for key in ("mutants", "survived"))
    assert mutants, f"{part} was never tried: make mutate ONLY={part}"
    assert survived <= (1.0 - LEAST) * mutants, f"{survived} of {mutants} survived: add tests, then make mutate"


@pytest.mark.parametrize("module", FOUND["module"])
def test_each_survivor_has_a_reason(module: str) -> None:
    assert module in TESTS
    survivors = [one for one in FOUND["survivor"] if one["module"] == module]
    assert len(survivors) == FOUND["module"][module]["survived"]
    assert [one for one in survivors if not one["reason"]] == []
    assert [one for one in survivors if "not tried" in one["reason"] or "no test yet" in one["reason"]] == []


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
