"""The books of a world: what each spirit is, by what the pool was told and what it has ordered.

Rule: the books are kept from events and actions alone and share no code with the pool, so that an error in the one is
not in the other. What cannot be entered breaks a promise at once.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ghostd.core import actions as do
from ghostd.core import events as fact
from ghostd.core.phases import Generation, Phase, SpiritId
from ghostd.core.policy import Policy
from ghostd.testing.promises import Promise, Violation, demand

if TYPE_CHECKING:
    from ghostd.exits import Exit

# Tuples, not sets: a member is found by identity, which is several times faster than by the hash of an Enum.
ASKABLE: Final = (Phase.READY, Phase.BOOTING)
SERVING: Final = (Phase.READY, Phase.BOOTING, Phase.SPAWNING)
COUNTED: Final = (*SERVING, Phase.LEAVING)
_KEPT_MOST: Final = 64  # gaps


@dataclass(slots=True)
class Life:
    """What the books have on one spirit."""

    spirit: SpiritId
    seat: int
    generation: Generation
    phase: Phase
    since: float
    due: float = math.inf  # when its phase must be over, but for credit
    mark: float = 0.0  # how much credit had been given to all by then
    born: float = 0.0
    beat: float = 0.0  # the last one that the pool was told of
    busy_until: float = 0.0  # likewise
    worn_at: float = math.inf  # from when on it may be replaced
    has_said_worn: bool = False
    is_recycled: bool = False  # asked because it was worn


class Ledger:
    """All lives that are not buried."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.lives: dict[SpiritId, Life] = {}
        self.ended: dict[SpiritId, Exit] = {}  # told to the pool in this batch, and not buried yet
        self.births = self.burials = 0
        self.given = 0.0  # credit, in seconds, summed up
        self._gaps: list[tuple[float, float]] = []  # what that was given for
        self._seats: set[int] = set()
        self._last_serial = 0

    @property
    def awaits(self) -> bool:
        """Whether the outcome of a fork is not known yet."""
        return self.count(Phase.SPAWNING) > 0

    def count(self, *phases: Phase) -> int:
        """How many there are in these phases; counts come from the thing counted, each time anew."""
        total = 0
        for life in self.lives.values():
            if life.phase in phases:
                total += 1
        return total

    def give(self, seconds: float, now: float) -> None:
        """The pool may put off all limits by that; once a batch, before its events."""
        self.given += seconds
        if seconds:
            self._gaps = [*self._gaps[1 - _KEPT_MOST :], (now - seconds, now)]

    def move(self, life: Life, phase: Phase, at: float, limit: float) -> None:
        """It came into a phase, at a time not after now, which must be over within the limit."""
        life.phase, life.since, life.due = phase, at, at + limit
        life.mark = self._given_by(at)

    def _given_by(self, at: float) -> float:
        """How much had been given for the time until then: all but what was given for the time since."""
        return self.given - sum(end - max(begin, at) for begin, end in self._gaps if end > at)

    # ── events ──
    def forked(self, event: fact.Forked, _now: float) -> None:
        """Its process exists."""
        life = self.lives[event.spirit]
        life.born = event.at
        life.worn_at = min(life.worn_at, event.at + self.policy.worn_after(event.spirit))
        self.births += 1
        self.move(life, Phase.BOOTING, event.at, self.policy.boot_timeout)

    def readied(self, event: fact.Readied, _now: float) -> None:
        """It has said ready."""
        life = self.lives.get(event.spirit)
        if life is not None and life.phase is Phase.BOOTING:
            life.beat = event.at
            self.move(life, Phase.READY, event.at, self.policy.silence)
            life.due = max(life.due, life.busy_until)

    def heard(self, event: fact.BoardRead, now: float) -> None:
        """The board was read."""
        lives, silence, working = self.lives, self.policy.silence, Phase.READY
        for spirit, (beat, busy_until, _, _) in event.cells.items():
            life = lives.get(spirit)
            if life is None:
                continue
            life.busy_until = busy_until  # it may be ready, though that is not known yet
            if life.phase is not working:
                continue
            last = min(beat, now)
            if last > life.beat:
                life.beat = last
                life.mark = self._given_by(last)
            life.due = max(life.beat + silence, busy_until)

    def worn(self, event: fact.Worn, now: float) -> None:
        """It has said that it has done its share."""
        life = self.lives.get(event.spirit)
        if life is not None:
            life.worn_at, life.has_said_worn = min(life.worn_at, now), True

    def exited(self, event: fact.Exited, now: float) -> Phase:
        """Its process has ended; returns the phase in which that was."""
        life = self.lives[event.spirit]
        phase = life.phase
        self.ended[event.spirit] = event.exit
        self.move(life, Phase.GONE, now, math.inf)
        return phase

    # ── actions ──
    def enter(self, order: do.Spawn, now: float) -> None:
        """A spirit was ordered."""
        demand(order.seat not in self._seats, Promise.SEAT, order)
        demand(order.spirit > self._last_serial, Promise.SERIAL, order)
        self._last_serial = order.spirit
        self._seats.add(order.seat)
        life = Life(order.spirit, order.seat, order.generation, Phase.SPAWNING, now, mark=self.given)
        self.lives[order.spirit] = life

    def alive(self, spirit: SpiritId, order: do.Action) -> Life:
        """The life of a spirit that has a process."""
        life = self.lives.get(spirit)
        if life is None or life.phase in (Phase.SPAWNING, Phase.GONE):
            raise Violation(Promise.LIVING, f"{order}: {life}")
        return life

    def bury(self, order: do.Bury) -> None:
        """It was buried."""
        exit_ = self.ended.pop(order.spirit, None)
        if exit_ != order.exit:
            raise Violation(Promise.BURIAL, f"{order}, but it ended with {exit_}")
        self.burials += 1
        self.leave(self.lives[order.spirit])

    def leave(self, life: Life) -> None:
        """It was buried, or never born."""
        self._seats.discard(life.seat)
        del self.lives[life.spirit]
