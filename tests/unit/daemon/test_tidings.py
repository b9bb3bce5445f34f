"""What there is to tell of a pool that has a history: a history in, few words with numbers out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ghostd.core.events import ReloadAsked, StopAsked
from ghostd.daemon.herald import Tidings, Word, tidings_of
from tests.unit.core.drive import FAILED, exited, forked, pool, readied, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ghostd.core.events import Event
    from ghostd.core.pool import Pool


def told(made: Pool, now: float, *events: Event) -> Tidings:
    made.handle(list(events), now)
    return tidings_of(made, now)


def words(tidings: Tidings) -> tuple[Word, str, bool]:
    return tidings.word, tidings.status, tidings.is_serving


def test_a_start_is_told_spirit_by_spirit_and_serves_when_the_pool_is_whole() -> None:
    made = pool(2)
    made.handle([], 0.0)
    begun = told(made, 0.0, forked(1), forked(2))
    assert words(begun) == (Word.STARTING, "starting: 0 of 2 spirits ready", False)
    assert begun.is_healthy
    assert words(told(made, 0.1, readied(1))) == (Word.STARTING, "starting: 1 of 2 spirits ready", False)
    assert words(told(made, 0.2, readied(2))) == (Word.UP, "2 of 2 spirits ready, generation 1", True)


def test_a_pool_that_has_lost_spirits_serves_as_long_as_one_is_ready() -> None:
    made = whole(2)
    assert words(told(made, 100.0, exited(1, 100.0))) == (Word.UP, "1 of 2 spirits ready, generation 1", True)
    lost = told(made, 100.1, exited(2, 100.1))
    assert words(lost) == (Word.UP, "0 of 2 spirits ready, generation 1", False)
    assert lost.is_healthy, "replacements boot, in bounded time"
    repaired = told(made, 100.2, forked(3, 100.1), forked(4, 100.1), readied(3, 100.2))
    assert words(repaired) == (Word.UP, "1 of 2 spirits ready, generation 1", True)


def test_a_degraded_pool_says_so_and_serves_as_long_as_one_is_ready() -> None:
    made = whole(4, young=60.0, intensity=3)
    losses = [exited(spirit, 1.0, FAILED) for spirit in (1, 2, 3)]
    assert words(told(made, 1.0, *losses)) == (Word.UP, "degraded: 1 of 4 spirits ready, generation 1", True)
    assert words(told(made, 1.1, exited(4, 1.1, FAILED))) == (
        Word.UP,
        "degraded: 0 of 4 spirits ready, generation 1",
        False,
    )


def test_a_reload_is_told_by_those_that_are_new_and_counted_when_it_has_ended() -> None:
    made = whole(1)
    begun = told(made, 10.0, ReloadAsked(10.0))
    assert words(begun) == (Word.RELOADING, "reloading: 0 of 1 spirits of generation 2 ready", True)
    assert begun.reloads == 0
    middle = told(made, 10.1, forked(2, 10.0), readied(2, 10.1))
    assert words(middle) == (Word.RELOADING, "reloading: 1 of 1 spirits of generation 2 ready", True)
    ended = told(made, 10.2, exited(1, 10.2))
    assert words(ended) == (Word.UP, "1 of 1 spirits ready, generation 2", True)
    assert ended.reloads == 1
    assert tidings_of(made, 10.2, 3).reloads == 4


def test_a_reload_without_spirits_and_one_that_failed_have_ended_too() -> None:
    empty = pool(0)
    empty.handle([], 0.0)
    done = told(empty, 1.0, ReloadAsked(1.0))
    assert (done.word, done.reloads) == (Word.UP, 1)
    made = whole(1)
    made.handle([ReloadAsked(10.0)], 10.0)
    failed = told(made, 10.1, forked(2, 10.0), exited(2, 10.1, FAILED))
    assert (failed.word, failed.reloads) == (Word.UP, 1)


def test_a_pool_without_spirits_is_up_and_serves_nobody() -> None:
    assert words(told(pool(0), 0.0)) == (Word.UP, "0 of 0 spirits ready, generation 1", False)


def test_a_pool_in_which_no_spirit_stays_alive_is_not_healthy_until_one_is_ready() -> None:
    made = whole(1, spare=0, young=60.0)
    assert told(made, 1.0, exited(1, 1.0, FAILED)).is_healthy
    assert not told(made, 1.1, forked(2, 1.0), exited(2, 1.1, FAILED)).is_healthy
    due = made.deadline(1.1)
    assert due is not None
    made.handle([], due)
    assert not told(made, due, forked(3, due)).is_healthy, "it boots, but so did the others"
    assert told(made, due, readied(3, due)).is_healthy


def test_a_stop_is_told_with_those_that_are_left() -> None:
    made = whole(2)
    steps: Sequence[tuple[float, Event]] = [
        (5.0, StopAsked(True, 5.0)),
        (5.1, exited(1, 5.1)),
        (5.2, exited(2, 5.2)),
    ]
    assert [words(told(made, now, event)) for now, event in steps] == [
        (Word.STOPPING, f"stopping: {left} spirits left", False) for left in (2, 1, 0)
    ]
