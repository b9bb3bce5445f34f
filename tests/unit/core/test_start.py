"""The first spirits of a pool, and the ordinary deaths of later ones."""

from ghostd.core.actions import Announce, Bury, News, Reason, Spawn
from ghostd.core.phases import Generation, Phase, SpiritId
from ghostd.core.snapshot import State
from ghostd.errors import ExitCode
from tests.unit.core.drive import BY_KILL, FAILED, due, exited, forked, news, of, pool, read, readied, stop, whole


def test_the_first_call_orders_the_first_spirits() -> None:
    made = pool(2)
    assert made.handle([], 0.0) == [
        Spawn(SpiritId(1), 0, Generation(1), Reason.MISSING),
        Spawn(SpiritId(2), 1, Generation(1), Reason.MISSING),
    ]
    assert made.deadline(0.0) is None, "what becomes of the forks is told without being asked for"


def test_a_pool_is_whole_when_the_last_of_them_is_ready_and_says_so_once() -> None:
    made = pool(2)
    made.handle([], 0.0)
    assert made.handle([forked(1), forked(2)], 0.0) == []
    assert made.handle([readied(1)], 1.0) == []
    assert made.snapshot(1.0).state is State.STARTING
    whole_news = Announce(News.WHOLE, Reason.WHOLE, "2 of 2 spirits are ready")
    assert made.handle([readied(2, 1.0)], 1.0) == [whole_news]
    assert made.handle([readied(2, 1.0)], 1.0) == []
    assert made.snapshot(1.0).state is State.WHOLE


def test_a_pool_of_nobody_is_whole_at_once_and_sleeps_for_ever() -> None:
    made = pool(0)
    assert news(made.handle([], 0.0)) == [News.WHOLE]
    assert made.deadline(0.0) is None


def test_a_spirit_that_ends_is_buried_and_replaced_in_one_batch() -> None:
    made = whole(2)
    assert made.handle([exited(2, 10.0, BY_KILL)], 10.0) == [
        Bury(SpiritId(2), Reason.ENDED, BY_KILL, 10.0),
        Spawn(SpiritId(3), 1, Generation(1), Reason.MISSING),
    ]
    assert made.snapshot(10.0).state is State.SHORT


def test_it_is_whole_again_without_a_word() -> None:
    made = whole(1)
    made.handle([exited(1, 10.0)], 10.0)
    assert made.handle([forked(2, 10.0), readied(2, 10.1)], 10.1) == []
    assert made.snapshot(10.1).state is State.WHOLE


def test_sixty_four_deaths_in_one_batch_are_sixty_four_replacements_in_the_same() -> None:
    made = whole(64)
    orders = made.handle([exited(spirit, 10.0) for spirit in range(1, 65)], 10.0)
    assert of(Bury, orders) == list(range(1, 65))
    assert of(Spawn, orders) == list(range(65, 129))


def test_forked_ready_and_ended_may_be_told_together() -> None:
    made = whole(1)
    made.handle([exited(1, 10.0)], 10.0)
    orders = made.handle([forked(2, 10.0), readied(2, 10.0), exited(2, 12.0)], 12.0)
    assert of(Bury, orders) == [2]
    assert of(Spawn, orders) == [3]


def test_what_is_told_late_of_a_spirit_that_is_gone_costs_nothing() -> None:
    made = whole(1)
    made.handle([exited(1, 10.0)], 10.0)
    assert made.handle([readied(1, 10.0)], 10.0) == []


def test_a_death_before_ready_and_before_the_pool_was_whole_ends_the_ghost() -> None:
    made = pool(2)
    made.handle([], 0.0)
    made.handle([forked(1), forked(2)], 0.0)
    orders = made.handle([exited(1, 0.5, FAILED)], 0.5)
    assert [type(order).__name__ for order in orders] == ["Bury", "Finish", "Kill"]
    (halt,) = [order for order in made.handle([exited(2, 0.6, BY_KILL)], 0.6) if type(order).__name__ == "Halt"]
    assert getattr(halt, "code", None) is ExitCode.BOOT_FAILED
    assert "spirit 1 (seat 0) died early: it ended (exit code 1) before it was ready" in getattr(halt, "detail", "")


def test_a_short_life_after_ready_does_not_end_the_ghost_though_the_pool_was_never_whole() -> None:
    made = pool(2)
    made.handle([], 0.0)
    made.handle([forked(1), forked(2), readied(1, 0.1)], 0.1)
    orders = made.handle([exited(1, 0.5, FAILED)], 0.5)
    assert of(Spawn, orders) == [3]


def test_nothing_but_its_end_comes_from_a_pool_that_has_ended() -> None:
    made = whole(1)
    made.handle([stop(1.0)], 1.0)
    made.handle([exited(1, 1.0)], 1.0)
    assert made.handle([readied(1, 2.0), stop(2.0, graceful=False)], 2.0) == []
    assert made.deadline(2.0) is None
    assert made.snapshot(2.0).state is State.STOPPED


def test_a_deadline_is_never_later_than_half_the_silence_allowed_while_somebody_works() -> None:
    made = whole(1)
    assert due(made, 0.0) == 27.5


def test_a_snapshot_tells_of_each_spirit_by_seat() -> None:
    made = whole(2)
    made.handle([exited(1, 10.0)], 10.0)
    made.handle([forked(3, 10.0)], 10.0)
    seen = made.snapshot(12.0)
    assert [(one.spirit, one.seat, one.phase, one.age, one.silence) for one in seen.spirits] == [
        (3, 0, Phase.BOOTING, 2.0, 0.0),
        (2, 1, Phase.READY, 0.0, 0.0),
    ]
    assert (seen.wanted, seen.ready, seen.generation) == (2, 1, 1)
    assert (seen.totals.forked, seen.totals.ended) == (3, 1)


def test_age_and_silence_count_from_the_fork_and_the_last_beat() -> None:
    made = pool(1)
    made.handle([], 5.0)
    made.handle([forked(1, 5.0)], 5.0)
    made.handle([readied(1, 6.0)], 6.0)
    (seen,) = made.snapshot(9.0).spirits
    assert (seen.age, seen.silence) == (4.0, 3.0)


def test_a_snapshot_tells_what_spirits_have_written_where_the_board_was_read_for_it() -> None:
    made = whole(2)
    board = read(12.0, {1: 11.0, 2: 1e9}, in_flight={1: 3})
    seen = made.snapshot(12.0, board.cells).spirits
    assert [(one.silence, one.in_flight, one.served) for one in seen] == [(1.0, 3, 0), (0.0, 0, 0)]
    assert [one.silence for one in made.snapshot(12.0).spirits] == [0.0, 0.0], "nothing is remembered of it"


def test_a_snapshot_is_frozen() -> None:
    made = whole(1)
    before = made.snapshot(0.0)
    made.handle([exited(1, 10.0)], 10.0)
    assert before.totals.ended == 0


def test_a_spirit_without_a_process_has_neither_age_nor_silence() -> None:
    made = pool(1)
    made.handle([], 5.0)
    (seen,) = made.snapshot(9.0).spirits
    assert (seen.phase, seen.age, seen.silence) == (Phase.SPAWNING, 0.0, 0.0)
