"""The worn are replaced one at a time: the new one is ready first, and a worn one works until it is asked."""

import itertools
import math

import pytest

from ghostd.core.actions import Ask, Bury, News, Reason, Spawn
from ghostd.core.events import ReloadAsked, ScaleAsked
from ghostd.core.phases import SpiritId
from ghostd.core.policy import Policy
from ghostd.core.pool import Pool
from ghostd.core.snapshot import State
from tests.unit.core.drive import (
    FAILED,
    due,
    exited,
    forked,
    left,
    news,
    of,
    pool,
    read,
    readied,
    settle,
    stop,
    whole,
    worn,
)


def test_a_worn_spirit_is_asked_when_its_replacement_is_ready_and_not_before() -> None:
    made = whole(2, spare=1)
    assert made.handle([worn(1, 10.0)], 10.0) == [Spawn(SpiritId(3), 2, 1, Reason.RECYCLED)]  # type: ignore[arg-type]
    assert made.handle([forked(3, 10.0)], 10.0) == []
    assert made.snapshot(10.0).state is State.WHOLE
    assert made.handle([readied(3, 11.0)], 11.0) == [Ask(SpiritId(1), Reason.RECYCLED, 120.0)]
    orders = made.handle([exited(1, 12.0)], 12.0)
    assert [(order.spirit, order.reason) for order in orders if isinstance(order, Bury)] == [(1, Reason.RECYCLED)]
    assert of(Spawn, orders) == []


def test_one_is_replaced_after_the_other_in_the_order_in_which_they_were_worn() -> None:
    made = whole(3, spare=3)
    assert of(Spawn, made.handle([worn(2, 10.0)], 10.0)) == [4]
    assert made.handle([worn(1, 10.1), worn(3, 10.1), forked(4, 10.1)], 10.1) == []
    orders = made.handle([readied(4, 11.0)], 11.0)
    assert of(Ask, orders) == [2]
    assert of(Spawn, orders) == [], "the first one has not gone yet"
    assert of(Spawn, made.handle([exited(2, 12.0)], 12.0)) == [5]
    told = settle(made, made.handle([forked(5, 12.0), readied(5, 12.0)], 12.0), 12.0)
    assert of(Ask, told) == [1, 3]
    assert made.snapshot(12.0).ready == 3


def test_what_is_said_twice_is_done_once() -> None:
    made = whole(1, spare=1)
    assert of(Spawn, made.handle([worn(1, 10.0), worn(1, 10.0)], 10.0)) == [2]
    assert made.handle([worn(1, 10.1), worn(7, 10.1)], 10.1) == []


def test_who_is_worn_before_it_is_known_to_be_ready_is_replaced_once_it_is() -> None:
    made = whole(1, spare=1)
    made.handle([exited(1, 10.0)], 10.0)
    made.handle([forked(2, 10.0), worn(2, 10.5)], 10.5)
    assert of(Spawn, made.handle([readied(2, 11.0)], 11.0)) == [3]


def test_nobody_is_recycled_while_another_is_missing() -> None:
    made = whole(2, spare=1)
    made.handle([exited(1, 10.0)], 10.0)
    assert made.handle([worn(2, 10.1), forked(3, 10.1)], 10.1) == []
    assert of(Spawn, made.handle([readied(3, 11.0)], 11.0)) == [4]


def test_without_a_spare_a_worn_one_goes_first() -> None:
    made = whole(2, spare=0)
    orders = made.handle([worn(1, 10.0)], 10.0)
    assert of(Ask, orders) == [1]
    assert of(Spawn, orders) == []
    assert of(Spawn, made.handle([exited(1, 11.0)], 11.0)) == [3]


