"""Seats and the first spawns: who sits where, and how many are made."""

from ghostd.core import actions as do
from ghostd.core.events import ReloadAsked
from tests.unit.core.drive import BY_KILL, exited, forked, left, of, pool, readied, seats, whole


def test_the_first_call_orders_as_many_spirits_as_are_wanted_in_the_lowest_seats() -> None:
    orders = pool(spirits=3).handle([], 0.0)
    assert of(do.Spawn, orders) == [1, 2, 3]
    assert seats(orders) == [0, 1, 2]


def test_the_seat_of_a_spirit_that_ended_is_the_next_to_be_taken() -> None:
    made = whole(spirits=3)
    orders = made.handle([exited(2, 5.0, BY_KILL)], 5.0)
    assert of(do.Bury, orders) == [2]
    assert of(do.Spawn, orders) == [4]
    assert seats(orders) == [1]


def test_of_several_free_seats_the_lowest_is_taken_first() -> None:
    made = whole(spirits=4)
    orders = made.handle([exited(4, 5.0), exited(1, 5.0), exited(3, 5.0)], 5.0)
    assert seats(orders) == [0, 2, 3]


def test_a_successor_takes_the_seat_that_was_just_given_up_though_a_lower_one_is_free() -> None:
    made = whole(spirits=2, spare=1)
    assert seats(made.handle([ReloadAsked(5.0)], 5.0)) == [2]
    made.handle([forked(3, 5.0), readied(3, 5.0)], 5.0)
    assert seats(made.handle([exited(1, 6.0)], 6.0)) == [0]
    made.handle([forked(4, 6.0), readied(4, 6.0)], 6.0)
    assert seats(made.handle([exited(2, 7.0)], 7.0)) == [], "now seat 1 is free"
    assert seats(made.handle([exited(3, 9.0, BY_KILL)], 9.0)) == [2], "where its queue is, with a listener a seat"
    assert seats(made.handle([forked(5, 9.0), exited(5, 9.1, BY_KILL)], 9.1)) == [2]
    again = made.handle([forked(6, 9.1), exited(6, 9.2, BY_KILL)], 9.2)
    assert seats(again) == [], "dying early again and again, its successor has to wait"
    assert seats(made.handle([], 20.0)) == [1]


def test_ten_thousand_lives_need_no_more_seats_than_the_pool_has() -> None:
    made, newest, now = whole(spirits=1), 1, 0.0
    for _ in range(10_000):
        now += 5.0
        orders = made.handle([exited(newest, now)], now)
        (newest,) = of(do.Spawn, orders)
        assert seats(orders) == [0]
        made.handle([forked(newest, now), readied(newest, now)], now)


def test_how_many_there_are_of_each_kind_is_kept_through_all_that_happens() -> None:
    made = whole(spirits=3, spare=2)

    def counts() -> tuple[int, ...]:
        tally = made.tally
        return tally.coming, tally.ready, tally.stale, tally.old, tally.leaving

    assert counts() == (0, 3, 0, 0, 0)
    made.handle([exited(1, 5.0)], 5.0)
    assert counts() == (1, 2, 0, 0, 0)
    made.handle([ReloadAsked(6.0)], 6.0)
    assert counts() == (2, 0, 1, 2, 0), "what was wanted is old now"
    made.handle([forked(4, 6.0), forked(5, 6.0), forked(6, 6.0), readied(5, 6.0)], 6.0)
    assert counts() == (1, 1, 0, 2, 1), "and the one that booted is asked"
    made.handle([left(2, 7.0)], 7.0)
    assert counts() == (1, 1, 0, 1, 2)
