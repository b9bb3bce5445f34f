"""The table of moves: complete, without a trap, and the only way."""

import math

import pytest

from ghostd.core import phases
from ghostd.core.phases import MOVES, SERVING, Generation, Move, Phase, Record, SpiritId
from ghostd.errors import ExitCode, IllegalMoveError
from ghostd.exits import Exit
from tests.unit.core.drive import due, forked, left, pool, read, readied, stop, whole

WITH_A_PROCESS = [phase for phase in Phase if phase not in (Phase.SPAWNING, Phase.GONE)]
LEGAL = [(phase, move) for phase in Phase for move in MOVES[phase]]
ILLEGAL = [(phase, move) for phase in Phase for move in Move if move not in MOVES[phase]]


def record(phase: Phase) -> Record:
    return Record(SpiritId(1), 0, Generation(1), 0, phase)


def reachable(phase: Phase) -> set[Phase]:
    seen, left_to_see = set[Phase](), [phase]
    while left_to_see:
        seen.add(one := left_to_see.pop())
        left_to_see += [after for after in MOVES[one].values() if after not in seen]
    return seen


def test_every_phase_stands_in_the_table() -> None:
    assert set(MOVES) == set(Phase)


def test_every_move_is_of_use() -> None:
    assert {move for moves in MOVES.values() for move in moves} == set(Move)


def test_every_phase_can_be_come_to_from_the_first() -> None:
    assert reachable(Phase.SPAWNING) == set(Phase)


@pytest.mark.parametrize("phase", WITH_A_PROCESS)
def test_every_phase_with_a_process_has_a_way_out(phase: Phase) -> None:
    assert MOVES[phase][Move.EXIT] is Phase.GONE
    assert Phase.GONE in reachable(phase)


def test_no_phase_is_its_own_way_out() -> None:
    assert not [phase for phase in Phase if phase in MOVES[phase].values()]


def test_nothing_comes_after_the_end() -> None:
    assert MOVES[Phase.GONE] == {}


def test_whoever_serves_may_be_told_by_its_phase() -> None:
    assert set(SERVING) == {Phase.SPAWNING, Phase.BOOTING, Phase.READY}


@pytest.mark.parametrize(("phase", "move"), LEGAL)
def test_a_move_of_the_table_is_made_with_its_time_and_limit(phase: Phase, move: Move) -> None:
    one = record(phase)
    one.move(move, 10.0, 15.0)
    assert (one.phase, one.since, one.due) == (MOVES[phase][move], 10.0, 15.0)


@pytest.mark.parametrize(("phase", "move"), ILLEGAL)
def test_a_move_that_is_not_in_the_table_is_a_bug_and_changes_nothing(phase: Phase, move: Move) -> None:
    one = record(phase)
    with pytest.raises(IllegalMoveError, match=rf"spirit 1 \({phase.value}\): {move.value}") as caught:
        one.move(move, 10.0)
    assert one.phase is phase
    assert caught.value.code is ExitCode.BUG


def test_a_move_without_a_limit_is_due_never() -> None:
    one = record(Phase.KILLED)
    one.move(Move.OUTLIVE, 10.0)
    assert math.isinf(one.due)


@pytest.mark.parametrize("phase", [phase for phase in WITH_A_PROCESS if phase is not Phase.LOST])
def test_every_phase_with_a_process_but_lost_has_a_deadline(phase: Phase) -> None:
    made = whole(1, spare=0, graceful_timeout=40.0) if phase is not Phase.BOOTING else pool(1, spare=0)
    now = 0.0
    match phase:
        case Phase.BOOTING:
            made.handle([], 0.0)
            made.handle([forked(1)], 0.0)
        case Phase.LEAVING:
            made.handle([left(1, 5.0)], now := 5.0)
        case Phase.SILENT:
            made.handle([read(27.5, {1: 0.0})], 27.5)
            made.handle([read(55.0, {1: 0.0})], now := 55.0)
        case Phase.KILLED:
            made.handle([stop(5.0, graceful=False)], now := 5.0)
    assert phase in [one.phase for one in made.snapshot(now).spirits]
    assert now < due(made, now) < now + 200.0


def test_a_lost_spirit_has_no_deadline() -> None:
    made = whole(1, spare=0, graceful_timeout=0.0, kill_timeout=1.0)
    made.handle([left(1, 5.0)], 5.0)
    made.handle([read(5.0)], 5.0)
    made.handle([read(6.0), forked(2, 5.0), readied(2, 5.0)], 6.0)
    assert [one.phase for one in made.snapshot(6.0).spirits] == [Phase.LOST, Phase.READY]
    assert due(made, 6.0) == 33.5, "that of the other one"


@pytest.mark.parametrize(
    ("exit_", "text", "is_clean"),
    [
        (Exit(code=0), "exit code 0", True),
        (Exit(code=255), "exit code 255", False),
        (Exit(signal=9), "signal 9", False),
        (Exit(signal=11, dumped_core=True), "signal 11, core dumped", False),
        (Exit(), "exit code None", False),
    ],
)
def test_an_exit_can_be_said(exit_: Exit, text: str, is_clean: bool) -> None:
    assert str(exit_) == text
    assert exit_.is_clean is is_clean


def test_the_module_says_what_it_promises() -> None:
    assert "Rule 1" in (phases.__doc__ or "")


def test_a_new_record_has_no_times_yet() -> None:
    one = record(Phase.SPAWNING)
    assert (one.born, one.since, one.beat) == (0.0,) * 3
    assert math.isinf(one.due)
    assert one.reason is None
