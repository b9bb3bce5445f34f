"""Strikes at one ghost, round after round, and waits after each until its pool is whole again.

Rule: what is done comes from the plan; the clock is how long a fault lasts, and how long the ghost takes to recover.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.faults.soak.history import Fault, History
from tests.faults.soak.kinds import Planned, plan
from tests.faults.soak.strikes import STRIKES, Field

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tests.faults.soak.ghosts import Ghost

RECOVERY: Final = 25.0  # seconds to be whole again: one that is stopped at its birth is found after 12
STILL: Final = 0.3  # seconds for which it must stay so


@dataclass(slots=True)
class _Struck:
    planned: Planned
    strike: AbstractContextManager[list[int]]
    at: float
    pids: tuple[int, ...]
    until: float = 0.0


class Nemesis(threading.Thread):
    """Of one ghost."""

    def __init__(self, ghost: Ghost, field: Field, history: History, seed: int, cannot: dict[str, str]) -> None:
        super().__init__(name=f"nemesis of {ghost.name}")
        self._ghost = ghost
        self._field = field
        self._history = history
        self._rounds = plan(seed, ghost.name)
        self._cannot = cannot
        self._over = threading.Event()
        self.kinds: set[str] = set()  # what has been struck and is over

    def stop(self) -> None:
        """End with the round that is being played."""
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.is_set():
            planned = [one for one in next(self._rounds) if one.kind not in self._cannot]
            if planned:
                self._play(planned)

    def _play(self, planned: list[Planned]) -> None:
        begun = time.monotonic()
        waiting = sorted(planned, key=lambda one: one.offset)
        struck: list[_Struck] = []
        done: list[_Struck] = []
        while waiting or struck:
            now = time.monotonic() - begun
            while waiting and waiting[0].offset <= now:
                struck.append(self._strike(waiting.pop(0)))
            for one in [one for one in struck if one.planned.end <= now]:
                one.strike.__exit__(None, None, None)
                one.until = time.monotonic()
                struck.remove(one)
                done.append(one)
            time.sleep(0.02)
        whole = self._wait_whole()
        for one in done:
            fact = Fault(self._ghost.name, one.planned.kind, one.at, one.until, whole, one.pids)
            self._history.add(fact)
            self.kinds.add(fact.kind)

    def _strike(self, planned: Planned) -> _Struck:
        strike = STRIKES[planned.kind](self._field, self._ghost, planned.pick)
        at = time.monotonic()
        return _Struck(planned, strike, at, tuple(strike.__enter__()))

    def _wait_whole(self) -> float | None:
        limit = time.monotonic() + RECOVERY
        since: float | None = None
        while (now := time.monotonic()) < limit:
            if not self._ghost.is_whole():
                since = None
            elif since is None:
                since = now
            elif now - since >= STILL:
                return since
            time.sleep(0.05)
        return None
