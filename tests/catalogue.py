"""Reads the catalogue of faults, and says whether the tests that it names exist and ran."""

import ast
import functools
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Row:
    """One fault: what holds instead, and why that is believed."""

    name: str
    holds: str
    tests: tuple[str, ...] = ()
    cannot_be: str = ""
    later: str = ""


def _read() -> dict[str, Row]:
    table = tomllib.loads((TESTS / "faults" / "catalogue.toml").read_text(encoding="utf-8"))
    return {name: Row(name, **{**row, "tests": tuple(row.get("tests", ()))}) for name, row in table.items()}


ROWS: Final = _read()


def is_there(test: str) -> bool:
    """Whether this test exists: ``live/test_stop::a_thousand_quits_are_one``."""
    file, _, name = test.partition("::")
    return f"test_{name}" in _functions(TESTS / f"{file}.py")


def never_ran(passed: Collection[str]) -> list[str]:
    """The named tests of which no run passed, given the node ids of those that did."""
    done = {_short(node) for node in passed}
    return sorted({test for row in ROWS.values() for test in row.tests} - done)


def _short(node: str) -> str:
    file, _, rest = node.removeprefix("tests/").partition("::")
    name = rest.rpartition("::")[2].partition("[")[0]
    return f"{file.removesuffix('.py')}::{name.removeprefix('test_')}"


@functools.cache
def _functions(file: Path) -> frozenset[str]:
    if not file.is_file():
        return frozenset()
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return frozenset(node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
