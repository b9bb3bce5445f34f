"""Time in which the manager did not run: a manager that was asleep cannot judge its spirits.

Limits are kept in *lived* time, which stands still in a gap. So a gap puts off every limit at once and touches no
record, and what was told or read only after it (a fork, a beat) has its share all the same.
"""

from __future__ import annotations

from collections import deque

NOISE = 0.05  # a wake-up later than planned by less is the scheduler's, not a gap
LONG_GAP = 1.0  # later by more: the manager was stopped or starved, perhaps since it last ran
_KEPT = 64  # gaps; what is told of a time before them was due long ago


class Gaps:
    """The gaps of one manager, as far as it can know of them."""

    def __init__(self, now: float) -> None:
        self.total = 0.0  # seconds of all gaps
        self.end = 0.0  # of the last one
        self.awake = now  # when it last ran
        self._gaps = deque([(0.0, 0.0, 0.0)], maxlen=_KEPT)  # begin, end, total before

    def wake(self, now: float, planned: float, *, told: bool, strict: bool) -> float:
        """The manager runs, and had meant to at ``planned``: for how long it may not have run before.

        ``told``: by SIGCONT that it was stopped, which does not say for how long. ``strict``: what it was late by a
        little counts as if it had run.
        """
        assert now >= self.awake, "time is monotonic"
        late = now - planned
        short = late if late >= NOISE and not strict else 0.0
        gap = now - self.awake if told or late >= LONG_GAP else short
        if gap > 0.0:
            self._gaps.append((now - gap, now, self.total))
            self.total, self.end = self.total + gap, now
        self.awake = now
        return gap

    def spent(self, at: float) -> float:
        """Seconds of the gaps, or parts of them, that lie before ``at``."""
        for begin, end, before in reversed(self._gaps):
            if at > begin:
                return before + min(at, end) - begin
        return self._gaps[0][2]

    def lived(self, at: float) -> float:
        """This moment in lived time."""
        return at - self.spent(at)