def test_a_replacement_that_dies_early_is_backed_off_and_the_worn_one_serves_on() -> None:
    made = whole(1, spare=1)
    made.handle([worn(1, 10.0)], 10.0)
    made.handle([forked(2, 10.0)], 10.0)
    assert of(Spawn, made.handle([exited(2, 10.1, FAILED)], 10.1)) == [3]
    made.handle([forked(3, 10.1)], 10.1)
    orders = made.handle([exited(3, 10.2, FAILED)], 10.2)
    assert news(orders) == [News.HELD]
    assert (of(Spawn, orders), of(Ask, orders)) == ([], [])
    assert made.snapshot(10.2).ready == 1
    assert 10.2 < due(made, 10.2) <= 10.3
    assert of(Spawn, made.handle([], 10.3)) == [4]
    made.handle([forked(4, 10.3)], 10.3)
    assert of(Ask, made.handle([readied(4, 11.0)], 11.0)) == [1]


def test_an_ordinary_death_is_made_up_for_at_once_though_the_replacement_of_a_worn_one_is_held_back() -> None:
    made = whole(2, spare=1)
    made.handle([worn(1, 10.0)], 10.0)
    for spirit in (3, 4):
        made.handle([forked(spirit, 10.0)], 10.0)
        made.handle([exited(spirit, 10.0, FAILED)], 10.0)
    assert of(Spawn, made.handle([exited(2, 10.05)], 10.05)) == [5]


def test_a_worn_one_that_ends_by_itself_is_replaced_by_the_one_that_was_under_way() -> None:
    made = whole(1, spare=1)
    made.handle([worn(1, 10.0)], 10.0)
    assert of(Spawn, made.handle([forked(2, 10.0), left(1, 10.1)], 10.1)) == []
    assert of(Spawn, made.handle([readied(2, 11.0), exited(1, 11.0)], 11.0)) == []


def test_a_reload_needs_no_recycling_and_a_failed_one_goes_on_with_it() -> None:
    made = whole(2, spare=1)
    made.handle([ReloadAsked(10.0)], 10.0)
    made.handle([worn(1, 10.1), forked(3, 10.1)], 10.1)
    orders = made.handle([exited(3, 10.2, FAILED)], 10.2)
    assert news(orders) == [News.RELOAD_FAILED]
    assert [(o.reason, o.generation) for o in orders if isinstance(o, Spawn)] == [(Reason.RECYCLED, 1)]


def test_a_recycling_becomes_a_part_of_the_reload_that_is_asked_for_meanwhile() -> None:
    made = whole(2, spare=1)
    made.handle([worn(1, 10.0)], 10.0)
    made.handle([forked(3, 10.0)], 10.0)
    orders = made.handle([ReloadAsked(10.1)], 10.1)
    assert [(o.spirit, o.reason) for o in orders if isinstance(o, Ask)] == [(3, Reason.RELOAD)]
    told = settle(made, orders, 10.2)
    assert {o.reason for o in told if isinstance(o, Ask)} == {Reason.RELOAD}
    assert news(told)[-1] is News.RELOADED
    assert made.snapshot(10.2).ready == 2


def test_a_smaller_pool_lets_the_worn_go_first_and_needs_no_replacement() -> None:
    made = whole(3, spare=1)
    made.handle([exited(3, 10.0)], 10.0)
    made.handle([forked(4, 10.0), worn(1, 10.0)], 10.0)
    orders = made.handle([readied(4, 10.5), ScaleAsked(10.5, to=2)], 10.5)
    told = settle(made, orders, 10.5)
    assert of(Ask, told) == [1]
    assert of(Spawn, told) == []


def test_a_pool_that_becomes_smaller_during_a_recycling_asks_both() -> None:
    made = whole(3, spare=1)
    made.handle([worn(1, 10.0)], 10.0)
    made.handle([forked(4, 10.0)], 10.0)
    told = settle(made, made.handle([ScaleAsked(10.1, to=2)], 10.1), 10.1)
    assert of(Ask, told) == [4, 1]
    assert made.snapshot(10.1).ready == 2


