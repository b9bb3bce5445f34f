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

_JITTER = 0.15  # waits are up to this part shorter, so that ghosts that failed together do not return together


class Restraint:
    """Remembers early deaths and failed forks of one pool."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._holds: list[tuple[float, int]] = []  # until when, and the streak; soonest first
        self._deaths: deque[float] = deque(maxlen=policy.intensity)
        self._drawn = policy.jitter_seed
        self._fork_failures = 0
        self._fork_after = 0.0

    # ── early deaths ──
    def early_death(self, streak: int, now: float) -> float:
        """Hold the vacancy of a spirit that died early, the ``streak``-th in a row: until when."""
        assert streak >= 1, "the death itself counts"
        self._deaths.append(now)
        return self._hold(now + self._delay(streak), streak)

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
        self._fork_failures += 1
        delay = self._delay(self._fork_failures + 1)
        self._fork_after = now + delay
        return delay

    def fork_succeeded(self) -> None:
        """The kernel gives processes again."""
        self._fork_failures, self._fork_after = 0, 0.0

    @property
    def fork_failures(self) -> int:
        """How many trials in a row have failed."""
        return self._fork_failures

    def forks_allowed(self, now: float) -> int | None:
        """How many forks may be tried now; None is any number."""
        if not self._fork_failures:
            return None
        return 1 if now >= self._fork_after else 0

    # ── time ──
    def deadline(self, now: float) -> float:
        """When something may be tried again that may not be tried now; infinity: nothing waits."""
        waits = [until for until, _ in self._holds if until > now]
        if self._fork_after > now:
            waits.append(self._fork_after)
        return min(waits, default=NEVER)

    def _hold(self, until: float, streak: int) -> float:
        self._holds.append((until, streak))
        self._holds.sort()
        return until

    def _delay(self, streak: int) -> float:
        """Nothing for the first, then doubling from ``backoff_first`` to ``backoff_most``, a little less by jitter."""
        if streak <= 1:
            return 0.0
        doublings = min(streak - 2, 64)
        delay = min(self._policy.backoff_first * 2.0**doublings, self._policy.backoff_most)
        return delay * (1.0 - _JITTER * self._draw())

    def _draw(self) -> float:
        """The next of an even, repeatable spread over 0..1 (the pool has no chance in it)."""
        self._drawn = (self._drawn * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
        return (self._drawn >> 33) / 2**31
