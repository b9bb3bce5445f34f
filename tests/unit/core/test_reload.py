"""Reloads: a new generation takes over spirit by spirit, or the old one goes on; the pool is never in between."""

from ghostd.core.actions import Ask, Bury, News, Reason, Rouse, Spawn
from ghostd.core.events import ReloadAsked, ScaleAsked
from ghostd.core.phases import SpiritId
from tests.unit.core.drive import (
    FAILED,
    exited,
    fork_failed,
    forked,
    generations,
    left,
    news,
    of,
    pool,
    read,
    readied,
    settle,
    stop,
    whole,
)


def test_a_reload_makes_the_new_one_ready_before_it_asks_an_old_one() -> None:
    made = whole(2, spare=1)
    orders = made.handle([ReloadAsked(10.0)], 10.0)
    assert news(orders) == [News.RELOADING]
    assert [order for order in orders if isinstance(order, Spawn)] == [Spawn(SpiritId(3), 2, 2, Reason.RELOAD)]  # type: ignore[arg-type]
    assert made.handle([forked(3, 10.0)], 10.0) == []
    assert made.handle([readied(3, 11.0)], 11.0) == [Ask(SpiritId(2), Reason.RELOAD, 120.0)]
    orders = made.handle([exited(2, 12.0)], 12.0)
    assert of(Bury, orders) == [2]
    assert of(Spawn, orders) == [4]
    made.handle([forked(4, 12.0)], 12.0)
    orders = made.handle([readied(4, 13.0)], 13.0)
    assert of(Ask, orders) == [1]
    assert news(orders) == []
    assert news(made.handle([exited(1, 14.0)], 14.0)) == [News.RELOADED]


def test_with_more_spare_more_are_made_at_once() -> None:
    made = whole(4, spare=3)
    assert of(Spawn, made.handle([ReloadAsked(10.0)], 10.0)) == [5, 6, 7]


def test_without_a_spare_one_old_one_goes_first() -> None:
    made = whole(2, spare=0)
    orders = made.handle([ReloadAsked(10.0)], 10.0)
    assert of(Ask, orders) == [2]
    assert of(Spawn, orders) == []
    assert of(Spawn, made.handle([exited(2, 11.0)], 11.0)) == [3]
    assert made.handle([forked(3, 11.0)], 11.0) == []
    assert of(Ask, made.handle([readied(3, 12.0)], 12.0)) == [1]


def test_without_a_spare_nobody_is_asked_while_another_is_missing() -> None:
    made = whole(3, spare=0)
    made.handle([exited(1, 5.0)], 5.0)
    made.handle([forked(4, 5.0)], 5.0)
    assert of(Ask, made.handle([ReloadAsked(6.0)], 6.0)) == [4]  # which was not ready anyhow


def test_a_failed_reload_returns_to_the_old_generation() -> None:
    made = whole(2, spare=1)
    made.handle([ReloadAsked(10.0)], 10.0)
    made.handle([forked(3, 10.0)], 10.0)
    orders = made.handle([exited(3, 10.5, FAILED)], 10.5)
    assert news(orders) == [News.RELOAD_FAILED]
    assert of(Spawn, orders) == []
    assert made.snapshot(10.5).generation == 1
    orders = made.handle([exited(1, 20.0)], 20.0)
    assert generations(orders) == [1]


def test_what_was_built_before_the_failure_goes_again() -> None:
    made = whole(3, spare=1)
    made.handle([ReloadAsked(10.0)], 10.0)
    made.handle([forked(4, 10.0)], 10.0)
    assert of(Ask, made.handle([readied(4, 11.0)], 11.0)) == [3]
    made.handle([exited(3, 12.0)], 12.0)
    made.handle([forked(5, 12.0)], 12.0)
    orders = made.handle([exited(5, 12.5, FAILED)], 12.5)
    assert news(orders) == [News.RELOAD_FAILED]
    assert generations(orders) == [1]
    made.handle([forked(6, 12.5)], 12.5)
    orders = made.handle([readied(6, 13.0)], 13.0)
    assert orders == [Ask(SpiritId(4), Reason.RELOAD_FAILED, 120.0)]


def test_a_new_one_that_is_not_ready_in_time_fails_the_reload() -> None:
    made = whole(1, spare=1, boot_timeout=20.0)
    made.handle([ReloadAsked(10.0)], 10.0)
    made.handle([forked(2, 10.0)], 10.0)
    orders = made.handle([read(30.0, {1: 29.0})], 30.0)
    assert of(Rouse, orders) == [2]
    assert news(orders) == [News.RELOAD_FAILED]


def test_a_fork_that_fails_does_not_fail_the_reload() -> None:
    made = whole(1, spare=1)
    made.handle([ReloadAsked(10.0)], 10.0)
    orders = made.handle([fork_failed(2, 10.0)], 10.0)
    assert news(orders) == [News.FORK_FAILED]
    assert made.snapshot(10.0).generation == 2


