"""A manager that was asleep cannot judge its spirits: what it did not run is credited to every limit."""

import pytest

from ghostd.core.actions import Announce, Ask, Halt, Kill, News, Reason, Rouse
from ghostd.core.events import Continued, Event
from ghostd.core.gaps import Gaps
from tests.unit.core.drive import SILENCE, doze, due, exited, forked, left, news, of, pool, read, readied, stop, whole


def test_a_late_awakening_credits_all_the_time_since_the_last() -> None:
    made = whole(1)
    orders = made.handle([read(1000.0, {1: 0.0})], 1000.0)
    assert of(Rouse, orders) == []
    assert [order for order in orders if isinstance(order, Announce)] == [
        Announce(
            News.CREDITED,
            Reason.PAUSED,
            "the manager may not have run for 1000.0 s: all limits are put off by that",
        )
    ]


def test_sigcont_is_believed_though_the_awakening_is_not_late() -> None:
    made = whole(1)
    made.handle([Continued(20.0), read(20.0, {1: 0.0})], 20.0)
    assert of(Rouse, made.handle([read(47.5, {1: 0.0})], 47.5)) == []
    assert of(Rouse, made.handle([read(SILENCE + 19.9, {1: 0.0})], SILENCE + 19.9)) == []
    assert of(Rouse, made.handle([read(SILENCE + 20.0, {1: 0.0})], SILENCE + 20.0)) == [1]


def test_a_beat_from_before_the_gap_that_is_read_after_it_keeps_its_credit() -> None:
    made = whole(1)
    made.handle([Continued(100.0), read(100.0, {1: 10.0})], 100.0)  # frozen from 10 to 100
    assert of(Rouse, made.handle([read(110.0, {1: 10.0})], 110.0)) == []
    assert due(made, 110.0) == 110.0 + SILENCE / 2
    assert of(Rouse, made.handle([read(137.5, {1: 10.0})], 137.5)) == []
    assert due(made, 137.5) == 10.0 + SILENCE + 90.0


def test_a_fork_from_before_the_gap_that_is_told_after_it_keeps_its_credit() -> None:
    made = pool(1)
    made.handle([], 0.0)
    orders = made.handle([Continued(500.0), forked(1, 0.0), read(500.0)], 500.0)
    assert of(Rouse, orders) == []
    assert doze(made, 500.0, 620.0) == 620.0


def test_a_ready_from_before_the_gap_that_is_told_after_it_keeps_its_credit() -> None:
    made = pool(1)
    made.handle([], 0.0)
    made.handle([forked(1, 0.0)], 0.0)
    orders = made.handle([Continued(100.0), readied(1, 10.0), read(100.0)], 100.0)
    assert of(Rouse, orders) == []
    assert of(Rouse, made.handle([read(127.5)], 127.5)) == []
    assert due(made, 127.5) == 10.0 + SILENCE + 90.0


def test_a_beat_after_the_gap_ends_the_credit() -> None:
    made = whole(1)
    made.handle([Continued(100.0), read(100.0, {1: 0.0})], 100.0)
    made.handle([read(127.5, {1: 120.0})], 127.5)
    made.handle([read(155.0, {1: 120.0})], 155.0)
    assert due(made, 155.0) == 120.0 + SILENCE


def test_a_gap_between_a_beat_and_the_reading_of_it_is_credited_however_long_ago_it_was_noticed() -> None:
    made = whole(1)
    made.handle([], 15.0)
    made.handle([Continued(26.0)], 26.0)  # the spirit beat at 10, and was frozen from 15 to 26; nobody read the board
    made.handle([], 53.0)
    made.handle([read(66.0, {1: 10.0})], 66.0)
    assert due(made, 66.0) == 10.0 + SILENCE + 11.0
    assert of(Rouse, made.handle([read(75.9, {1: 10.0})], 75.9)) == []
    assert of(Rouse, made.handle([read(76.0, {1: 10.0})], 76.0)) == [1]


