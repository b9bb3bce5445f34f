"""What really happened: when everything stood still, and what each spirit really did.

Rule: the pool is never asked and never told. A pool cannot see every freeze: one that begins and ends while it waits,
with no SIGCONT to tell of it, leaves no trace, and what cannot be seen cannot be credited. So a freeze counts from the
moment the pool could notice it, by SIGCONT or by being late.
"""

from dataclasses import dataclass, field

from ghostd.core.phases import SpiritId
from ghostd.testing.spirits import Spirit

_KEPT_MOST = 64  # freezes; older ones are of no use to anybody who is alive
_SLACK = 1e-6


@dataclass(slots=True)
class Truth:
    """The freezes that could be noticed, and the spirits as they are."""

    spirits: dict[SpiritId, Spirit] = field(default_factory=dict)
    noticed: list[tuple[float, float]] = field(default_factory=list)
    pending: list[tuple[float, float]] = field(default_factory=list)

    def froze(self, start: float, end: float) -> None:
        """Manager and spirits stood still."""
        self.pending.append((start, end))

    def settle(self, *, noticed: bool) -> None:
        """The manager runs again; whether it could notice that it had not."""
        if self.pending:
            if noticed:
                self.noticed = (self.noticed + self.pending)[-_KEPT_MOST:]
            self.pending = []

    def ran(self, since: float, now: float) -> float:
        """For how long things have run since then, as far as the manager can know."""
        total = now - since
        for start, end in self.noticed:
            total -= max(min(end, now) - max(start, since), 0.0)
        return total

    def why_not_silent(self, spirit: SpiritId, silence: float, now: float) -> str:
        """Why this spirit may not be found silent now; empty when it may."""
        one = self.spirits[spirit]
        if one.liar:
            return ""  # whoever writes nonsense into its cell looks hung by its own fault
        frozen = now - one.beat - self.ran(one.beat, now)
        limit = max(one.beat + silence, one.busy_until) + frozen
        if now >= limit - _SLACK:
            return ""
        return f"its last beat was at {one.beat:.6f}, so it has until {limit:.6f} ({frozen:.3f} s of that frozen)"
