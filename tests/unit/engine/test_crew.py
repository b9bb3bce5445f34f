"""What the crew makes of the board, on which a spirit may write anything. Rule: the spirits are real processes."""

import math
import os
import random
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from ghostd.core.actions import Reason, Spawn
from ghostd.core.events import Exited, Left, Readied, Worn
from ghostd.core.phases import NEVER, Generation, SpiritId
from ghostd.engine.crew import Crew
from ghostd.engine.sources import Poller
from ghostd.linux.board import FOR_EVER, Board, Page
from ghostd.linux.page import BEAT, BEGUN, BUSY_UNTIL, IN_FLIGHT, LEAVING, READY, SERVED, STATE, WORDS, WORN

NOW = 1000.0


class Household:
    """A board and its crew, with spirits that write what they are told to and end."""

    def __init__(self) -> None:
        self.board = Board()
        self.poller = Poller()
        self.settle = 0.25
        self.crew = Crew(self.board, self.poller, settle=self.settle)

    def spawn(self, serial: int, write: Callable[[Page], object]) -> SpiritId:
        """Give birth to a spirit in the seat of its number; wait until it has written, and is a zombie."""
        order = Spawn(SpiritId(serial), serial, Generation(1), Reason.MISSING)
        self.board.prepare(order.seat)
        pid = os.fork()
        if pid == 0:
            try:
                self.board.adopt(order.seat)
                write(self.board.cradle)
            finally:
                os._exit(0)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        self.crew.add(order, pid)
        return order.spirit

    def close(self) -> None:
        """Reap what is left, and give everything back."""
        for member in self.crew:
            assert member.child.reap() is not None, "it has ended"
            member.child.close()
        self.poller.close()
        self.board.close()


@pytest.fixture
def household() -> Iterator[Household]:
    one = Household()
    yield one
    one.close()


def _says(beat: float, busy_until: float = 0.0, state: int = 0) -> Callable[[Page], None]:
    def write(page: Page) -> None:
        page.moments[BEAT], page.moments[BUSY_UNTIL], page.words[STATE] = beat, busy_until, state

    return write


def test_beats_are_read_as_the_moments_that_were_written(household: Household) -> None:
    at = time.monotonic()
    household.spawn(0, _says(at, at + 2.5))
    household.spawn(1, _says(0.0))
    read = household.crew.read_board(NOW)
    assert read.cells == {SpiritId(0): (at, at + 2.5, 0, 0), SpiritId(1): (0.0, 0.0, 0, 0)}


@pytest.mark.parametrize("lie", [math.nan, -math.nan, math.inf, -math.inf, -1.0, 1e300, FOR_EVER * 2, -5e-324])
def test_what_is_no_moment_says_nothing(household: Household, lie: float) -> None:
    household.spawn(0, _says(lie, lie))
    assert household.crew.read_board(NOW).cells == {SpiritId(0): (0.0, 0.0, 0, 0)}
    assert household.crew.fresh_pids() == []


def test_whatever_bits_are_on_a_page_a_moment_is_between_never_and_for_ever(household: Household) -> None:
    chance = random.Random(1)
    for serial in range(40):
        bits = [chance.getrandbits(64) for _ in range(WORDS)]
        household.spawn(serial, partial(_scribble, bits))
    for beat, busy_until, _, _ in household.crew.read_board(NOW).cells.values():
        assert 0.0 <= beat <= FOR_EVER
        assert 0.0 <= busy_until <= FOR_EVER
    household.crew.fresh_pids()
    assert {type(event) for event in household.crew.read_bell(NOW)} <= {Readied, Left, Worn}


def _scribble(bits: list[int], page: Page) -> None:
    for word, value in enumerate(bits):
        page.words[word] = value


def test_a_beat_is_told_once_as_fresh(household: Household) -> None:
    household.spawn(0, _says(5.0))
    (member,) = household.crew
    assert household.crew.fresh_pids() == [member.child.pid]
    assert household.crew.fresh_pids() == []


def test_that_somebody_is_ready_is_told_once(household: Household) -> None:
    spirit = household.spawn(0, _says(1.0, state=READY))
    assert list(household.crew.read_bell(NOW)) == [Readied(spirit, NOW)]
    assert list(household.crew.read_bell(NOW)) == []


def test_what_a_spirit_said_just_before_its_end_is_told_before_its_end(household: Household) -> None:
    spirit = household.spawn(0, _says(1.0, state=READY | LEAVING))
    (gather,) = household.poller.wait(10.0)
    *told, end = gather(NOW)
    assert told == [Readied(spirit, NOW), Left(spirit, NOW)]
    assert isinstance(end, Exited)
    assert end.exit.is_clean


def test_who_cannot_say_that_it_is_ready_is_so_when_it_has_run_for_a_while(household: Household) -> None:
    crew, settle = household.crew, household.settle
    assert crew.next_settled == NEVER
    spirit = household.spawn(0, _says(1.0, state=BEGUN))
    assert list(crew.read_bell(NOW)) == []
    assert crew.next_settled == NOW + settle
    assert list(crew.read_settled(NOW + settle / 2)) == []
    assert list(crew.read_settled(NOW + settle)) == [Readied(spirit, NOW + settle)]
    assert crew.next_settled == NEVER


def test_who_ends_before_it_has_run_for_a_while_never_was_ready(household: Household) -> None:
    household.spawn(0, _says(1.0, state=BEGUN))
    (gather,) = household.poller.wait(10.0)
    (end,) = gather(NOW)
    assert isinstance(end, Exited)
    assert household.crew.next_settled == NEVER


def test_who_says_ready_is_so_and_is_not_waited_for_besides(household: Household) -> None:
    spirit = household.spawn(0, _says(1.0, state=BEGUN | READY))
    assert list(household.crew.read_bell(NOW)) == [Readied(spirit, NOW)]
    assert household.crew.next_settled == NEVER


def test_that_somebody_is_worn_is_told_once_and_after_that_it_is_ready(household: Household) -> None:
    spirit = household.spawn(0, _says(1.0, state=READY | WORN))
    assert list(household.crew.read_bell(NOW)) == [Readied(spirit, NOW), Worn(spirit, NOW)]
    assert list(household.crew.read_bell(NOW)) == []


def test_what_is_in_hand_and_was_served_is_read_with_the_beats(household: Household) -> None:
    def counts(page: Page) -> None:
        page.words[IN_FLIGHT], page.words[SERVED] = 2, 40

    household.spawn(0, counts)
    assert household.crew.read_board(NOW).cells == {SpiritId(0): (0.0, 0.0, 2, 40)}
