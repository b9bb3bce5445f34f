"""Every known fault has its answer: a test that proves ghostd against it, a reason, or what will bring it.

Rule: the catalogue names tests, and a test that it names must exist. That all of them ran is looked at when
the whole suite did: tests/conftest.py.
"""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.catalogue import ROWS, Row, is_there

# How many faults of each kind are known: a row can neither be forgotten nor slip in twice.
KINDS: Final = {
    "S": 16, "E": 14, "H": 14, "D": 10, "R": 18, "P": 15, "G": 10, "L": 9,
    "K": 9, "V": 12, "Q": 9, "T": 5, "C": 9, "N": 9, "U": 7,
}  # fmt: skip


def expected() -> Iterator[str]:
    for kind, count in KINDS.items():
        yield from (f"{kind}{number}" for number in range(1, count + 1))


def test_no_known_fault_is_left_out() -> None:
    assert list(ROWS) == list(expected())
    assert len(ROWS) == 166


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_each_fault_has_one_answer(row: Row) -> None:
    assert row.holds.endswith("."), "a sentence: what holds in ghostd instead"
    assert sum(map(bool, (row.tests, row.cannot_be, row.later))) == 1, "tests, cannot_be or later: exactly one of them"


@pytest.mark.parametrize("row", [row for row in ROWS.values() if row.tests], ids=lambda row: row.name)
def test_each_test_that_is_named_exists(row: Row) -> None:
    missing = [test for test in row.tests if not is_there(test)]
    assert not missing, f"{row.name}: no such test; it was renamed, or never written"
    assert len(set(row.tests)) == len(row.tests)


def test_a_test_that_does_not_exist_is_found() -> None:
    assert is_there("faults/test_catalogue::a_test_that_does_not_exist_is_found")
    assert not is_there("faults/test_catalogue::a_test_that_nobody_wrote")
    assert not is_there("faults/test_nowhere::anything")
