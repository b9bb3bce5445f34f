"""What the pool says is what a person reads in the log: each text whole, with its numbers."""

from ghostd.core.actions import Announce, Ask, Bury, Halt, Kill, News, Reason, Rouse, Spawn
from ghostd.core.events import Event, ReloadAsked
from ghostd.core.phases import SpiritId
from ghostd.core.policy import Policy
from ghostd.core.pool import Pool
from ghostd.errors import ExitCode
from tests.unit.core.drive import (
    BY_KILL,
    FAILED,
    exited,
    forked,
    left,
    news,
    of,
    read,
    readied,
    settle,
    stop,
    whole,
    worn,
)


def said(made: Pool, events: list[Event], now: float) -> list[Announce]:
    return [order for order in made.handle(events, now) if isinstance(order, Announce)]


def test_a_reload_tells_which_generation_gives_way_to_which_and_how_many_are_ready() -> None:
    made = whole(1, spare=1)
    begun = Announce(News.RELOADING, Reason.RELOAD, "generation 1 gives way to generation 2")
    assert said(made, [ReloadAsked(10.0)], 10.0) == [begun]
    made.handle([forked(2, 10.0)], 10.0)
    made.handle([readied(2, 11.0)], 11.0)
    done = Announce(News.RELOADED, Reason.RELOAD, "1 spirits of generation 2 are ready")
    assert said(made, [exited(1, 12.0)], 12.0) == [done]


def test_a_failed_reload_tells_of_the_spirit_that_failed_and_which_generation_goes_on() -> None:
    made = whole(1, spare=1)
    made.handle([ReloadAsked(10.0)], 10.0)
    made.handle([forked(2, 10.0)], 10.0)
    how = f"spirit 2 (seat 1) died early: it ended ({FAILED}) before it was ready"
    detail = f"{how}: generation 2 is given up, generation 1 goes on"
    assert said(made, [exited(2, 10.5, FAILED)], 10.5) == [Announce(News.RELOAD_FAILED, Reason.RELOAD_FAILED, detail)]


def test_one_that_does_not_get_ready_is_told_with_the_time_that_it_had() -> None:
    made = whole(1, spare=1, boot_timeout=20.0)
    made.handle([ReloadAsked(10.0)], 10.0)
    made.handle([forked(2, 10.0)], 10.0)
    how = "spirit 2 (seat 1) died early: it was not ready after 20.0 s"
    detail = f"{how}: generation 2 is given up, generation 1 goes on"
    assert said(made, [read(30.0, {1: 30.0})], 30.0) == [Announce(News.RELOAD_FAILED, Reason.RELOAD_FAILED, detail)]


def test_a_silent_one_is_roused_with_the_time_since_its_last_beat() -> None:
    made = whole(1, spare=0)
    for now in (27.0, 54.0):
        made.handle([read(now, {1: 10.0})], now)
    roused = [order for order in made.handle([read(65.0, {1: 10.0})], 65.0) if isinstance(order, Rouse)]
    assert [(order.spirit, order.reason, order.silence) for order in roused] == [(1, Reason.SILENT, 55.0)]


def test_an_early_death_is_told_when_its_replacement_has_to_wait_and_not_before() -> None:
    made = whole(1, spare=0, young=2.0, backoff_first=4.0, intensity=9)
    assert said(made, [exited(1, 0.5, FAILED)], 0.5) == []
    made.handle([forked(2, 0.5)], 0.5)
    made.handle([readied(2, 0.6)], 0.6)
    (held,) = said(made, [exited(2, 1.75, FAILED)], 1.75)
    wait = made.deadline(1.75)
    assert wait is not None
    how = f"spirit 2 (seat 0) died early: it ended ({FAILED}) 1.2 s after its fork"
    detail = f"{how}; the 2. time in a row, replaced in {wait - 1.75:.1f} s"
    assert held == Announce(News.HELD, Reason.EARLY_DEATH, detail)


