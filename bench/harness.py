"""What all measurements share: how much to measure, by which chance, and how two sides take turns."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the benchmark: quick or full, and its chance."""

    quick: bool
    servers: tuple[str, ...] = ()  # only these, where servers of the web are measured; none: all
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def pick(self, quick: T, full: T) -> T:
        """Return the one for this form of run."""
        return quick if self.quick else full


def interleave(rounds: int, *sides: Callable[[], float]) -> tuple[list[float], ...]:
    """Measure the sides by turns, so that whatever else the machine does meets all of them alike."""
    taken: tuple[list[float], ...] = tuple([] for _ in sides)
    for turn in range(rounds):
        order = range(len(sides)) if turn % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            taken[side].append(sides[side]())
    return taken
