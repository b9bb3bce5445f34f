"""Holds replacements back when spirits die early, and forks when the kernel refuses them.

A **hold** is a vacancy that may not be filled before some moment. It remembers how many early deaths in a row led to
it, and the spirit that fills it inherits that streak: a crash loop slows down by itself wherever in the pool it sits.
"""

from __future__ import annotations

from collections import deque

from ghostd.core.phases import NEVER
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from ghostd.core.policy import Policy


class Restraint:
    """Remembers early deaths and failed forks of one pool."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._holds: list[tuple[float, int]] = []  # until when, and the streak; soonest first
        self._deaths: deque[float] = deque(maxlen=policy.intensity)
        self._waits = 0  # so many were made
        self.fork_failures = 0  # in a row
        self._fork_after = 0.0

    # ── early deaths ──
    def early_death(self, streak: int, now: float) -> float:
        """Hold the vacancy of a spirit that died early, the ``streak``-th in a row: until when."""
        assert streak >= 1, "the death itself counts"
        self._deaths.append(now)
        return self._hold(now + self._wait(streak), streak)

    def take(self, now: float) -> int:
        """Fill one vacancy: the streak its spirit inherits, 0 if no hold has run out."""
        return self._holds.pop(0)[1] if self._holds and self._holds[0][0] <= now else 0

    def put_back(self, streak: int, now: float) -> None:
        """The vacancy was not filled after all, because the fork failed: it keeps its streak."""
        if streak:
            self._hold(now, streak)

    def held(self, now: float) -> int:
        """How many vacancies may not be filled yet."""
        return sum(until > now for until, _ in self._holds)

    def trim(self, vacancies: int) -> None:
        """Forget the longest holds beyond the number of vacancies: fewer spirits are wanted now."""
        del self._holds[vacancies:]

    def forgive(self) -> None:
        """Forget all holds: the code was renewed and deserves a fresh trial."""
        self._holds.clear()

    def is_trend(self, now: float) -> bool:
        """Whether there were ``intensity`` early deaths within the last ``intensity_period``."""
        window = self._policy.intensity_period
        return len(self._deaths) == self._policy.intensity and now - self._deaths[0] < window

    # ── failed forks ──
    def fork_failed(self, now: float) -> float | None:
        """Hold back all forks for a while: for how many seconds; None if they are held back already."""
        if now < self._fork_after:
            return None  # one of a batch that was ordered together
        self.fork_failures += 1
        wait = self._wait(self.fork_failures + 1)
        self._fork_after = now + wait
        return wait

    def fork_succeeded(self) -> None:
        """The kernel gives processes again."""
        self.fork_failures, self._fork_after = 0, 0.0

    def allowed(self, forks: int, now: float) -> int:
        """How many of so many forks may be tried now."""
        return min(forks, int(now >= self._fork_after)) if self.fork_failures else forks

    # ── time ──
    def deadline(self, now: float) -> float:
        """When something may be tried again that may not be tried now; infinity: nothing waits."""
        waits = (self._fork_after, *(until for until, _ in self._holds))
        return min((until for until in waits if until > now), default=NEVER)

    def _hold(self, until: float, streak: int) -> float:
        self._holds.append((until, streak))
        self._holds.sort()
        return until

    def _wait(self, streak: int) -> float:
        self._waits += 1
        return self._policy.backoff(streak, self._waits)
