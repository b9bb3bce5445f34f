"""Each check can fail: for every promise a pool that breaks it in one small way, found by that very check."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import pytest

from ghostd.core.actions import Action, Announce, Ask, Bury, Halt, Kill, News, Reason, Spawn
from ghostd.core.events import Cell, Event, ScaleAsked, StopAsked
from ghostd.core.gaps import Gaps
from ghostd.core.phases import Phase, Record, SpiritId
from ghostd.core.policy import Policy
from ghostd.core.pool import Pool
from ghostd.core.rollout import Rollout
from ghostd.core.roster import Tally
from ghostd.core.snapshot import Snapshot
from ghostd.errors import ExitCode
from ghostd.exits import Exit
from ghostd.record import replace
from ghostd.testing.promises import Promise, Violation
from ghostd.testing.world import Mode, World
from tests.sim.test_requests import BAD_SERVERS

SEEDS: Final = range(1, 41)
STEPS: Final = 5_000


@contextmanager
def counting(pool: Pool, **more: int) -> Iterator[None]:
    """In here the pool has so many more of a kind than it has."""
    tally = pool._roster.tally
    for kind, number in more.items():
        setattr(tally, kind, getattr(tally, kind) + number)
    yield
    for kind, number in more.items():
        setattr(tally, kind, getattr(tally, kind) - number)


class Spoiled(Pool):
    """Says something else than it thinks."""

    def handle(self, events: Sequence[Event], now: float) -> list[Action]:
        return [spoiled for order in super().handle(events, now) for spoiled in self.spoil(order)]

    def spoil(self, order: Action) -> Sequence[Action]:
        raise NotImplementedError


class StumblesOverNumbers(Pool):
    def _scale(self, to: int) -> None:
        raise ValueError(to)


class SeatsAllInTheFirstRow(Spoiled):
    def spoil(self, order: Action) -> Sequence[Action]:
        return [replace(order, seat=0)] if isinstance(order, Spawn) else [order]


class CallsAllByOneName(Spoiled):
    def spoil(self, order: Action) -> Sequence[Action]:
        return [replace(order, spirit=SpiritId(1))] if isinstance(order, Spawn) else [order]


class HasTwoSpareMore(Pool):
    def __init__(self, policy: Policy, now: float) -> None:
        super().__init__(replace(policy, spare=policy.spare + 2), now)


class MakesOneTooMany(Pool):
    def _fill(self, now: float) -> None:
        with counting(self, ready=-1):
            super()._fill(now)


class AsksTheDead(Spoiled):
    def spoil(self, order: Action) -> Sequence[Action]:
        return [order, Ask(order.spirit, Reason.STOP, 1.0)] if isinstance(order, Bury) else [order]


class KillsTwice(Spoiled):
    def spoil(self, order: Action) -> Sequence[Action]:
        return [order, order] if isinstance(order, Kill) else [order]


class LetsThemRot(Spoiled):
    def spoil(self, order: Action) -> Sequence[Action]:
        return [] if isinstance(order, Bury) else [order]


class MissesOneLess(Pool):
    def _shed(self, now: float) -> None:
        with counting(self, old=1):
            super()._shed(now)


class MakesTheOldOnes(Spoiled):
    def spoil(self, order: Action) -> Sequence[Action]:
        newer = isinstance(order, Spawn) and order.generation > 1
        return [replace(order, generation=1)] if newer else [order]


class CallsTheSurplusWorn(Spoiled):
    def spoil(self, order: Action) -> Sequence[Action]:
        surplus = isinstance(order, Ask) and order.reason is Reason.SURPLUS
        return [replace(order, reason=Reason.RECYCLED)] if surplus else [order]


class NeverRecycles(Pool):
    def _recycle(self, now: float) -> None:
        pass


class Hasty(Rollout):
    def turn(self, tally: Tally, spirits: int) -> Announce | None:
        return super().turn(replace(tally, old=0), min(spirits, 1))


class IsDoneWithTheFirst(Pool):
    def __init__(self, policy: Policy, now: float) -> None:
        super().__init__(policy, now)
        self.rollout = Hasty()


class NeverTellsThatAReloadFailed(Spoiled):
    def spoil(self, order: Action) -> Sequence[Action]:
        return [] if isinstance(order, Announce) and order.news is News.RELOAD_FAILED else [order]


class NeverSleeps(Gaps):
    def wake(self, now: float, planned: float, *, told: bool, strict: bool) -> float:
        self.awake = now
        return 0.0


class TakesItsOwnSleepForTheirs(Pool):
    def __init__(self, policy: Policy, now: float) -> None:
        super().__init__(policy, now)
        self._gaps = self._roster._gaps = NeverSleeps(now)


class Forgetful(Gaps):
    def spent(self, at: float) -> float:
        return self.total


class ForgetsTheCreditOfTheUnread(Pool):
    def __init__(self, policy: Policy, now: float) -> None:
        super().__init__(policy, now)
        self._gaps = self._roster._gaps = Forgetful(now)
        self._gaps.end = math.inf


class HasNoPatience(Pool):
    def __init__(self, policy: Policy, now: float) -> None:
        super().__init__(replace(policy, graceful_timeout=policy.graceful_timeout / 2), now)


class LooksAway(Pool):
    def _escalate(self, now: float) -> None:
        pass


class NeverWaits(Pool):
    def __init__(self, policy: Policy, now: float) -> None:
        super().__init__(replace(policy, backoff_first=0.001, backoff_most=0.001), now)


class NeverGivesUp(Pool):
    def __init__(self, policy: Policy, now: float) -> None:
        super().__init__(replace(policy, give_up_after=0.0), now)


class GivesUpTooSoon(Pool):
    def __init__(self, policy: Policy, now: float) -> None:
        super().__init__(replace(policy, give_up_after=policy.give_up_after / 2), now)


class GoesOnMaking(Pool):
    def _wind_up(self, now: float) -> None:
        self._fill(now)
        super()._wind_up(now)


class DoesNotWaitBeforeItAsks(Pool):
    def __init__(self, policy: Policy, now: float) -> None:
        super().__init__(replace(policy, drain_delay=0.0), now)


class AsksNobodyAfterTheDelay(Pool):
    def _stop(self, graceful: bool, now: float) -> None:
        super()._stop(graceful, now)
        self._drain_at = math.inf


class SleepsThroughStops(Pool):
    def _stop(self, graceful: bool, now: float) -> None:
        pass


class WaitsForTheUnkillable(Pool):
    def _wind_up(self, now: float) -> None:
        super()._wind_up(now)
        for record in self._roster:
            if record.phase is Phase.KILLED:
                record.due = self._gaps.lived(record.since) + self._policy.kill_timeout


class LosesHeartWithItsOwnDelay(Pool):
    """A stop that was late to kill counts that delay against who is killed."""

    def _wind_up(self, now: float) -> None:
        super()._wind_up(now)
        for record in self._roster:
            if record.phase is Phase.KILLED:
                self._roster.hasten(record, self._roster.stop_by + 0.5)


class EndsBeforeTheOthers(Spoiled):
    def handle(self, events: Sequence[Event], now: float) -> list[Action]:
        end = [Halt(ExitCode.OK, Reason.STOP, "") for event in events if isinstance(event, StopAsked)]
        return super().handle(events, now) + end[:1]

    def spoil(self, order: Action) -> Sequence[Action]:
        return [order]


class EndsTwice(Spoiled):
    def spoil(self, order: Action) -> Sequence[Action]:
        return [order, order] if isinstance(order, Halt) else [order]


class LiesAboutItsEnd(Spoiled):
    def spoil(self, order: Action) -> Sequence[Action]:
        return [replace(order, code=ExitCode.OK)] if isinstance(order, Halt) else [order]


class EndsWithoutAReason(Pool):
    def handle(self, events: Sequence[Event], now: float) -> list[Action]:
        ends = [StopAsked(graceful=True, at=now) for event in events if isinstance(event, ScaleAsked)]
        return super().handle([*events, *ends], now)


class ThinksThatItWasWhole(Pool):
    def __init__(self, policy: Policy, now: float) -> None:
        super().__init__(policy, now)
        self._was_whole = True


class Oversleeps(Pool):
    def deadline(self, now: float) -> float | None:
        deadline = super().deadline(now)
        return None if deadline is None else deadline + 0.1


class NeverWakes(Pool):
    def _next_due(self, now: float) -> float:
        return math.inf


class TurnsAndTurns(Pool):
    def deadline(self, now: float) -> float | None:
        deadline = super().deadline(now)
        return None if deadline is None else min(deadline, self._gaps.awake)


class FlattersItself(Pool):
    def snapshot(self, now: float, cells: Mapping[SpiritId, Cell] | None = None) -> Snapshot:
        seen = super().snapshot(now, cells)
        return replace(seen, ready=seen.ready + 1)


class CountsTheDead(Pool):
    def _exited(self, record: Record, exit: Exit, now: float) -> None:  # noqa: A002
        super()._exited(record, exit, now)
        self._roster.tally.leaving += record.reason is Reason.STOP


class LosesHeart(Pool):
    def _fill(self, now: float) -> None:
        if not self._was_whole:
            super()._fill(now)


class ForgetsToComeBack(Pool):
    """After a wait nobody calls it again: the deadline of the restraint is missing."""

    def _next_due(self, now: float) -> float:
        return self._roster.due


Make = Callable[[Policy, float], Pool]
UNKILLABLE: Final = Policy(spirits=3, kill_timeout=9.0, graceful_timeout=1.0)
CRASHING: Final = Policy(spirits=3, young=5.0)
AGEING: Final = Policy(spirits=2, max_lifetime=20.0, graceful_timeout=2.0, boot_timeout=5.0)
DRAINING: Final = Policy(spirits=2, drain_delay=7.0)
LIVELY: Final = (LosesHeart, ForgetsToComeBack, NeverRecycles)  # found by what does not happen any more
GIVING_UP: Final = Policy(spirits=1, give_up_after=3.0)

SABOTAGES: Final[list[tuple[Promise, Make, Policy | None]]] = [
    (Promise.SOUND, StumblesOverNumbers, None),
    (Promise.SEAT, SeatsAllInTheFirstRow, None),
    (Promise.SERIAL, CallsAllByOneName, None),
    (Promise.ROOM, HasTwoSpareMore, None),
    (Promise.REST, MakesOneTooMany, Policy(spare=2)),
    (Promise.LIVING, AsksTheDead, None),
    (Promise.LADDER, KillsTwice, None),
    (Promise.BURIAL, LetsThemRot, None),
    (Promise.CAPACITY, MissesOneLess, None),
    (Promise.GENERATION, MakesTheOldOnes, None),
    (Promise.RELOAD, IsDoneWithTheFirst, None),
    (Promise.RELOAD, NeverTellsThatAReloadFailed, None),
    (Promise.RECYCLE, CallsTheSurplusWorn, None),
    (Promise.RECYCLE, NeverRecycles, AGEING),
    (Promise.NO_FALSE_ALARM, TakesItsOwnSleepForTheirs, None),
    (Promise.NO_FALSE_ALARM, ForgetsTheCreditOfTheUnread, None),
    (Promise.PATIENCE, HasNoPatience, None),
    (Promise.PATIENCE, LosesHeartWithItsOwnDelay, UNKILLABLE),
    (Promise.FOUND, LooksAway, None),
    (Promise.BACKOFF, NeverWaits, CRASHING),
    (Promise.GIVE_UP, NeverGivesUp, GIVING_UP),
    (Promise.CODE, GivesUpTooSoon, GIVING_UP),
    (Promise.STOP_FIRST, GoesOnMaking, None),
    (Promise.DRAIN, DoesNotWaitBeforeItAsks, DRAINING),
    (Promise.DRAIN, AsksNobodyAfterTheDelay, DRAINING),
    (Promise.DRAIN, SleepsThroughStops, None),
    (Promise.STOP_BOUND, WaitsForTheUnkillable, UNKILLABLE),
    (Promise.HALT, EndsBeforeTheOthers, None),
    (Promise.HALT, EndsTwice, None),
    (Promise.CODE, LiesAboutItsEnd, None),
    (Promise.CODE, EndsWithoutAReason, Policy()),
    (Promise.BOOT, ThinksThatItWasWhole, Policy(spirits=2)),
    (Promise.DEADLINE, Oversleeps, None),
    (Promise.DEADLINE, NeverWakes, None),
    (Promise.PROGRESS, TurnsAndTurns, None),
    (Promise.COUNTS, CountsTheDead, None),
    (Promise.SNAPSHOT, FlattersItself, None),
    (Promise.WHOLE, LosesHeart, None),
    (Promise.WHOLE, ForgetsToComeBack, Policy(spirits=1)),
]


def first_violation(make_pool: Make, policy: Policy | None, mode: Mode) -> Violation | None:
    for seed in SEEDS:
        try:
            World(policy, seed=seed, mode=mode, make_pool=make_pool).run(STEPS)
        except Violation as violation:
            return violation
    return None


@pytest.mark.parametrize(("promise", "broken", "policy"), SABOTAGES)
def test_a_pool_that_breaks_one_promise_is_found_by_the_check_of_it(
    promise: Promise, broken: Make, policy: Policy | None
) -> None:
    mode = Mode.LIVENESS if broken in LIVELY else Mode.SAFETY
    violation = first_violation(broken, policy, mode)
    assert violation is not None, "nothing was found"
    assert violation.promise is promise, violation
    assert f"seed {violation.place.split(',')[0].removeprefix('seed ')}" in str(violation)
    assert 0 < len(violation.events) <= 20


def test_every_promise_has_a_pool_or_a_spirit_that_breaks_it() -> None:
    assert {promise for promise, *_ in (*SABOTAGES, *BAD_SERVERS)} == set(Promise)


def test_a_whole_pool_passes_where_the_broken_ones_fail() -> None:
    for policy in (None, UNKILLABLE, CRASHING, GIVING_UP):
        for mode in Mode:
            World(policy, seed=1, mode=mode).run(STEPS)
