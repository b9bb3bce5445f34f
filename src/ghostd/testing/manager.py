"""A manager without an operating system: gathers what has happened in a virtual kernel, asks the pool, does as it says.

Rule: it keeps the engine's side of the contract with a pool and no more. The events of a batch are gathered, then
handled; the board is read when the pool wants it; orders are performed in their order, and what becomes of them is told
in a later batch; the pool is called no later than its deadline.
"""

import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from ghostd.core import actions as do
from ghostd.core import events as fact
from ghostd.core.phases import Generation, SpiritId
from ghostd.core.policy import Policy
from ghostd.core.roster import Tally
from ghostd.core.snapshot import Snapshot
from ghostd.errors import GhostdError
from ghostd.exits import Exit
from ghostd.testing.check import Checker
from ghostd.testing.kernel import FOREVER, Kernel
from ghostd.testing.promises import Promise, Violation, demand
from ghostd.testing.spirits import Spirit, State
from ghostd.testing.truth import Truth

HISTORY: Final = 20  # events that a failure shows
_LOOKS_EVERY: Final = 16  # batches between two looks at a snapshot
_RAISED: Final = (AssertionError, ArithmeticError, AttributeError, GhostdError, LookupError, TypeError, ValueError)


class AnyPool(Protocol):
    """What a manager needs of a pool."""

    def handle(self, events: Sequence[fact.Event], now: float) -> list[do.Action]:
        """Take in what has happened, and say what to do about it."""
        ...

    def wants_board(self, now: float) -> bool:
        """Whether the batch to be handled now must have a BoardRead in it."""
        ...

    def deadline(self, now: float) -> float | None:
        """When to call ``handle`` at the latest."""
        ...

    @property
    def tally(self) -> Tally:
        """How many spirits there are of each kind."""
        ...

    def snapshot(self, now: float) -> Snapshot:
        """The pool as it is now."""
        ...

    @property
    def is_barren(self) -> bool:
        """Whether no spirit is ready because each dies early."""
        ...


@dataclass(slots=True, kw_only=True)
class Weather:
    """How well the machine treats the manager: chances a batch, and seconds."""

    latency: float = 0.0002  # from an event to the manager's turn, at most
    slow: float = 0.0  # the chance that a turn comes late
    slowness: float = 0.0  # then by so many seconds at most
    stall: float = 0.0  # the chance that the manager stands still between handling and performing
    stall_most: float = 0.0
    early: float = 0.0  # the chance of a turn for nothing
    again: float = 0.0  # the chance that something is told twice
    reads: float = 0.0  # the chance that the board is read though the pool does not want it
    doorbell_lost: float = 0.0
    doorbell_late: float = 0.0


