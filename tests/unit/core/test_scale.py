"""More spirits, or fewer: how many are wanted, and who goes."""

import pytest

from ghostd.core.actions import Announce, Ask, News, Reason, Spawn
from ghostd.core.events import ScaleAsked
from ghostd.core.phases import SpiritId
from tests.unit.core.drive import exited, forked, news, of, pool, read, readied, settle, whole, worn


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (ScaleAsked(1.0, by=1), 3),
        (ScaleAsked(1.0, by=-1), 1),
        (ScaleAsked(1.0, to=7), 7),
        (ScaleAsked(1.0, to=0), 0),
        (ScaleAsked(1.0, by=-100), 0),
        (ScaleAsked(1.0, to=-5), 0),
        (ScaleAsked(1.0, to=10**9), 100_000),
        (ScaleAsked(1.0, by=0), 2),
    ],
)
def test_the_number_wanted_is_what_was_asked_for_between_none_and_the_most(asked: ScaleAsked, wanted: int) -> None:
    made = whole(2)
    made.handle([asked], 1.0)
    assert made.snapshot(1.0).wanted == wanted


def test_more_spirits_are_made_at_once() -> None:
    made = whole(2)
    orders = made.handle([ScaleAsked(1.0, by=2)], 1.0)
    assert orders[0] == Announce(News.SCALED, Reason.MISSING, "from 2 to 4 spirits")
    assert of(Spawn, orders) == [3, 4]


def test_of_too_many_the_youngest_go() -> None:
    made = whole(3)
    orders = made.handle([ScaleAsked(1.0, to=1)], 1.0)
    assert orders[0] == Announce(News.SCALED, Reason.SURPLUS, "from 3 to 1 spirits")
    assert [order for order in orders if isinstance(order, Ask)] == [
        Ask(SpiritId(3), Reason.SURPLUS, 120.0),
        Ask(SpiritId(2), Reason.SURPLUS, 120.0),
    ]


def test_of_too_many_those_that_boot_go_before_those_that_work() -> None:
    made = whole(2)
    made.handle([exited(1, 5.0)], 5.0)
    made.handle([forked(3, 5.0)], 5.0)
    assert of(Ask, made.handle([ScaleAsked(6.0, to=1)], 6.0)) == [3]


def test_of_too_many_the_idle_go_before_the_busy() -> None:
    made = whole(2)
    board = read(28.0, {1: 27.0, 2: 27.0}, {2: 500.0})
    assert of(Ask, made.handle([ScaleAsked(28.0, to=1), board], 28.0)) == [1]


def test_of_too_many_those_with_nothing_in_hand_go_before_those_with_something() -> None:
    made = whole(3)
    board = read(28.0, {1: 27.0, 2: 27.0, 3: 27.0}, in_flight={3: 1, 2: 7})
    assert of(Ask, made.handle([ScaleAsked(28.0, to=1), board], 28.0)) == [1, 3]


def test_of_too_many_the_worn_go_before_the_others() -> None:
    made = whole(3, spare=0)
    assert of(Ask, made.handle([worn(2, 28.0), ScaleAsked(28.0, to=2)], 28.0)) == [2]


def test_whose_fork_is_under_way_goes_when_it_is_there() -> None:
    made = whole(1)
    made.handle([ScaleAsked(1.0, to=2)], 1.0)
    assert of(Ask, made.handle([ScaleAsked(1.0, to=1)], 1.0)) == []
    assert of(Ask, made.handle([forked(2, 1.0)], 1.1)) == [2]


def test_nobody_works_less_while_a_spirit_is_missing() -> None:
    made = whole(3)
    made.handle([exited(1, 5.0), exited(2, 5.0)], 5.0)
    made.handle([forked(4, 5.0), forked(5, 5.0)], 5.0)
    assert of(Ask, made.handle([ScaleAsked(6.0, to=2)], 6.0)) == [5]
    assert made.snapshot(6.0).ready == 1


def test_to_nobody_and_back() -> None:
    made = whole(2)
    settle(made, made.handle([ScaleAsked(1.0, to=0)], 1.0), 1.0)
    assert made.snapshot(1.0).ready == 0
    assert made.deadline(1.0) is None
    settle(made, made.handle([ScaleAsked(2.0, to=2)], 2.0), 2.0)
    assert made.snapshot(2.0).ready == 2


def test_the_number_may_change_during_the_start() -> None:
    made = pool(3)
    made.handle([], 0.0)
    made.handle([forked(1), forked(2), forked(3)], 0.0)
    orders = made.handle([ScaleAsked(0.1, to=1)], 0.1)
    assert of(Ask, orders) == [3, 2]
    assert news(made.handle([readied(1, 0.2), exited(2, 0.2), exited(3, 0.2)], 0.2)) == [News.WHOLE]


def test_one_more_while_one_leaves_takes_the_spare() -> None:
    made = whole(2, spare=1)
    made.handle([ScaleAsked(1.0, to=1)], 1.0)
    assert of(Spawn, made.handle([ScaleAsked(2.0, to=2)], 2.0)) == [3]
    made = whole(2, spare=0)
    made.handle([ScaleAsked(1.0, to=1)], 1.0)
    assert of(Spawn, made.handle([ScaleAsked(2.0, to=2)], 2.0)) == []
    assert of(Spawn, made.handle([exited(2, 3.0)], 3.0)) == [3]
