"""Crash loops slow down; the pool stays up, says that it is degraded, and gives up only when told to."""

import pytest

from ghostd.core.actions import Announce, Bury, Finish, Halt, Kill, News, Reason, Spawn
from ghostd.core.events import ReloadAsked, ScaleAsked
from ghostd.core.policy import Policy
from ghostd.core.pool import Pool
from ghostd.core.snapshot import State
from ghostd.errors import ExitCode
from ghostd.exits import Exit
from tests.unit.core.drive import (
    BY_KILL,
    CLEAN,
    FAILED,
    SEGFAULT,
    due,
    exited,
    fork_failed,
    forked,
    left,
    news,
    of,
    read,
    readied,
    stop,
    whole,
)


def crash(made: Pool, spirit: int, now: float, exit_: Exit = FAILED) -> list[int]:
    """Have it forked and ended at once; returns what is ordered in its place."""
    made.handle([forked(spirit, now)], now)
    return of(Spawn, made.handle([exited(spirit, now, exit_)], now))


def boots(made: Pool, seconds: float, lifetime: float = 0.01) -> list[float]:
    """When spirits were made, if each one dies so soon after its fork."""
    now, spirit, times = 1.0, 1, []
    orders = made.handle([exited(1, now)], now)
    while now < seconds:
        for spirit in of(Spawn, orders):
            times.append(now)
            made.handle([forked(spirit, now)], now)
            now += lifetime
            orders = made.handle([exited(spirit, now, FAILED)], now)
            break
        else:
            now = due(made, now)
            orders = made.handle([read(now)], now)
    return times


def test_the_first_early_death_in_a_row_is_replaced_at_once_and_the_second_waits() -> None:
    made = whole(1, young=1.0)
    orders = made.handle([exited(1, 0.9, FAILED)], 0.9)
    assert [order.reason for order in orders if isinstance(order, Bury | Spawn)] == [Reason.EARLY_DEATH, Reason.RETRY]
    made.handle([forked(2, 0.9)], 0.9)
    orders = made.handle([exited(2, 1.0, SEGFAULT)], 1.0)
    assert of(Spawn, orders) == []
    (held,) = [order for order in orders if isinstance(order, Announce)]
    assert held.news is News.HELD
    assert "spirit 2 (seat 0) died early: it ended (signal 11, core dumped) before it was ready" in held.detail
    assert 1.085 <= due(made, 1.0) <= 1.1
    orders = made.handle([read(1.1)], 1.1)
    assert [order.reason for order in orders if isinstance(order, Spawn)] == [Reason.RETRY]


def test_a_life_as_long_as_young_is_no_early_death() -> None:
    made = whole(1, young=1.0)
    orders = made.handle([exited(1, 1.0, FAILED)], 1.0)
    assert [order.reason for order in orders if isinstance(order, Bury | Spawn)] == [Reason.ENDED, Reason.MISSING]
    assert made.snapshot(1.0).totals.early_deaths == 0


def test_a_clean_exit_may_be_an_early_death_too() -> None:
    made = whole(1)
    made.handle([exited(1, 0.5, CLEAN)], 0.5)
    assert crash(made, 2, 0.5, CLEAN) == []


def test_to_leave_early_is_an_early_death_as_well() -> None:
    made = whole(1, spare=1)
    made.handle([left(1, 0.5)], 0.5)
    made.handle([forked(2, 0.5), readied(2, 0.6)], 0.6)
    assert of(Spawn, made.handle([left(2, 0.7)], 0.7)) == []
    assert of(Spawn, made.handle([exited(1, 0.75), exited(2, 0.75)], 0.75)) == []
    assert made.snapshot(0.75).totals.early_deaths == 2


def test_a_crash_loop_boots_at_most_twelve_times_a_minute_once_at_rest() -> None:
    times = boots(whole(1), 600.0)
    at_rest = [at for at in times if at > 60.0]
    for begin in range(60, 540, 5):
        assert sum(begin <= at < begin + 60 for at in at_rest) <= 12
    assert len(times) <= 12 * 10 + 8


