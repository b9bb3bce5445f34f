"""A spirit's voice: how it says that it is ready, that it lives, that it is busy, and that it leaves.

It speaks by writing into its own page of the board, which nobody else writes. A beat is one store and makes no system
call; only what the manager must hear (ready, leaving, worn) rings the doorbell besides, and that happens once each.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import cached_property

from ghostd.hints import TYPE_CHECKING
from ghostd.linux.board import FOR_EVER
from ghostd.linux.page import BEAT, BEGUN, BUSY_UNTIL, LEAVING, READY, STATE, WORN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ghostd.linux.board import Page
    from ghostd.spirit.notice import Notice


class Context:
    """What the code of a spirit can say and ask. ``tick`` may be called from any thread."""

    def __init__(self, page: Page, ring: Callable[[], None]) -> None:
        self.page = page
        self._on_ready: list[Callable[[], None]] = []
        self._on_leaving: list[Callable[[], None]] = []
        self.tick: Callable[..., bool]
        self.beat: Callable[..., bool]  # a tick that does not count as one
        self.ready: Callable[[], None]
        self.leave: Callable[[], None]
        self.worn: Callable[[], None]
        self.most_requests = 0  # after so many it is worn; 0: never. Whoever counts them says so
        self._is_leaving: Callable[[], bool]
        self._say = _saying(page.words, ring)
        self._give_voice()

    @property
    def words(self) -> memoryview[int]:
        """The page, for who counts what is in hand: ``words[IN_FLIGHT] = n`` is one store and no system call."""
        return self.page.words

    @property
    def is_leaving(self) -> bool:
        """Whether this spirit was asked to leave, or has said that it will."""
        return self._is_leaving()

    @cached_property
    def notice(self) -> Notice:
        """The same, for coroutines to wait for."""
        from ghostd.spirit.notice import Notice  # noqa: PLC0415  loads asyncio

        return Notice(self)

    def before_ready(self, call: Callable[[], None]) -> None:
        """Call this, once, right before the spirit says that it is ready; what it raises the spirit's code gets."""
        self._on_ready.append(call)

    def when_leaving(self, call: Callable[[], None]) -> None:
        """Call this, once, when the spirit is asked to leave."""
        self._on_leaving.append(call)

    @contextmanager
    def busy(self, seconds: float) -> Iterator[None]:
        """Not to be judged for that long: a job that cannot tick. An outer promise is kept. Ends with a beat."""
        if not seconds >= 0:
            raise ValueError(f"busy({seconds!r}): a number of seconds, at least 0, is needed")
        moments = self.page.moments
        before = moments[BUSY_UNTIL]
        now = time.monotonic()
        moments[BEAT] = now
        moments[BUSY_UNTIL] = max(before, min(now + seconds, FOR_EVER))
        try:
            yield
        finally:
            moments[BEAT] = time.monotonic()
            moments[BUSY_UNTIL] = before

    def leave_text(self, text: str) -> None:
        """Leave a text where the manager finds it when this spirit has ended."""
        self.page.leave_text(text)

    def begin_unheard(self, end: Callable[[], None]) -> None:
        """For code that cannot tick: never found silent, and ready when it has run for a while.

        ``end`` is called when it is asked to leave.
        """
        self.page.moments[BUSY_UNTIL] = FOR_EVER
        self._open_up()
        self._say(BEGUN)
        self.when_leaving(end)

    def judge(self) -> None:
        """Be found silent again, as from now: something beats for this spirit."""
        self.page.moments[BEAT] = time.monotonic()
        self.page.moments[BUSY_UNTIL] = 0.0

    def _open_up(self) -> None:
        while self._on_ready:
            self._on_ready.pop(0)()

    def _give_voice(self) -> None:
        """Make the functions of the voice: closures, as a local name is the cheapest thing to look at in a beat."""
        moments, listeners, say = self.page.moments, self._on_leaving, self._say
        clock, open_up = time.monotonic, self._open_up
        told = leaving = plain = False  # plain: ready was told and nobody leaves, so that a beat is a store

        def tick(finished: bool = False) -> bool:  # noqa: FBT001, FBT002  as the ancestor has it
            moments[BEAT] = clock()
            if finished:
                leave()
            return plain or hear()

        def hear() -> bool:
            if not told:
                ready()
            return not leaving

        def ready() -> None:
            nonlocal told, plain
            moments[BEAT] = clock()
            if told:
                return
            open_up()
            told, plain = True, not leaving
            say(READY)

        def leave() -> None:
            nonlocal leaving, plain
            if leaving:
                return
            leaving, plain = True, False
            say(LEAVING)
            for call in listeners:
                call()

        self.tick = self.beat = tick
        self.ready, self.leave, self.worn = ready, leave, lambda: say(WORN)
        self._is_leaving = lambda: leaving


def _saying(words: memoryview[int], ring: Callable[[], None]) -> Callable[[int], None]:
    """How to say one thing more of the state, and have the manager look; each once."""
    said: set[int] = set()

    def say(bit: int) -> None:
        if bit in said:
            return
        said.add(bit)
        while words[STATE] != (
            state := sum(said)
        ):  # again if more was said meanwhile: by a thread, or a signal's handler
            words[STATE] = state
        ring()

    return say