class Manager:
    """One pool in one kernel."""

    def __init__(
        self, policy: Policy, kernel: Kernel, random: Random, make_pool: Callable[[Policy, float], AnyPool]
    ) -> None:
        now = kernel.now
        self.kernel = kernel
        self.random = random
        self.policy = policy
        self.pool = make_pool(policy, now)
        self.truth = Truth()
        self.checker = Checker(policy, self.truth, now)
        self.weather = Weather()
        self.make_spirit: Callable[[SpiritId, Generation], Spirit] = self._no_spirit
        self.history: deque[tuple[float, object]] = deque(maxlen=HISTORY)
        self.wake_at = now  # when the next turn is
        self.halted: do.Halt | None = None
        self.batches = 0
        self.spirits: dict[SpiritId, Spirit] = self.truth.spirits  # all that are not reaped
        self._commands: list[fact.Event] = []
        self._outcomes: list[fact.Event] = []
        self._changed: list[Spirit] = []  # have written a state that was not seen yet
        self._rung = self._continued = False
        self._frozen_until = now
        self._deadline: float = now
        self._stalled: list[do.Action] = []
        kernel.on_ended = self.wake

    # ── what others do to it ──
    def wake(self) -> None:
        """Something has happened that ends the wait."""
        self._wake_by(self.kernel.now)

    def command(self, event: fact.Event) -> None:
        """Somebody wants something."""
        self._commands.append(event)
        self.wake()

    def ring(self, spirit: Spirit) -> None:
        """A spirit has changed its state on the board, and rings the doorbell."""
        self._changed.append(spirit)
        weather, random = self.weather, self.random.random
        if weather.doorbell_lost and random() < weather.doorbell_lost:
            return
        if weather.doorbell_late and random() < weather.doorbell_late:
            self.kernel.after(random() * self.policy.silence, self._hear)
        else:
            self._hear()

    def freeze(self, seconds: float, *, all_of_it: bool, tells: bool) -> None:
        """It does not run for a while, nor do its spirits if ``all_of_it``; SIGCONT ``tells`` of it at the end."""
        now = self.kernel.now
        if now < self._frozen_until:
            return
        self.note(f"{'all stand' if all_of_it else 'the manager stands'} still for {seconds:.3f} s, {tells=}")
        self._frozen_until = now + seconds
        self._continued = self._continued or tells
        self.wake_at = self._frozen_until if tells else max(self.wake_at, self._frozen_until)
        if all_of_it:
            self.truth.froze(now, self._frozen_until)
            self.kernel.freeze(seconds)

    def note(self, what: object) -> None:
        """Remember for the report of a failure."""
        self.history.append((self.kernel.now, what))

    # ── its turn ──
    def turn(self) -> None:
        """Gather, handle, perform; or perform only, what it was about to when it was stalled."""
        now = self.kernel.now
        actions, self._stalled = self._stalled, []
        if not actions:
            events = self._gather(now)
            self.batches += 1
            actions = self._handle(events, now)
            weather = self.weather
            if actions and weather.stall and self.random.random() < weather.stall:
                self._stalled = actions
                self.wake_at = self._frozen_until = now + self.random.random() * weather.stall_most
                return
        forks = self._perform(actions)
        self.wake_at = FOREVER
        if self._outcomes or self._commands or self.kernel.ended or self._rung or self._continued:
            self._wake_by(now + 0.001 * forks)
        self._wake_by(self._deadline)

    def _wake_by(self, at: float) -> None:
        weather, random = self.weather, self.random.random
        at = max(at, self.kernel.now) + weather.latency * random()
        if weather.slow and random() < weather.slow:
            at += weather.slowness * random()
        if weather.early and random() < weather.early:
            at = self.kernel.now + (at - self.kernel.now) * random()
        if self._stalled:
            return
        at = max(at, self._frozen_until)
        self.wake_at = min(self.wake_at, at)

    # ── gather ──
    def _gather(self, now: float) -> list[fact.Event]:
        events = self._commands
        self._commands = []
        if self.kernel.ended:
            events += [self._reaped(process, now) for process in self.kernel.reap()]  # type: ignore[arg-type]
        looks = now >= self._deadline or self._continued
        if self._continued:
            events.append(fact.Continued(now))
            self._continued = False
        if self._changed and (self._rung or looks):
            self._look(events, now)
        self._rung = False
        if self.pool.wants_board(now) or (self.weather.reads and self.random.random() < self.weather.reads):
            cells = {s.spirit: (s.beat, s.busy_until, s.pid % 2, 0) for s in self.spirits.values()}
            events.append(fact.BoardRead(cells, now))
        if len(events) > 1:
            self.random.shuffle(events)
        if self._outcomes:
            events = self._outcomes + events  # what becomes of an order is known before anything that follows from it
            self._outcomes = []
        return events

    def _reaped(self, spirit: Spirit, now: float) -> fact.Exited:
        del self.spirits[spirit.spirit]
        return fact.Exited(spirit.spirit, spirit.exit, now)

    def _hear(self) -> None:
        self._rung = True
        self.wake()

    def _look(self, events: list[fact.Event], now: float) -> None:
        """Read the states on the board."""
        for spirit in self._changed:
            if spirit.told is State.BOOTING and (spirit.state is State.READY or self.random.random() < 0.5):
                events.append(fact.Readied(spirit.spirit, now))
                spirit.told = State.READY
            if spirit.worn and not spirit.told_worn:
                events.append(fact.Worn(spirit.spirit, now))
                spirit.told_worn = True
            if spirit.state is State.LEAVING and spirit.told is not State.LEAVING:
                events.append(fact.Left(spirit.spirit, now))
                spirit.told = State.LEAVING
        if self.weather.again and self.random.random() < self.weather.again:
            events.append(events[-1])
        self._changed.clear()

    # ── handle ──
    def _handle(self, events: Sequence[fact.Event], now: float) -> list[do.Action]:
        self.history += [(now, event) for event in events]
        checker = self.checker
        checker.told(events, now)
        try:
            actions = self.pool.handle(events, now)
            deadline, tally = self.pool.deadline(now), self.pool.tally
            snapshot = None if self.batches % _LOOKS_EVERY else self.pool.snapshot(now)
        except _RAISED as error:
            raise Violation(Promise.SOUND, repr(error)) from error
        self.history += [(now, action) for action in actions]
        checker.ordered(actions, now)
        checker.counted(tally, now)
        checker.settled(deadline, now, acted=bool(actions))
        if snapshot is not None:
            checker.agrees(snapshot, barren=self.pool.is_barren)
        self._deadline = FOREVER if deadline is None else deadline
        return actions

    # ── perform ──
    def _perform(self, actions: Sequence[do.Action]) -> int:
        """Do as ordered; returns the number of forks."""
        forks = 0
        for action in actions:
            match action:
                case do.Spawn():
                    forks += 1
                    self._fork(action)
                case do.Ask():
                    self._signal(action.spirit, signal.SIGQUIT)
                case do.Rouse():
                    self._signal(action.spirit, signal.SIGQUIT)
                    self._signal(action.spirit, signal.SIGCONT)
                case do.Kill():
                    self._signal(action.spirit, signal.SIGKILL)
                case do.Halt():
                    self._end(action)
                case _:
                    pass  # words, and burials: the process was reaped when its end was noticed
        return forks

    def _fork(self, order: do.Spawn) -> None:
        now = self.kernel.now
        spirit = self.make_spirit(order.spirit, order.generation)
        error = self.kernel.fork(spirit)
        if error:
            self._outcomes.append(fact.ForkFailed(order.spirit, error, now))
            return
        self.spirits[order.spirit] = spirit
        self._outcomes.append(fact.Forked(order.spirit, now))
        spirit.live()

    def _signal(self, spirit: SpiritId, signum: int) -> None:
        one = self.spirits.get(spirit)
        if one is not None:  # else reaped while the manager was about to do it
            demand(self.kernel.table.get(one.pid) is one, Promise.LIVING, f"pid {one.pid} belongs to somebody else")
            self.kernel.send(one, signum)

    def _end(self, halt: do.Halt) -> None:
        """The pool has ended: whatever comes now, it has nothing to say."""
        self.halted = halt
        now = self.kernel.now
        unburied = set(self.spirits) - set(self.checker.ledger.lives)
        demand(not unburied, Promise.BURIAL, unburied)
        late: list[fact.Event] = [fact.StopAsked(graceful=False, at=now), fact.ReloadAsked(now)]
        late += [fact.Exited(spirit, Exit(signal=signal.SIGKILL), now) for spirit in self.spirits]
        demand(not self.pool.handle(late, now), Promise.HALT, "orders after the end")

    def _no_spirit(self, spirit: SpiritId, generation: Generation) -> Spirit:
        raise NotImplementedError(f"no program for spirit {spirit} of generation {generation}: set make_spirit")
