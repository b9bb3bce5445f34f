"""From silence to the end: found, asked, killed, given up; each step once, each after its limit and not before."""

from ghostd.core.actions import Abandon, Bury, Halt, Kill, Reason, Rouse, Spawn
from ghostd.core.phases import SpiritId
from ghostd.core.pool import Pool
from ghostd.core.snapshot import Totals
from ghostd.errors import ExitCode
from tests.unit.core.drive import (
    BY_KILL,
    SILENCE,
    doze,
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


def test_a_silent_spirit_is_found_at_its_limit_and_replaced_at_once() -> None:
    made = whole(1)
    made.handle([read(27.5, {1: 0.0})], 27.5)
    assert due(made, 27.5) == SILENCE
    orders = made.handle([read(SILENCE, {1: 0.0})], SILENCE)
    assert orders == [Rouse(SpiritId(1), Reason.SILENT, SILENCE, 10.0), Spawn(SpiritId(2), 1, 1, Reason.MISSING)]  # type: ignore[arg-type]


def test_a_beat_puts_the_limit_off() -> None:
    made = whole(1)
    made.handle([read(27.5, {1: 27.0})], 27.5)
    assert of(Rouse, made.handle([read(SILENCE, {1: 27.0})], SILENCE)) == []
    assert due(made, SILENCE) == 27.0 + SILENCE


def test_an_older_beat_than_the_last_changes_nothing() -> None:
    made = whole(1)
    made.handle([read(27.5, {1: 27.0})], 27.5)
    made.handle([read(SILENCE, {1: 3.0})], SILENCE)
    assert due(made, SILENCE) == 27.0 + SILENCE


def test_a_beat_from_the_future_counts_as_one_of_now() -> None:
    made = whole(1)
    made.handle([read(27.5, {1: 1e9})], 27.5)
    assert of(Rouse, made.handle([read(55.0, {1: 0.0})], 55.0)) == []
    made.handle([read(82.4, {1: 0.0})], 82.4)
    assert of(Rouse, made.handle([read(82.5, {1: 0.0})], 82.5)) == [1]


def test_a_busy_spirit_is_not_judged_before_it_said() -> None:
    made = whole(1)
    made.handle([read(27.5, {1: 0.0}, {1: 300.0})], 27.5)
    assert of(Rouse, made.handle([read(55.0, {1: 0.0}, {1: 300.0})], 55.0)) == []
    for now in (82.5, 110.0, 137.5, 165.0, 192.5, 220.0, 247.5, 275.0):
        assert made.handle([read(now, {1: 0.0}, {1: 300.0})], now) == []
    assert due(made, 275.0) == 300.0
    assert of(Rouse, made.handle([read(300.0, {1: 0.0}, {1: 300.0})], 300.0)) == [1]


def test_a_spirit_may_take_back_that_it_is_busy() -> None:
    made = whole(1)
    made.handle([read(27.5, {1: 0.0}, {1: 300.0})], 27.5)
    made.handle([read(50.0, {1: 0.0})], 50.0)
    assert due(made, 50.0) == SILENCE


def test_a_busy_spirit_may_take_it_back_after_the_reading_and_is_found_at_its_limit_all_the_same() -> None:
    made = whole(1)
    made.handle([read(27.5, {1: 27.0}, {1: 1e9})], 27.5)
    made.handle([], 55.0)
    assert due(made, 55.0) == 82.5, "as long as a beat of the reading would have lasted"
    assert made.wants_board(82.5)
    made.handle([read(82.5, {1: 40.0})], 82.5)
    assert due(made, 82.5) == 95.0
    assert of(Rouse, made.handle([read(95.0, {1: 40.0})], 95.0)) == [1]


def test_the_board_is_wanted_when_somebody_may_be_silent_and_not_when_the_pool_only_looks_at_the_time() -> None:
    made = whole(2)
    assert due(made, 0.0) == 27.5
    assert not made.wants_board(27.5)
    made.handle([], 27.5)
    assert due(made, 27.5) == SILENCE
    assert not made.wants_board(SILENCE - 0.1)
    assert made.wants_board(SILENCE)
    made.handle([read(SILENCE, {1: 54.0, 2: 54.5})], SILENCE)
    made.handle([], 82.5)
    assert due(made, 82.5) == 109.0
    assert not made.wants_board(82.5)


def test_without_a_fresh_reading_nobody_is_found_silent() -> None:
    made = whole(2)
    made.handle([read(27.5, {1: 0.0, 2: 27.0})], 27.5)
    orders = made.handle([exited(2, SILENCE)], SILENCE)
    assert of(Rouse, orders) == []
    assert due(made, SILENCE) == SILENCE, "the deadline stands"
    assert of(Rouse, made.handle([read(SILENCE, {1: 0.0})], SILENCE)) == [1]


def test_a_silent_spirit_that_ends_is_buried_as_silent_and_not_replaced_again() -> None:
    made = whole(1)
    made.handle([read(27.5, {1: 0.0})], 27.5)
    made.handle([read(SILENCE, {1: 0.0})], SILENCE)
    orders = made.handle([forked(2, SILENCE), exited(1, 56.0)], 56.0)
    assert [(order.spirit, order.reason) for order in orders if isinstance(order, Bury)] == [(1, Reason.SILENT)]
    assert of(Spawn, orders) == []


def test_a_silent_spirit_is_killed_after_its_own_limit_then_given_up_and_still_buried() -> None:
    made = whole(1)
    made.handle([read(27.5, {1: 0.0})], 27.5)
    made.handle([read(SILENCE, {1: 0.0})], SILENCE)
    made.handle([forked(2, SILENCE), readied(2, SILENCE)], SILENCE)
    assert of(Kill, made.handle([read(64.9, {2: 64.0})], 64.9)) == []
    assert due(made, 64.9) == 65.0
    assert made.handle([read(65.0, {2: 64.0})], 65.0) == [Kill(SpiritId(1), Reason.SILENT, 10.0)]
    assert made.handle([read(69.9, {2: 64.0})], 69.9) == []
    assert made.handle([read(70.0, {2: 64.0})], 70.0) == [Abandon(SpiritId(1), Reason.OUTLIVED, 5.0)]
    assert due(made, 70.0) == 97.5, "nothing is left to try with the lost one"
    assert made.snapshot(70.0).totals.lost == 1
    orders = made.handle([exited(1, 1000.0, BY_KILL), read(1000.0, {2: 999.0})], 1000.0)
    assert of(Bury, orders) == [1]
    assert of(Spawn, orders) == []


def test_the_limits_are_those_of_the_policy() -> None:
    made = whole(1, heartbeat_interval=1.0, heartbeat_timeout=2.0, silent_timeout=4.0, kill_timeout=8.0)
    assert of(Rouse, made.handle([read(3.0, {1: 0.0})], 3.0)) == []  # late by 1.5 s: that is a gap
    made = whole(1, heartbeat_interval=1.0, heartbeat_timeout=2.0, silent_timeout=4.0, kill_timeout=8.0)
    made.handle([read(1.5, {1: 0.0})], 1.5)
    assert of(Rouse, made.handle([read(3.0, {1: 0.0})], 3.0)) == [1]
    assert doze(made, 3.0, 7.0) == 7.0
    assert of(Kill, made.handle([read(7.0)], 7.0)) == [1]
    assert doze(made, 7.0, 15.0) == 15.0


def test_a_spirit_that_is_not_ready_in_time_is_roused_as_slow_to_boot() -> None:
    made = whole(1)
    made.handle([exited(1, 10.0)], 10.0)
    made.handle([forked(2, 10.0)], 10.0)
    assert doze(made, 10.0, 130.0) == 130.0
    orders = made.handle([read(130.0)], 130.0)
    assert [(o.spirit, o.reason, o.silence) for o in orders if isinstance(o, Rouse)] == [(2, Reason.SLOW_BOOT, 120.0)]
    assert of(Spawn, orders) == [3]
    orders = made.handle([forked(3, 130.0), exited(2, 131.0)], 131.0)
    assert [(order.spirit, order.reason) for order in orders if isinstance(order, Bury)] == [(2, Reason.SLOW_BOOT)]


def test_a_slow_boot_needs_no_reading_of_the_board_to_be_found() -> None:
    made = whole(1)
    made.handle([exited(1, 10.0)], 10.0)
    made.handle([forked(2, 10.0)], 10.0)
    doze(made, 10.0, 130.0)
    assert of(Rouse, made.handle([], 130.0)) == [2]


def never_whole() -> Pool:
    """A pool that gives up at 120: its first spirit is ready, its second is not in time."""
    made = pool(2, silent_timeout=8.0, heartbeat_timeout=1000.0)
    made.handle([], 0.0)
    made.handle([forked(1), forked(2), readied(1)], 0.0)
    orders = made.handle([], 120.0)
    assert [type(order).__name__ for order in orders] == ["Rouse", "Finish", "Kill"]
    assert (of(Rouse, orders), of(Kill, orders)) == ([2], [1])
    return made


def test_before_the_pool_was_whole_a_slow_boot_ends_the_ghost_but_not_before_its_stacks_are_written() -> None:
    made = never_whole()
    made.handle([exited(1, 120.0, BY_KILL)], 120.0)
    assert due(made, 120.0) == 128.0
    assert made.handle([], 128.0) == [Kill(SpiritId(2), Reason.SLOW_BOOT, 8.0)]
    assert due(made, 128.0) == 128.5
    (halt,) = made.handle([exited(2, 128.1, BY_KILL)], 128.1)[-1:]
    assert isinstance(halt, Halt)
    assert (halt.code, halt.reason) == (ExitCode.BOOT_FAILED, Reason.EARLY_DEATH)


def test_the_wait_for_the_stacks_of_a_slow_boot_ends_with_the_process() -> None:
    made = never_whole()
    assert isinstance(made.handle([exited(1, 120.1, BY_KILL), exited(2, 120.1)], 120.1)[-1], Halt)


def test_a_stop_at_once_cuts_the_wait_for_the_stacks_of_a_slow_boot_short_and_keeps_the_code() -> None:
    made = never_whole()
    assert of(Kill, made.handle([exited(1, 120.1, BY_KILL), stop(120.1)], 120.1)) == []
    assert of(Kill, made.handle([stop(122.0, graceful=False)], 122.0)) == [2]
    (halt,) = made.handle([exited(2, 122.1, BY_KILL)], 122.1)[-1:]
    assert isinstance(halt, Halt)
    assert halt.code is ExitCode.BOOT_FAILED


def test_who_is_silent_when_the_pool_gives_up_has_no_more_time_than_the_slow_boot() -> None:
    made = pool(2, silent_timeout=8.0, heartbeat_interval=100.0, heartbeat_timeout=14.0)
    made.handle([], 0.0)
    made.handle([forked(1), forked(2), readied(1)], 0.0)
    made.handle([], 57.0)
    assert of(Rouse, made.handle([read(114.0, {1: 0.0})], 114.0)) == [1]
    assert of(Rouse, made.handle([], 120.0)) == [2]
    assert of(Kill, made.handle([], 122.0)) == [1]
    made.handle([exited(1, 122.0, BY_KILL), fork_failed(3, 122.0)], 122.0)
    assert of(Kill, made.handle([], 128.0)) == [2]


def test_a_spirit_that_says_it_leaves_is_replaced_within_the_spare_and_has_the_graceful_limit() -> None:
    made = whole(1, spare=1)
    assert of(Spawn, made.handle([left(1, 10.0)], 10.0)) == [2]
    made.handle([forked(2, 10.0), readied(2, 10.0)], 10.0)
    made.handle([read(37.5, {2: 37.0}), left(1, 37.5)], 37.5)  # said again: nothing
    orders = made.handle([read(130.0, {2: 129.0})], 130.0)
    assert of(Kill, orders) == []  # late by 65 s: all limits are put off
    made = whole(1, spare=1)
    made.handle([left(1, 10.0)], 10.0)
    made.handle([forked(2, 10.0)], 10.0)
    doze(made, 10.0, 129.9)
    assert of(Kill, made.handle([read(129.9), readied(2, 129.9)], 129.9)) == []
    assert of(Kill, made.handle([read(130.0, {2: 129.0})], 130.0)) == [1]


def test_without_a_spare_a_leaving_spirit_is_replaced_when_it_has_ended() -> None:
    made = whole(1, spare=0)
    assert of(Spawn, made.handle([left(1, 10.0)], 10.0)) == []
    orders = made.handle([exited(1, 11.0)], 11.0)
    assert [(order.spirit, order.reason) for order in orders if isinstance(order, Bury)] == [(1, Reason.OWN_WISH)]
    assert of(Spawn, orders) == [2]


def test_a_spirit_may_leave_before_it_was_ready() -> None:
    made = whole(1, spare=1)
    made.handle([exited(1, 10.0)], 10.0)
    made.handle([forked(2, 10.0)], 10.0)
    assert of(Spawn, made.handle([left(2, 12.0)], 12.0)) == [3]
    assert made.handle([readied(2, 12.1)], 12.1) == []


def test_a_leaving_spirit_is_not_judged_by_its_silence() -> None:
    made = whole(1, spare=0)
    made.handle([left(1, 10.0)], 10.0)
    assert doze(made, 10.0, 100.0) == 120.0
    assert made.handle([read(100.0, {1: 0.0})], 100.0) == []


def test_a_spirit_that_died_while_its_kill_was_due_is_only_buried() -> None:
    made = whole(1)
    made.handle([stop(1.0)], 1.0)
    orders = made.handle([read(121.0), exited(1, 121.0)], 121.0)
    assert of(Kill, orders) == []
    assert of(Bury, orders) == [1]


def test_a_beat_of_somebody_unknown_costs_nothing() -> None:
    made = whole(1)
    assert made.handle([read(27.5, {1: 27.0, 99: 27.0})], 27.5) == []


def test_whatever_happens_is_counted() -> None:
    made = whole(1)
    assert made.snapshot(0.0).totals == Totals(forked=1)
    made.handle([read(27.5, {1: 0.0})], 27.5)
    made.handle([read(SILENCE, {1: 0.0})], SILENCE)
    made.handle([forked(2, SILENCE), readied(2, SILENCE)], SILENCE)
    made.handle([read(65.0, {2: 64.0})], 65.0)
    made.handle([read(70.0, {2: 64.0})], 70.0)
    made.handle([exited(2, 71.0)], 71.0)
    made.handle([fork_failed(3, 71.0)], 71.0)
    made.handle([read(71.1)], 71.1)
    made.handle([forked(4, 71.1), exited(4, 71.2)], 71.2)
    assert made.snapshot(71.2).totals == Totals(
        forked=3, failed_forks=1, ended=2, early_deaths=1, silenced=1, killed=1, lost=1
    )
