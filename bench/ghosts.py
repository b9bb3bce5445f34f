"""The ghosts of the benchmark: bench.work under ghostd, as a user would write them."""

from __future__ import annotations

from typing import ClassVar

from bench import work
from bench.witness import Witness
from ghostd import Prefork


class Steady(Prefork):
    """Ticks once a period."""

    witness_folder: ClassVar[str]
    period: ClassVar[float] = 1.0

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.steady(self.tick, Witness(self.witness_folder), self.period)


class Obedient(Steady):
    """Does what the table orders."""

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.obedient(self.tick, Witness(self.witness_folder), self.period)


class Brief(Steady):
    """Leaves after its first tick."""

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.brief(self.tick, Witness(self.witness_folder), self.period)


class Stubborn(Steady):
    """Does not leave."""

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.stubborn(self.tick, Witness(self.witness_folder), self.period)


class Unready(Steady):
    """Never has a first tick."""

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.unready(self.tick, Witness(self.witness_folder), self.period)


class Waiting(Steady):
    """Finishes at once when it is asked to leave."""

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.waiting(self.tick, Witness(self.witness_folder), self.period)


class Timing(Steady):
    """Measures its own tick."""

    def empty(self) -> bool:
        """Do nothing, as a method."""
        return True

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.timing(self.tick, self.empty, self.witness_folder)
        super().spirit()


class Traced(Steady):
    """Ticks under strace."""

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.traced(self.tick, Witness(self.witness_folder))
