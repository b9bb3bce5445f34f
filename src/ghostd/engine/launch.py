"""Makes the processes of spirits. An interface with one form so far: fork from the manager, as the ancestor does.

Signals are blocked across the fork: one that arrives before the newborn has set its own handlers is kept for it, and is
neither lost nor run by the parent's handlers. Nothing is logged between fork and the newborn's first steps.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

from ghostd.errors import ExitCode, ThreadedForkError
from ghostd.hints import TYPE_CHECKING, Protocol
from ghostd.linux import life
from ghostd.linux.child import block_signals, unblock_signals
from ghostd.linux.procfs import thread_count

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from ghostd.core.actions import Spawn
    from ghostd.linux.board import Board

    # Given its order, its end of the life pipe, and the signal mask to return to once its handlers are set.
    Birth = Callable[[Spawn, int, set[int]], NoReturn]


class Launcher(Protocol):
    """Makes the process of a spirit."""

    def launch(self, order: Spawn) -> int:
        """The pid of the new process. Raises OSError when the kernel refuses."""


class ForkLauncher:
    """Forks the spirit from the manager itself."""

    def __init__(self, board: Board, life_pipe: int, birth: Birth, warn: Callable[[str], None] | None = None) -> None:
        self._board = board
        self._life_pipe = life_pipe
        self._birth = birth
        self._warn = warn  # None: refuse to fork beside a thread

    def launch(self, order: Spawn) -> int:
        """Fork; the child never returns from here."""
        self._check_threads()
        self._board.prepare(order.seat)
        _flush()
        life_end = life.lay(self._life_pipe, signal.SIGKILL)
        mask = block_signals()
        try:
            pid = os.fork()
            if pid == 0:
                self._begin(order, life_end, mask)
        finally:
            unblock_signals(mask)
            if life_end >= 0:
                os.close(life_end)
        os.sched_yield()  # else a newborn on this processor would wait until the manager does
        return pid

    def _begin(self, order: Spawn, life_end: int, mask: set[int]) -> NoReturn:
        try:
            self._birth(order, life_end, mask)
        finally:
            os._exit(ExitCode.BUG)  # birth ends the process itself; a newborn must never run on as a manager

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
        with suppress(OSError, ValueError):  # closed, or its reader has gone: nothing can be written twice then
            if stream is not None:
                stream.flush()