def test_a_death_in_the_old_generation_does_not_fail_the_reload() -> None:
    made = whole(2, spare=1)
    made.handle([ReloadAsked(0.5)], 0.5)
    orders = made.handle([exited(1, 0.9, FAILED)], 0.9)
    assert news(orders) == []
    assert generations(orders) == [2]


def test_one_reload_runs_and_one_waits() -> None:
    made = whole(1, spare=1)
    orders = made.handle([ReloadAsked(10.0)] * 50, 10.0)
    assert news(orders) == [News.RELOADING]
    assert made.handle([ReloadAsked(10.1)] * 50, 10.1) == []
    told = news(settle(made, orders, 10.2))
    assert told == [News.RELOADING, News.RELOADED, News.RELOADING, News.RELOADED]
    assert made.snapshot(10.2).generation == 3
    assert made.snapshot(10.2).totals.reloads == 2


def test_a_reload_that_waits_begins_when_the_running_one_has_failed() -> None:
    made = whole(1, spare=1)
    made.handle([ReloadAsked(10.0)], 10.0)
    made.handle([ReloadAsked(10.0), forked(2, 10.0)], 10.0)
    orders = made.handle([exited(2, 10.1, FAILED)], 10.1)
    assert news(orders) == [News.RELOAD_FAILED, News.RELOADING]
    assert generations(orders) == [3]  # the number of the failed one is not used again


def test_a_reload_asked_for_during_the_start_waits_until_the_pool_is_whole() -> None:
    made = pool(1)
    made.handle([], 0.0)
    assert made.handle([ReloadAsked(0.0), forked(1, 0.0)], 0.0) == []
    orders = made.handle([readied(1, 1.0)], 1.0)
    assert news(orders) == [News.RELOADING, News.WHOLE]
    assert generations(orders) == [2]


def test_the_reload_of_an_empty_pool_is_done_at_once() -> None:
    made = whole(0)
    assert news(made.handle([ReloadAsked(1.0)], 1.0)) == [News.RELOADING, News.RELOADED]


def test_a_reload_forgives_early_deaths() -> None:
    made = whole(1, spare=0)
    made.handle([exited(1, 0.1, FAILED)], 0.1)
    made.handle([forked(2, 0.1)], 0.1)
    assert of(Spawn, made.handle([exited(2, 0.2, FAILED)], 0.2)) == []
    assert of(Spawn, made.handle([ReloadAsked(0.21)], 0.21)) == [3]


def test_a_spirit_asked_while_it_booted_may_still_say_ready() -> None:
    made = whole(1, spare=1)
    made.handle([exited(1, 10.0)], 10.0)
    made.handle([forked(2, 10.0)], 10.0)
    assert of(Ask, made.handle([ReloadAsked(10.1)], 10.1)) == [2]
    assert made.handle([forked(3, 10.1), readied(2, 10.2), left(2, 10.2)], 10.2) == []
    assert made.snapshot(10.2).ready == 0


def test_a_reload_and_a_smaller_pool_go_together() -> None:
    made = whole(3, spare=1)
    orders = made.handle([ReloadAsked(10.0), ScaleAsked(10.0, to=2)], 10.0)
    told = settle(made, orders, 10.0)
    assert news(told)[-1] is News.RELOADED
    assert made.snapshot(10.0).ready == 2


def test_a_stop_ends_a_reload() -> None:
    made = whole(2, spare=1)
    made.handle([ReloadAsked(10.0)], 10.0)
    made.handle([forked(3, 10.0)], 10.0)
    orders = made.handle([stop(10.5)], 10.5)
    assert of(Ask, orders) == [1, 2, 3]
    assert of(Spawn, made.handle([exited(3, 11.0, FAILED)], 11.0)) == []


def test_reloads_that_ended_and_that_failed_are_counted() -> None:
    made = whole(1, spare=1)
    assert (made.snapshot(0.0).totals.reloads, made.snapshot(0.0).totals.failed_reloads) == (0, 0)
    settle(made, made.handle([ReloadAsked(10.0)], 10.0), 10.0)
    for now in (20.0, 30.0):
        (newest,) = of(Spawn, made.handle([ReloadAsked(now)], now))
        made.handle([forked(newest, now), exited(newest, now, FAILED)], now)
    assert (made.snapshot(30.0).totals.reloads, made.snapshot(30.0).totals.failed_reloads) == (1, 2)


def test_an_old_one_whose_fork_is_under_way_takes_its_room() -> None:
    made = whole(2, spare=1)
    made.handle([exited(1, 10.0)], 10.0)
    assert of(Spawn, made.handle([ReloadAsked(10.0)], 10.0)) == [4]


def test_no_reload_is_done_while_an_old_one_works_and_another_is_under_way() -> None:
    made = whole(2, spare=1)
    made.handle([exited(1, 10.0)], 10.0)
    assert news(made.handle([ReloadAsked(10.0), ScaleAsked(10.0, to=0)], 10.0)) == [News.SCALED, News.RELOADING]