def test_a_worn_spirit_that_stops_beating_is_found_like_any_other() -> None:
    made = whole(1, spare=1)
    made.handle([worn(1, 10.0)], 10.0)
    made.handle([forked(2, 10.0)], 10.0)
    made.handle([], 32.5)
    orders = made.handle([read(55.0, {1: 0.0})], 55.0)
    assert [type(order).__name__ for order in orders] == ["Rouse"], "its replacement is under way"


def test_in_a_stop_nobody_is_recycled() -> None:
    made = whole(2, spare=1, drain_delay=10.0)
    made.handle([stop(10.0)], 10.0)
    assert made.handle([worn(1, 11.0)], 11.0) == []
    assert due(made, 11.0) == 20.0


# ── age ──
def aged(spirits: int = 1, **options: float) -> Pool:
    return whole(spirits, spare=1, heartbeat_timeout=1e6, max_lifetime=100.0, **options)


def test_a_spirit_that_is_old_enough_is_recycled_without_anybody_saying_so() -> None:
    made = aged(recycle_jitter=0.0)
    assert due(made, 0.0) == 100.0
    assert of(Spawn, made.handle([], 100.0)) == [2]
    made.handle([forked(2, 100.0)], 100.0)
    assert of(Ask, made.handle([readied(2, 101.0)], 101.0)) == [1]
    made.handle([exited(1, 102.0)], 102.0)
    assert due(made, 102.0) == 200.0


def test_age_is_counted_from_the_fork_and_differs_a_little_from_spirit_to_spirit() -> None:
    made = aged(5, recycle_jitter=0.2)
    now, asked = 0.0, list[tuple[float, int]]()
    while len(asked) < 5:
        now = due(made, now)
        told = settle(made, made.handle([], now), now)
        asked += [(now, spirit) for spirit in of(Ask, told)]
    times = [at for at, _ in asked]
    assert sorted(spirit for _, spirit in asked) == [1, 2, 3, 4, 5]
    assert times[0] >= 80.0 and times[-1] <= 100.0
    assert min(later - sooner for sooner, later in itertools.pairwise(times)) > 1.0


def test_without_max_lifetime_age_is_no_matter() -> None:
    assert Policy().worn_after(1) == math.inf
    assert due(whole(1), 0.0) == 27.5


@pytest.mark.parametrize("serial", [1, 2, 77, 10**12])
def test_the_limit_of_a_spirit_is_a_part_of_what_is_allowed_and_always_the_same(serial: int) -> None:
    policy = Policy(max_lifetime=100.0, recycle_jitter=0.3)
    assert 70.0 <= policy.worn_after(serial) <= 100.0
    assert policy.worn_after(serial) == policy.worn_after(serial)
    assert 700 <= policy.most_of(1000, serial) <= 1000
    assert policy.most_of(1, serial) == 1
    assert policy.most_of(0, serial) == 0
    assert Policy(max_lifetime=100.0, recycle_jitter=0.0).worn_after(serial) == 100.0
    assert Policy(recycle_jitter=1.0).most_of(1, serial) == 1


def test_other_ghosts_have_other_limits() -> None:
    ages = {Policy(max_lifetime=100.0, jitter_seed=seed).worn_after(1) for seed in range(50)}
    assert len(ages) == 50


def test_a_pool_that_is_not_whole_waits_with_the_old_one_and_does_not_turn_meanwhile() -> None:
    made = pool(2, spare=1, heartbeat_timeout=1e6, max_lifetime=100.0, recycle_jitter=0.0)
    made.handle([], 0.0)
    made.handle([forked(1), forked(2), readied(1), readied(2)], 0.0)
    made.handle([exited(2, 99.0)], 99.0)
    made.handle([forked(3, 99.0)], 99.0)
    assert made.handle([], 100.0) == []
    assert due(made, 100.0) == 219.0, "the boot of the third; the first is looked at when that is ready"
    assert of(Spawn, made.handle([readied(3, 110.0)], 110.0)) == [4]
