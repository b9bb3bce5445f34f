"""Stop pre-empts everything and is always bounded, whatever the spirits do."""

import pytest

from ghostd.core.actions import Abandon, Ask, Finish, Halt, Kill, Reason, Rouse, Spawn
from ghostd.core.events import ReloadAsked, ScaleAsked
from ghostd.core.phases import SpiritId
from ghostd.core.snapshot import State
from ghostd.errors import ExitCode
from tests.unit.core.drive import (
    BY_KILL,
    FAILED,
    due,
    exited,
    fork_failed,
    forked,
    left,
    of,
    pool,
    read,
    readied,
    stop,
    whole,
)

ENDED = Halt(ExitCode.OK, Reason.STOP, "all spirits have ended")


def test_a_graceful_stop_asks_everybody_and_ends_with_the_last() -> None:
    made = whole(2, graceful_timeout=30.0)
    assert made.handle([stop(5.0)], 5.0) == [
        Finish(graceful=True, reason=Reason.STOP),
        Ask(SpiritId(1), Reason.STOP, 30.0),
        Ask(SpiritId(2), Reason.STOP, 30.0),
    ]
    assert made.snapshot(5.0).state is State.STOPPING
    assert of(Spawn, made.handle([exited(1, 6.0)], 6.0)) == []
    assert made.handle([exited(2, 7.0)], 7.0)[-1] == ENDED


def test_a_stop_at_once_kills_everybody() -> None:
    made = whole(2)
    assert made.handle([stop(5.0, graceful=False)], 5.0) == [
        Finish(graceful=False, reason=Reason.STOP),
        Kill(SpiritId(1), Reason.STOP_AT_ONCE, 5.0),
        Kill(SpiritId(2), Reason.STOP_AT_ONCE, 5.0),
    ]
    assert made.handle([exited(1, 5.1, BY_KILL), exited(2, 5.1, BY_KILL)], 5.1)[-1] == ENDED


def test_a_graceful_stop_kills_at_its_limit_and_ends_half_a_second_later_at_most() -> None:
    made = whole(1, graceful_timeout=30.0)
    made.handle([stop(5.0)], 5.0)
    assert due(made, 5.0) == 35.0
    assert made.handle([read(35.0)], 35.0) == [Kill(SpiritId(1), Reason.SLOW_LEAVE, 30.0)]
    assert due(made, 35.0) == 35.5
    assert made.handle([read(35.5)], 35.5) == [
        Abandon(SpiritId(1), Reason.OUTLIVED, 0.5),
        Halt(ExitCode.SYSTEM, Reason.OUTLIVED, "all spirits have ended, but these outlived SIGKILL: 1"),
    ]


def test_graceful_becomes_at_once_when_asked_again_so() -> None:
    made = whole(2)
    made.handle([stop(5.0)], 5.0)
    assert made.handle([stop(6.0, graceful=False)], 6.0) == [
        Finish(graceful=False, reason=Reason.STOP),
        Kill(SpiritId(1), Reason.STOP_AT_ONCE, 1.0),
        Kill(SpiritId(2), Reason.STOP_AT_ONCE, 1.0),
    ]
    assert due(made, 6.0) == 6.5


def test_at_once_never_becomes_graceful_again() -> None:
    made = whole(1)
    made.handle([stop(5.0, graceful=False)], 5.0)
    assert made.handle([stop(6.0)], 5.1) == []
    assert due(made, 5.1) == 5.5


def test_a_thousand_graceful_stops_are_one() -> None:
    made = whole(1, graceful_timeout=30.0)
    orders = made.handle([stop(5.0)] * 1000, 5.0)
    assert [type(order) for order in orders] == [Finish, Ask]
    assert made.handle([stop(6.0)] * 1000, 6.0) == []
    assert due(made, 6.0) == 35.0


def test_nothing_is_made_once_a_stop_was_asked_for() -> None:
    made = whole(2)
    made.handle([stop(5.0)], 5.0)
    orders = made.handle([ReloadAsked(6.0), ScaleAsked(6.0, to=9), exited(1, 6.0, FAILED)], 6.0)
    assert of(Spawn, orders) == []
    assert made.snapshot(6.0).wanted == 2


def test_a_spirit_whose_fork_was_under_way_is_asked_when_it_is_there() -> None:
    made = pool(2)
    made.handle([], 0.0)
    assert made.handle([stop(0.0)], 0.0) == [Finish(graceful=True, reason=Reason.STOP)]
    orders = made.handle([forked(1), fork_failed(2)], 0.1)
    assert of(Ask, orders) == [1]
    assert made.handle([readied(1, 0.2)], 0.2) == []
    assert made.handle([exited(1, 0.3)], 0.3)[-1] == ENDED


def test_a_stop_before_anything_ends_at_once() -> None:
    made = pool(0)
    assert made.handle([stop(0.0)], 0.0) == [Finish(graceful=True, reason=Reason.STOP), ENDED]


