"""The voice of a spirit for a server that runs in it: beats, and how much is in hand. Any thread may use it."""

from __future__ import annotations

import time
from _thread import allocate_lock  # threading is a millisecond, and not every spirit has threads

from ghostd.hints import TYPE_CHECKING, Protocol
from ghostd.linux.board import FOR_EVER
from ghostd.linux.page import BEAT, BUSY_UNTIL, IN_FLIGHT, SERVED

if TYPE_CHECKING:
    from collections.abc import Callable

    from ghostd.spirit.context import Context


class Log(Protocol):
    """What writes the ghost's log."""

    def write(self, level: str, text: str, /) -> None:
        """One record. Never raises."""

    def exception(self, text: str, error: BaseException, /) -> None:
        """One record with the traceback behind it."""


class Speaker:
    """Speaks for one spirit."""

    def __init__(self, context: Context, log: Log) -> None:
        self.log = log
        self.tick: Callable[[], bool] = context.beat  # max_ticks is for those who count their own
        self.when_leaving = context.when_leaving
        self.took, self.gave = _counting(context.page.words, context.most_requests, context.worn)
        self._context = context
        self._moments = context.page.moments

    @property
    def is_leaving(self) -> bool:
        """Whether this spirit was asked to leave."""
        return self._context.is_leaving

    def rest(self) -> float:
        """The spirit's main thread waits for somebody else: no silence, until :meth:`work` is given what this gives."""
        before = self._moments[BUSY_UNTIL]
        self._moments[BUSY_UNTIL] = FOR_EVER
        return before

    def work(self, before: float, /) -> None:
        """The wait is over: from now on it is judged again, unless it was busy before the wait."""
        self._moments[BEAT] = time.monotonic()
        self._moments[BUSY_UNTIL] = before


def _counting(
    words: memoryview[int], most: int, worn: Callable[[], None]
) -> tuple[Callable[[], None], Callable[[], None]]:
    """How to count one that begins, and one that is done; after ``most`` of them the spirit is worn."""
    lock = allocate_lock()  # two threads that count at once must both count
    in_flight = served = 0

    def took() -> None:
        nonlocal in_flight
        with lock:
            in_flight += 1
            words[IN_FLIGHT] = in_flight

    def gave() -> None:
        nonlocal in_flight, served
        with lock:
            in_flight -= 1
            served += 1
            words[IN_FLIGHT], words[SERVED] = in_flight, served
        if served >= most > 0:
            worn()

    return took, gave