def test_a_pool_that_loses_spirits_early_tells_how_many_are_left_and_why() -> None:
    made = whole(1, spare=0, young=2.0, intensity=1)
    degraded = Announce(News.DEGRADED, Reason.EARLY_DEATH, "0 of 1 spirits are ready")
    assert said(made, [exited(1, 0.5, FAILED)], 0.5) == [degraded]


def test_one_that_leaves_early_is_told_with_its_age() -> None:
    made = whole(1, spare=0, young=2.0, backoff_first=4.0, intensity=9)
    made.handle([exited(1, 0.5, FAILED)], 0.5)
    made.handle([forked(2, 0.5)], 0.5)
    made.handle([readied(2, 0.6)], 0.6)
    (held,) = said(made, [left(2, 1.75)], 1.75)
    assert held.detail.startswith("spirit 2 (seat 0) died early: it left 1.2 s after its fork; the 2. time in a row")


def test_who_was_killed_is_buried_with_the_reason_of_it() -> None:
    made = whole(1, spare=0, graceful_timeout=5.0)
    made.handle([left(1, 1.0)], 1.0)
    assert of(Kill, made.handle([], 6.0)) == [1]
    (buried,) = [order for order in made.handle([exited(1, 6.1, BY_KILL)], 6.1) if isinstance(order, Bury)]
    assert buried == Bury(SpiritId(1), Reason.SLOW_LEAVE, BY_KILL, 6.1)


def test_a_silent_one_is_killed_at_a_stop_at_once_for_that_reason() -> None:
    made = whole(1, spare=0)
    for now in (27.0, 54.0, 55.0):
        made.handle([read(now, {1: 0.0})], now)
    kills = [order for order in made.handle([stop(56.0, graceful=False)], 56.0) if isinstance(order, Kill)]
    assert kills == [Kill(SpiritId(1), Reason.STOP_AT_ONCE, 1.0)]


def test_those_who_outlived_a_stop_are_named_at_the_end() -> None:
    made = whole(2, spare=0)
    made.handle([stop(1.0, graceful=False)], 1.0)
    orders = made.handle([], 1.5) + made.handle([], 3.0)
    (halt,) = [order for order in orders if isinstance(order, Halt)]
    assert (halt.code, halt.reason) == (ExitCode.SYSTEM, Reason.OUTLIVED)
    assert halt.detail.endswith(", but these outlived SIGKILL: 1, 2")


def test_two_that_are_worn_at_once_are_replaced_one_after_the_other_whatever_room_there_is() -> None:
    made = whole(2, spare=2)
    orders = made.handle([worn(1, 10.0), worn(2, 10.0)], 10.0) + made.handle([], 10.5)
    assert of(Spawn, orders) == [3]
    assert news(settle(made, orders, 11.0)) == []


def test_the_second_that_is_worn_waits_until_the_first_has_gone() -> None:
    made = whole(2, spare=2)
    assert of(Spawn, made.handle([worn(1, 10.0)], 10.0)) == [3]
    made.handle([forked(3, 10.0)], 10.0)
    orders = made.handle([worn(2, 10.5), readied(3, 10.5)], 10.5)
    assert (of(Ask, orders), of(Spawn, orders)) == ([1], [])
    made.handle([left(1, 11.0)], 11.0)
    assert of(Spawn, made.handle([exited(1, 11.5)], 11.5)) == [4]


def test_the_numbers_that_follow_from_others() -> None:
    policy = Policy(spirits=3, spare=2, drain_delay=4.0, graceful_timeout=10.0)
    assert (policy.seats, policy.stop_limit) == (5, 14.0)


def test_the_jitter_of_a_ghost_is_that_of_its_neighbour_one_spirit_later() -> None:
    one, two = (Policy(max_lifetime=100.0, jitter_seed=seed) for seed in (7, 8))
    assert [one.worn_after(serial + 1) for serial in range(9)] == [two.worn_after(serial) for serial in range(9)]