def test_a_stop_that_comes_with_an_early_death_is_a_stop() -> None:
    made = pool(1)
    made.handle([], 0.0)
    made.handle([forked(1)], 0.0)
    assert made.handle([stop(0.1), exited(1, 0.1, FAILED)], 0.1)[-1] == ENDED


def test_who_was_leaving_already_keeps_its_own_limit() -> None:
    made = whole(2, spare=0, graceful_timeout=30.0)
    made.handle([left(1, 5.0)], 5.0)
    made.handle([stop(25.0)], 25.0)
    assert due(made, 25.0) == 35.0
    assert of(Kill, made.handle([read(35.0)], 35.0)) == [1]


@pytest.mark.parametrize(("graceful_timeout", "killed_at"), [(3.0, 58.0), (30.0, 65.0)])
def test_a_silent_one_is_killed_at_its_own_limit_or_the_stop_s(graceful_timeout: float, killed_at: float) -> None:
    made = whole(1, graceful_timeout=graceful_timeout)
    made.handle([read(27.5, {1: 0.0})], 27.5)
    assert of(Rouse, made.handle([read(55.0, {1: 0.0})], 55.0)) == [1]
    made.handle([stop(55.0), fork_failed(2, 55.0)], 55.0)
    assert due(made, 55.0) == killed_at
    assert of(Kill, made.handle([read(killed_at)], killed_at)) == [1]


def test_who_was_killed_already_does_not_delay_the_end() -> None:
    made = whole(1, graceful_timeout=0.0, kill_timeout=1000.0)
    made.handle([left(1, 5.0)], 5.0)
    made.handle([read(5.0), forked(2, 5.0)], 5.0)
    made.handle([readied(2, 5.1)], 5.1)
    made.handle([stop(6.0)], 6.0)
    assert due(made, 6.0) == 6.0
    made.handle([read(6.0), exited(2, 6.0)], 6.0)
    assert due(made, 6.0) == 6.5
    assert isinstance(made.handle([read(6.5)], 6.5)[-1], Halt)


@pytest.mark.parametrize("late", [0.04, 0.5, 0.55, 0.99])
def test_who_is_killed_by_a_manager_that_was_late_has_its_half_second_to_die(late: float) -> None:
    made = whole(1, graceful_timeout=30.0)
    made.handle([stop(5.0)], 5.0)
    killed_at = 35.0 + late
    assert of(Kill, made.handle([read(killed_at)], killed_at)) == [1]
    assert due(made, killed_at) == killed_at + 0.5
    assert made.handle([exited(1, killed_at + 0.1, BY_KILL)], killed_at + 0.1)[-1] == ENDED


def test_a_kill_timeout_shorter_than_the_last_wait_is_kept() -> None:
    made = whole(1, kill_timeout=0.2)
    made.handle([stop(5.0, graceful=False)], 5.0)
    assert due(made, 5.0) == 5.2


def test_without_time_to_leave_everybody_is_asked_and_then_killed() -> None:
    made = whole(1, graceful_timeout=0.0)
    assert of(Ask, made.handle([stop(5.0)], 5.0)) == [1]
    assert due(made, 5.0) == 5.0
    assert of(Kill, made.handle([read(5.0)], 5.0)) == [1]


def test_a_lost_spirit_is_named_in_the_end() -> None:
    made = whole(1)
    made.handle([read(27.5, {1: 0.0})], 27.5)
    made.handle([read(55.0, {1: 0.0})], 55.0)
    made.handle([forked(2, 55.0), readied(2, 55.0)], 55.0)
    made.handle([read(65.0, {2: 64.0})], 65.0)
    assert of(Abandon, made.handle([read(70.0, {2: 69.0})], 70.0)) == [1]
    made.handle([stop(71.0)], 71.0)
    (halt,) = [order for order in made.handle([exited(2, 71.5)], 71.5) if isinstance(order, Halt)]
    assert halt.code is ExitCode.SYSTEM
    assert halt.detail.endswith("outlived SIGKILL: 1")


def test_every_graceful_stop_is_bounded_by_its_limit_and_a_second() -> None:
    for asked_at in (0.0, 30.0, 54.9, 60.0, 66.0, 69.0):
        made = whole(1, graceful_timeout=20.0, spare=1)
        now = 0.0
        while now < asked_at:  # a spirit that does nothing that it is asked to
            now = min(due(made, now), asked_at)
            orders = made.handle([read(now, {1: 0.0})], now)
            made.handle([forked(spirit, now) for spirit in of(Spawn, orders)], now)
        orders = made.handle([stop(asked_at)], now)
        while not any(isinstance(order, Halt) for order in orders):
            now = due(made, now)
            assert now <= asked_at + 21.0
            orders = made.handle([read(now)], now)
