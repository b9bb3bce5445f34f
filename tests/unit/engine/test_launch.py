"""The launcher: a batch of forks, each with what it needs, and what becomes of those that fail."""

import errno
import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from ghostd.core.actions import Reason, Spawn
from ghostd.core.phases import Generation, SpiritId
from ghostd.engine.launch import ForkLauncher
from ghostd.errors import ExitCode, ThreadedForkError
from ghostd.linux import fds
from ghostd.linux.board import Board
from ghostd.linux.life import LifePipe

Begin = Callable[[Spawn], NoReturn]


class Nursery:
    """A launcher with all that it needs."""

    def __init__(self) -> None:
        self.board = Board()
        self.life = LifePipe(signal.SIGKILL)

    def launch(self, count: int, begin: Begin) -> list[int | Exception]:
        """Launch so many; the wait status of each, or why there was no process."""
        orders = [Spawn(SpiritId(n + 1), n, Generation(1), Reason.MISSING) for n in range(count)]
        outcomes = [what for what, _ in ForkLauncher(self.board, self.life, lambda: begin).launch(orders)]
        return [os.waitpid(what, 0)[1] if isinstance(what, int) else what for what in outcomes]

    def close(self) -> None:
        self.life.close()
        self.board.close()


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    before = fds.census()
    one = Nursery()
    yield one
    one.close()
    assert fds.census() == before


def _end_with_seat(order: Spawn) -> NoReturn:
    os._exit(order.seat)


def test_there_is_a_process_for_each_order_in_their_order(nursery: Nursery) -> None:
    assert nursery.launch(40, _end_with_seat) == [seat << 8 for seat in range(40)]


def test_each_newborn_has_a_description_of_the_life_pipe_of_its_own_and_signals_blocked(nursery: Nursery) -> None:
    def look(_order: Spawn) -> NoReturn:
        follows = fcntl.fcntl(nursery.life.end, fcntl.F_GETFL) & os.O_ASYNC
        is_fresh = fcntl.fcntl(nursery.life.end, fcntl.F_GETOWN) == 0  # no child before this one has taken it
        nursery.life.following()(os.getpid())
        is_blocked = signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        os._exit(40 if follows and is_fresh and is_blocked else 41)

    assert nursery.launch(20, look) == [40 << 8] * 20
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_seat_without_memory_is_refused_and_the_others_are_born(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(seat: int) -> None:
        if seat in (0, 3, 17):
            raise OSError(errno.ENOSPC, "no room")
        before(seat)

    before = nursery.board.prepare
    monkeypatch.setattr(nursery.board, "prepare", prepare)
    outcomes = nursery.launch(20, _end_with_seat)
    assert [seat for seat, what in enumerate(outcomes) if isinstance(what, OSError)] == [0, 3, 17]
    assert [what for what in outcomes if isinstance(what, int)] == [n << 8 for n in range(20) if n not in (0, 3, 17)]


def test_a_newborn_that_fails_in_its_first_steps_never_runs_on_as_a_manager(nursery: Nursery) -> None:
    def fail(order: Spawn) -> NoReturn:
        raise LookupError(order)

    assert nursery.launch(2, fail) == [ExitCode.BUG << 8] * 2


def test_beside_a_thread_no_order_is_carried_out(nursery: Nursery) -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        outcomes = nursery.launch(3, _end_with_seat)
    finally:
        over.set()
        thread.join()
    assert [type(what) for what in outcomes] == [ThreadedForkError] * 3