def test_each_of_many_gaps_is_credited_once() -> None:
    made, now, beat = whole(1), 0.0, 2960.0  # in the last 40 s it runs for 25 s
    for _ in range(200):
        now += 10.0
        made.handle([read(now, {1: min(now, beat)})], now)
        now += 5.0
        made.handle([Continued(now)], now)
    assert due(made, now) == now + SILENCE / 2
    assert of(Rouse, made.handle([read(now + 27.5, {1: beat})], now + 27.5)) == []
    assert due(made, now + 27.5) == beat + SILENCE + 15.0


@pytest.mark.parametrize(
    ("at", "spent"),
    [(0.0, 0.0), (10.0, 0.0), (12.0, 2.0), (15.0, 5.0), (20.0, 5.0), (33.0, 6.0), (39.0, 12.0), (100.0, 12.0)],
)
def test_what_was_spent_in_gaps_is_known_of_any_moment(at: float, spent: float) -> None:
    gaps = Gaps(0.0)
    for now, told in ((10.0, False), (15.0, True), (32.0, False), (39.0, True)):
        gaps.wake(now, now, told=told, strict=False)
    assert gaps.spent(at) == spent
    assert gaps.lived(at) == at - spent


def test_of_gaps_that_are_long_past_only_the_sum_is_kept() -> None:
    gaps = Gaps(0.0)
    for now in range(1, 1001):
        gaps.wake(float(now), float(now), told=now % 2 == 0, strict=False)
    assert gaps.total == 500.0
    assert gaps.spent(900.0) == 450.0
    assert gaps.spent(1.0) == 500.0 - 64.0


@pytest.mark.parametrize(
    ("late", "credit"),
    [(0.04, 0.0), (0.05, 0.05), (0.9, 0.9), (1.0, 28.5)],
    ids=["noise", "just no noise", "less than a gap", "a gap, perhaps since it last ran"],
)
def test_what_it_was_late_by_is_credited_from_the_noise_on(late: float, credit: float) -> None:
    made = whole(1)
    awake = SILENCE / 2 + late
    made.handle([read(awake, {1: 0.0})], awake)
    made.handle([read(SILENCE - 1.0, {1: 0.0})], SILENCE - 1.0)
    assert due(made, SILENCE - 1.0) == pytest.approx(min(SILENCE + credit, SILENCE - 1.0 + SILENCE / 2))


def test_only_a_long_gap_is_news() -> None:
    made = whole(1)
    assert news(made.handle([read(28.4, {1: 20.0})], 28.4)) == []
    assert news(made.handle([Continued(28.9), read(28.9, {1: 20.0})], 28.9)) == []
    assert news(made.handle([Continued(29.9), read(29.9, {1: 20.0})], 29.9)) == [News.CREDITED]


def test_every_limit_is_put_off_by_a_gap() -> None:
    made = whole(1)
    made.handle([stop(1.0)], 1.0)
    orders = made.handle([Continued(301.0)], 301.0)
    assert of(Kill, orders) == []
    assert due(made, 301.0) == 421.0
    assert of(Kill, made.handle([read(421.0)], 421.0)) == [1]


def test_in_a_stop_small_lateness_is_not_credited() -> None:
    made = whole(2, graceful_timeout=10.0)
    made.handle([stop(0.0)], 0.0)
    assert of(Kill, made.handle([read(10.9)], 10.9)) == [1, 2]


def test_a_gap_during_a_stop_is_no_news() -> None:
    made = whole(1, graceful_timeout=10.0)
    assert of(Ask, made.handle([stop(0.0)], 0.0)) == [1]
    events: list[Event] = [Continued(100.0), exited(1, 100.0)]
    orders = made.handle(events, 100.0)
    assert news(orders) == []
    assert isinstance(orders[-1], Halt)


@pytest.mark.parametrize("leaves", [False, True], ids=["boot", "leave"])
def test_a_gap_shorter_than_a_limit_is_seen_also_while_nobody_is_ready(leaves: bool) -> None:
    made = pool(1, spare=0, boot_timeout=60.0, graceful_timeout=60.0)
    made.handle([], 0.0)
    made.handle([forked(1, 0.0)], 0.0)
    if leaves:
        made.handle([left(1, 0.0)], 0.0)
    assert due(made, 0.0) == SILENCE / 2
    assert news(made.handle([], 50.0)) == [News.CREDITED]
    assert doze(made, 50.0, 110.0) == 110.0
