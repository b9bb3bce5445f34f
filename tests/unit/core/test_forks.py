"""A failed fork never ends the manager: it is told once with a count, backed off, and tried again."""

import itertools

from ghostd.core.actions import Announce, News, Reason, Spawn
from ghostd.core.snapshot import State
from tests.unit.core.drive import due, exited, fork_failed, forked, news, of, pool, read, readied, seats, whole


def test_a_failed_fork_is_told_and_tried_again_after_a_wait() -> None:
    made = whole(1)
    made.handle([exited(1, 10.0)], 10.0)
    orders = made.handle([fork_failed(2, 10.0)], 10.0)
    (told,) = [order for order in orders if isinstance(order, Announce)]
    assert (told.news, told.reason) == (News.FORK_FAILED, Reason.MISSING)
    assert told.detail == "fork: EAGAIN (failure 1 in a row): next try in 0.1 s"
    assert of(Spawn, orders) == []
    assert 10.085 <= due(made, 10.0) <= 10.1
    assert of(Spawn, made.handle([read(10.1)], 10.1)) == [3]


def test_the_failures_of_one_batch_are_told_once() -> None:
    made = pool(3)
    made.handle([], 0.0)
    orders = made.handle([fork_failed(1), fork_failed(2), fork_failed(3)], 0.0)
    assert news(orders) == [News.FORK_FAILED]
    assert made.snapshot(0.0).totals.failed_forks == 3


def test_while_the_kernel_refuses_one_fork_at_a_time_is_tried() -> None:
    made = pool(3)
    made.handle([], 0.0)
    made.handle([fork_failed(1), fork_failed(2), fork_failed(3)], 0.0)
    now = due(made, 0.0)
    orders = made.handle([read(now)], now)
    assert of(Spawn, orders) == [4]
    assert seats(orders) == [0]


def test_when_it_gives_again_the_others_follow_at_once() -> None:
    made = pool(3)
    made.handle([], 0.0)
    made.handle([fork_failed(1), fork_failed(2), fork_failed(3)], 0.0)
    now = due(made, 0.0)
    made.handle([read(now)], now)
    assert of(Spawn, made.handle([forked(4, now)], now)) == [5, 6]


def test_the_waits_double_up_to_the_most() -> None:
    made, now = pool(1), 0.0
    made.handle([], now)
    waits = []
    for spirit in range(1, 12):
        made.handle([fork_failed(spirit, now)], now)
        waits.append(due(made, now) - now)
        now = due(made, now)
        assert of(Spawn, made.handle([read(now)], now)) == [spirit + 1]
    for before, after in itertools.pairwise(waits[:6]):
        assert 1.6 < after / before < 2.5
    assert all(5.1 <= wait <= 6.0 for wait in waits[7:])


def test_failed_forks_before_the_pool_was_whole_do_not_end_the_ghost() -> None:
    made, now = pool(1), 0.0
    made.handle([], now)
    for spirit in range(1, 30):
        assert news(made.handle([fork_failed(spirit, now)], now)) == [News.FORK_FAILED]
        now = due(made, now)
        made.handle([read(now)], now)
    made.handle([forked(30, now), readied(30, now)], now)
    assert made.snapshot(now).state is State.WHOLE


def test_an_event_in_between_does_not_try_too_early() -> None:
    made = whole(2)
    made.handle([exited(1, 10.0)], 10.0)
    made.handle([fork_failed(3, 10.0)], 10.0)
    assert of(Spawn, made.handle([exited(2, 10.05)], 10.05)) == []