def test_a_life_longer_than_young_ends_the_row() -> None:
    made = whole(1)
    made.handle([exited(1, 0.5, FAILED)], 0.5)
    assert crash(made, 2, 0.5) == []
    made.handle([read(0.6)], 0.6)
    made.handle([forked(3, 0.6)], 0.6)
    made.handle([readied(3, 0.7)], 0.7)
    assert of(Spawn, made.handle([exited(3, 5.0, FAILED)], 5.0)) == [4]
    assert crash(made, 4, 5.0) == [5]


def test_each_vacancy_waits_for_itself() -> None:
    made = whole(2)
    made.handle([exited(1, 0.5, FAILED)], 0.5)
    assert crash(made, 3, 0.5) == []
    assert of(Spawn, made.handle([exited(2, 0.55, FAILED)], 0.55)) == [4]


def test_a_failed_fork_keeps_the_place_in_the_row() -> None:
    made = whole(1)
    made.handle([exited(1, 0.5, FAILED)], 0.5)
    assert crash(made, 2, 0.5) == []
    assert of(Spawn, made.handle([read(0.6)], 0.6)) == [3]
    made.handle([fork_failed(3, 0.6)], 0.6)
    assert of(Spawn, made.handle([read(0.7)], 0.7)) == [4]
    made.handle([forked(4, 0.7)], 0.7)
    made.handle([exited(4, 0.7, FAILED)], 0.7)
    assert 0.87 <= due(made, 0.7) <= 0.9, "the third in a row waits twice as long as the second"


def test_a_smaller_pool_forgets_the_longest_waits() -> None:
    made = whole(2)
    made.handle([exited(1, 0.5, FAILED), exited(2, 0.5, FAILED)], 0.5)
    for spirit in (3, 4):
        made.handle([forked(spirit, 0.5)], 0.5)
    made.handle([exited(3, 0.5, FAILED), exited(4, 0.5, FAILED)], 0.5)
    assert of(Spawn, made.handle([ScaleAsked(0.51, to=1)], 0.51)) == []
    assert len(of(Spawn, made.handle([read(0.61)], 0.61))) == 1
    assert made.deadline(0.61) is None


def test_many_early_deaths_are_told_as_a_trend_and_the_end_of_it_too() -> None:
    made = whole(1, intensity=3, intensity_period=60.0)
    made.handle([exited(1, 0.5, FAILED)], 0.5)
    crash(made, 2, 0.5)
    made.handle([read(0.6)], 0.6)
    made.handle([forked(3, 0.6)], 0.6)
    orders = made.handle([exited(3, 0.6, FAILED)], 0.6)
    assert news(orders) == [News.HELD, News.DEGRADED]
    assert made.snapshot(0.6).state is State.DEGRADED
    made.handle([read(0.8)], 0.8)
    assert made.handle([forked(4, 0.8), readied(4, 0.9)], 0.9) == []
    assert made.snapshot(60.4).state is State.DEGRADED
    assert made.snapshot(60.5).state is State.WHOLE
    assert news(made.handle([read(61.0, {4: 60.0})], 61.0))[-1] is News.WHOLE


def test_deaths_that_are_far_apart_are_no_trend() -> None:
    made = whole(1, intensity=2, intensity_period=10.0)
    made.handle([exited(1, 0.5, FAILED)], 0.5)
    made.handle([forked(2, 0.5), readied(2, 0.6)], 0.6)
    made.handle([exited(2, 20.0)], 20.0)
    orders = made.handle([forked(3, 20.0), exited(3, 20.1, FAILED)], 20.1)
    assert News.DEGRADED not in news(orders)


def test_the_pool_gives_up_when_nobody_was_ready_for_so_long_if_it_is_told_to() -> None:
    made = whole(1, give_up_after=30.0)
    now = 0.5
    orders = made.handle([exited(1, now, FAILED)], now)
    while not any(isinstance(order, Halt) for order in orders):
        for spirit in of(Spawn, orders):
            made.handle([forked(spirit, now)], now)
            orders = made.handle([exited(spirit, now, FAILED)], now)
            break
        else:
            now = due(made, now)
            orders = made.handle([read(now)], now)
    assert now == 30.5
    assert orders[-2] == Finish(graceful=False, reason=Reason.GAVE_UP)
    halt = orders[-1]
    assert isinstance(halt, Halt)
    assert (halt.code, halt.reason, halt.detail) == (
        ExitCode.BOOT_FAILED,
        Reason.GAVE_UP,
        "no spirit was ready for 30.0 s",
    )


