"""Makes the processes of spirits. An interface with one form so far: fork from the manager, as the ancestor does.

Signals are blocked across the fork: one that arrives before the newborn has set its own handlers is kept for it, and is
neither lost nor run by the parent's handlers. Nothing is logged between fork and the newborn's first steps.
"""

from __future__ import annotations

import os
import sys

from ghostd.engine.clock import now
from ghostd.errors import ExitCode, ThreadedForkError
from ghostd.hints import TYPE_CHECKING, Protocol
from ghostd.linux.child import block_signals, unblock_signals
from ghostd.linux.procfs import thread_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from ghostd.core.actions import Spawn
    from ghostd.linux.board import Board
    from ghostd.linux.life import LifePipe

    # Called before the forks of a batch; gives what each newborn then is, given its order.
    Birth = Callable[[], Callable[[Spawn], NoReturn]]
    # The pid of the new process, or why there is none; and when that was.
    Outcome = tuple[int | OSError | MemoryError | ThreadedForkError, float]


_AT_ONCE = (
    16  # spirits whose ends of the life pipe are open at the same time: few beside the descriptors that are spare
)


class Launcher(Protocol):
    """Makes the processes of spirits."""

    def launch(self, orders: Sequence[Spawn]) -> list[Outcome]:
        """Make a process for each order; an outcome for each, in their order."""


class ForkLauncher:
    """Forks spirits from the manager itself.

    After a fork each page that the manager touches is copied, again for each spirit, which keeps the old one to itself.
    So between the forks of a batch nothing is done that can be done before the first or after the last.
    """

    def __init__(self, board: Board, life: LifePipe, birth: Birth, warn: Callable[[str], None] | None = None) -> None:
        self._board = board
        self._life = life
        self._birth = birth
        self._warn = warn  # None: refuse to fork beside a thread

    def launch(self, orders: Sequence[Spawn]) -> list[Outcome]:
        """Fork; a child never returns from here."""
        try:
            self._check_threads()
        except ThreadedForkError as error:
            return [(error, now())] * len(orders)
        _flush()
        begin = self._birth()
        outcomes: list[Outcome] = []
        mask = block_signals()
        try:
            for at in range(0, len(orders), _AT_ONCE):
                outcomes += self._fork(orders[at : at + _AT_ONCE], begin)
        finally:
            unblock_signals(mask)
        os.sched_yield()  # else a newborn on this processor would wait until the manager does
        return outcomes

    def _fork(self, orders: Sequence[Spawn], begin: Callable[[Spawn], NoReturn]) -> list[Outcome]:
        refused = [self._prepare(order) for order in orders]
        ends, end = self._life.lay(len(orders)), self._life.end
        outcomes: list[Outcome] = []
        fork, dup2 = os.fork, os.dup2
        for order, refusal, own_end in zip(orders, refused, ends, strict=True):
            try:
                if refusal is not None:
                    raise refusal
                dup2(own_end, end, False)
                pid = fork()
            except (OSError, MemoryError) as error:
                outcomes.append((error, now()))
                continue
            if pid == 0:
                try:
                    begin(order)
                finally:
                    os._exit(ExitCode.BUG)  # birth ends the process itself; a newborn must never run on as a manager
            outcomes.append((pid, now()))
        self._life.clear(ends)
        return outcomes

    def _prepare(self, order: Spawn) -> OSError | None:
        """Have the page that it needs; why there is none."""
        try:
            self._board.prepare(order.seat)
        except OSError as error:
            return error
        return None

    def _check_threads(self) -> None:
        count = thread_count()
        if count <= 1:
            return
        what = (
            f"the manager has {count} threads: a fork now may copy a lock that one holds, and the spirit would hang. "
            "Start threads in spirit(), not in a hook or at import"
        )
        if self._warn is None:
            raise ThreadedForkError(what)
        self._warn(what)


def _flush() -> None:
    """What stands in the buffers must not be written twice."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:  # noqa: SIM105  it is in the way of each replacement
                stream.flush()
            except (OSError, ValueError):  # closed, or its reader has gone: nothing can be written twice then
                pass
