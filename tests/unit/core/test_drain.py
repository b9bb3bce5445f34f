"""Asked to stop, a pool may serve on for a while, so that whoever sends it work can notice that it is not ready."""

from ghostd.core.actions import Announce, Ask, Finish, Halt, Kill, News, Reason, Rouse, Spawn
from ghostd.core.events import ReloadAsked, ScaleAsked
from ghostd.core.phases import SpiritId
from ghostd.core.pool import Pool
from ghostd.core.snapshot import State
from ghostd.errors import ExitCode
from tests.unit.core.drive import (
    BY_KILL,
    FAILED,
    due,
    exited,
    fork_failed,
    forked,
    news,
    of,
    pool,
    read,
    readied,
    stop,
    whole,
)


def draining(spirits: int = 2, spare: int = 1, **options: float) -> Pool:
    """A pool that was asked to stop at 5 and asks its spirits at 25."""
    made = whole(spirits, spare, **{"drain_delay": 20.0, "graceful_timeout": 30.0, **options})
    made.handle([stop(5.0)], 5.0)
    return made


def test_the_pool_says_at_once_that_it_stops_and_asks_nobody_before_the_delay_is_over() -> None:
    made = whole(2, drain_delay=20.0, graceful_timeout=30.0)
    assert made.handle([stop(5.0)], 5.0) == [
        Announce(News.DRAINING, Reason.STOP, "spirits serve on, and are asked to leave in 20 s")
    ]
    assert made.snapshot(5.0).state is State.STOPPING
    assert due(made, 5.0) == 25.0
    assert made.handle([], 24.9) == []
    assert made.handle([], 25.0) == [
        Finish(graceful=True, reason=Reason.STOP),
        Ask(SpiritId(1), Reason.STOP, 30.0),
        Ask(SpiritId(2), Reason.STOP, 30.0),
    ]
    made.handle([exited(1, 26.0)], 26.0)
    assert isinstance(made.handle([exited(2, 26.0)], 26.0)[-1], Halt)


def test_meanwhile_it_stays_whole() -> None:
    made = draining()
    assert of(Spawn, made.handle([exited(1, 10.0)], 10.0)) == [3]
    made.handle([forked(3, 10.0), readied(3, 11.0)], 11.0)
    assert made.snapshot(11.0).ready == 2
    assert of(Ask, made.handle([], 25.0)) == [2, 3]


def test_meanwhile_who_dies_early_is_backed_off() -> None:
    made = draining(1)
    made.handle([exited(1, 10.0)], 10.0)
    made.handle([forked(2, 10.0)], 10.0)
    made.handle([exited(2, 10.1, FAILED)], 10.1)
    made.handle([forked(3, 10.1)], 10.1)
    assert news(made.handle([exited(3, 10.2, FAILED)], 10.2)) == [News.HELD]
    assert 10.2 < due(made, 10.2) < 10.4


def test_meanwhile_a_silent_spirit_is_found_and_replaced() -> None:
    made = draining(1, drain_delay=100.0)
    made.handle([], 30.0)
    orders = made.handle([read(55.0, {1: 0.0})], 55.0)
    assert (of(Rouse, orders), of(Spawn, orders)) == ([1], [2])


def test_meanwhile_nothing_else_is_taken_up() -> None:
    made = draining()
    assert made.handle([ReloadAsked(6.0), ScaleAsked(6.0, to=9)], 6.0) == []


def test_a_reload_that_runs_is_brought_to_its_end_and_the_one_that_waits_is_forgotten() -> None:
    made = whole(1, spare=1, drain_delay=20.0)
    made.handle([ReloadAsked(5.0)], 5.0)
    made.handle([ReloadAsked(5.0), stop(5.0), forked(2, 5.0)], 5.0)
    assert of(Ask, made.handle([readied(2, 6.0)], 6.0)) == [1]
    assert news(made.handle([exited(1, 7.0)], 7.0)) == [News.RELOADED]


def test_a_stop_at_once_cuts_the_delay_short() -> None:
    made = draining()
    orders = made.handle([stop(6.0, graceful=False)], 6.0)
    assert orders[0] == Finish(graceful=False, reason=Reason.STOP)
    assert of(Kill, orders) == [1, 2]


def test_a_second_request_cuts_the_delay_short_and_a_third_changes_nothing() -> None:
    made = draining()
    assert of(Ask, made.handle([stop(6.0)], 6.0)) == [1, 2]
    assert made.handle([stop(7.0)], 7.0) == []
    assert due(made, 7.0) == 36.0


def test_the_same_request_twice_at_the_same_moment_is_one() -> None:
    made = whole(1, drain_delay=20.0)
    assert of(Ask, made.handle([stop(5.0), stop(5.0)], 5.0)) == []
    assert due(made, 5.0) == 25.0


def test_a_pool_that_was_never_whole_has_nothing_to_drain() -> None:
    made = pool(1, drain_delay=20.0)
    made.handle([], 0.0)
    assert made.handle([stop(0.1)], 0.1) == [Finish(graceful=True, reason=Reason.STOP)]
    assert of(Ask, made.handle([forked(1, 0.2)], 0.2)) == [1]


def test_the_stop_is_bounded_by_the_delay_and_the_limit_and_a_second() -> None:
    made, now = draining(1), 5.0
    orders = made.handle([], now)
    while not any(isinstance(order, Halt) for order in orders):
        now = due(made, now)
        assert now <= 5.0 + 20.0 + 30.0 + 1.0
        orders = made.handle([read(now, {1: now})], now)
    (halt,) = [order for order in orders if isinstance(order, Halt)]
    assert halt.code is ExitCode.SYSTEM


def test_a_pool_that_gives_up_when_nobody_is_ready_does_not_do_so_in_a_stop() -> None:
    made = whole(1, give_up_after=3.0, drain_delay=20.0)
    made.handle([stop(0.1)], 0.1)
    made.handle([exited(1, 0.5, FAILED)], 0.5)
    now = 0.5
    for spirit in (2, 3):
        made.handle([forked(spirit, now)], now)
        made.handle([exited(spirit, now, FAILED)], now)
        now = due(made, now)
        made.handle([], now)
    made.handle([fork_failed(4, now)], now)
    while now < 20.1:
        now = due(made, now)
        orders = made.handle([], now)
        for spirit in of(Spawn, orders):
            orders = made.handle([fork_failed(spirit, now)], now)
    (halt,) = [order for order in orders if isinstance(order, Halt)]
    assert (now, halt.code) == (20.1, ExitCode.OK)


def test_who_is_on_the_ladder_already_has_no_more_time_than_the_stop() -> None:
    made = draining(2, graceful_timeout=3.0, silent_timeout=100.0, heartbeat_timeout=5.0, heartbeat_interval=5.0)
    assert of(Rouse, made.handle([read(10.0, {1: 0.0, 2: 9.0})], 10.0)) == [1]
    made.handle([fork_failed(3, 10.0)], 10.0)
    now, killed = 10.0, dict[int, float]()
    while len(killed) < 2:
        now = due(made, now)
        orders = made.handle([read(now, {2: now})], now)
        killed |= dict.fromkeys(of(Kill, orders), now)
        events = [fork_failed(spirit, now) for spirit in of(Spawn, orders)]
        made.handle([*events, *(exited(spirit, now, BY_KILL) for spirit in of(Kill, orders))], now)
    assert killed == {1: 28.0, 2: 28.0}