def test_when_it_gives_up_nobody_is_made_in_the_same_breath() -> None:
    made = whole(2, give_up_after=0.5, young=1.0, backoff_first=0.5, backoff_most=0.5)
    for spirit in (1, 2):
        made.handle([exited(spirit, 0.5, FAILED)], 0.5)
    for spirit in (3, 4):
        crash(made, spirit, 0.5)
    assert 0.9 < due(made, 0.5) < 1.0, "the first of two waits"
    orders = made.handle([], 1.0)
    assert [type(order) for order in orders] == [Finish, Halt]


def test_a_pool_of_nobody_has_nothing_to_give_up() -> None:
    made = whole(1, give_up_after=3.0)
    made.handle([exited(1, 0.5, FAILED)], 0.5)
    made.handle([forked(2, 0.5)], 0.5)
    made.handle([exited(2, 0.6, FAILED), ScaleAsked(0.6, to=0)], 0.6)
    assert made.handle([], 10.0) == []


def test_by_default_it_never_gives_up() -> None:
    made = whole(1)
    assert len(boots(made, 3_000.0)) > 400


def test_one_ready_spirit_keeps_it_from_giving_up() -> None:
    made = whole(2, give_up_after=5.0)
    made.handle([exited(1, 0.5, FAILED)], 0.5)
    assert crash(made, 3, 0.5) == []
    orders = made.handle([read(0.7, {2: 0.6})], 0.7)
    assert crash(made, of(Spawn, orders)[0], 0.7) == []
    orders = made.handle([read(20.0, {2: 19.0})], 20.0)
    assert not any(isinstance(order, Halt | Kill) for order in orders)


def test_in_a_stop_an_early_death_is_only_an_end() -> None:
    made = whole(2)
    made.handle([stop(0.1)], 0.1)
    assert news(made.handle([exited(1, 0.2, FAILED)], 0.2)) == []
    assert isinstance(made.handle([exited(2, 0.2, BY_KILL)], 0.2)[-1], Halt)


def test_an_old_spirit_that_dies_early_is_nobody_s_failure() -> None:
    made = whole(1, spare=1)
    made.handle([ReloadAsked(0.1)], 0.1)
    made.handle([forked(2, 0.1)], 0.1)
    assert news(made.handle([exited(1, 0.2, FAILED)], 0.2)) == []
    assert made.snapshot(0.2).totals.early_deaths == 1


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_the_jitter_differs_from_ghost_to_ghost_and_is_the_same_for_one(seed: int) -> None:
    def waits(jitter_seed: int) -> list[float]:
        return boots(whole(1, jitter_seed=jitter_seed), 60.0)

    assert waits(seed) == waits(seed)
    assert waits(seed) != waits(seed + 1)


def test_a_policy_without_waits_between_is_still_held_by_its_first() -> None:
    policy = Policy(spirits=1, backoff_first=0.5, backoff_most=0.5)
    made = Pool(policy, 0.0)
    made.handle([], 0.0)
    made.handle([forked(1), readied(1)], 0.0)
    times = boots(made, 20.0)
    assert len(times) <= 20.0 / (0.5 * 0.85) + 2


def test_a_wait_for_a_place_that_is_wanted_no_more_is_nobody_else_s() -> None:
    made = whole(2)
    made.handle([exited(1, 0.5, FAILED)], 0.5)
    assert crash(made, 3, 0.5) == []
    now, orders = 0.6, made.handle([read(0.6, {2: 0.5})], 0.6)
    for _ in range(6):  # the seventh waits for more than three seconds
        made.handle([forked(of(Spawn, orders)[0], now)], now)
        made.handle([exited(of(Spawn, orders)[0], now, FAILED)], now)
        now = due(made, now)
        orders = made.handle([read(now, {2: now})], now)
    crash(made, of(Spawn, orders)[0], now)
    made.handle([ScaleAsked(now, to=1)], now)
    assert of(Spawn, made.handle([exited(2, now + 1.0)], now + 1.0)) != []


def test_to_leave_when_as_old_as_young_is_no_early_death() -> None:
    made = whole(1, young=1.0)
    made.handle([left(1, 1.0)], 1.0)
    assert made.snapshot(1.0).totals.early_deaths == 0
