"""A spirit's voice: how it says that it is ready, that it lives, that it is busy, and that it leaves.

It speaks by writing into its own page of the board, which nobody else writes. A beat is one store and makes no system
call; only what the manager must hear at once (ready, leaving) rings the doorbell besides, and that happens once each.
"""

from __future__ import annotations

import time
from contextlib import contextmanager

from ghostd.hints import TYPE_CHECKING, Protocol
from ghostd.linux.board import BEAT, BUSY_UNTIL, LEAVING, READY, STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SECOND_NS = 1_000_000_000
_FOR_EVER_NS = 2**63 - 1


class Words(Protocol):
    """The page: 64-bit words, written by this process alone."""

    def __getitem__(self, index: int) -> int:
        """One word."""

    def __setitem__(self, index: int, value: int) -> None:
        """Set one word."""


class Context:
    """What the code of a spirit can say and ask. ``tick`` may be called from any thread."""

    def __init__(self, words: Words, ring: Callable[[], None]) -> None:
        self._words = words
        self._ring = ring
        self._on_leaving: list[Callable[[], None]] = []
        self.tick: Callable[[bool], bool]
        self.ready: Callable[[], None]
        self.leave: Callable[[], None]
        self._is_leaving: Callable[[], bool]
        self._give_voice()

    @property
    def is_leaving(self) -> bool:
        """Whether this spirit was asked to leave, or has said that it will."""
        return self._is_leaving()

    def when_leaving(self, call: Callable[[], None]) -> None:
        """Call this, once, when the spirit is asked to leave."""
        self._on_leaving.append(call)

    @contextmanager
    def busy(self, seconds: float) -> Iterator[None]:
        """Not to be judged for that long: a job that cannot tick. An outer promise is kept. Ends with a beat."""
        if not seconds >= 0:
            raise ValueError(f"busy({seconds!r}): a number of seconds, at least 0, is needed")
        before = self._words[BUSY_UNTIL]
        now = time.monotonic_ns()
        until = _FOR_EVER_NS if seconds > 1e9 else now + int(seconds * _SECOND_NS)
        self._words[BEAT] = now
        self._words[BUSY_UNTIL] = max(before, until)
        try:
            yield
        finally:
            self._words[BEAT] = time.monotonic_ns()
            self._words[BUSY_UNTIL] = before

    def begin_unheard(self, end: Callable[[], None]) -> None:
        """For code that cannot tick: ready, and never found silent; ``end`` is called when it is asked to leave."""
        self._words[BUSY_UNTIL] = _FOR_EVER_NS
        self.ready()
        self.when_leaving(end)

    def judge(self) -> None:
        """Be found silent again, as from now: something beats for this spirit."""
        self._words[BEAT] = time.monotonic_ns()
        self._words[BUSY_UNTIL] = 0

    def _give_voice(self) -> None:
        """Make the functions of the voice: closures, as a local name is the cheapest thing to look at in a beat."""
        words, ring, listeners, clock = self._words, self._ring, self._on_leaving, time.monotonic_ns
        told = leaving = plain = False  # plain: ready was told and nobody leaves, so that a beat is a store

        def tick(finished: bool = False) -> bool:  # noqa: FBT001, FBT002  as the ancestor has it
            words[BEAT] = clock()
            if finished:
                leave()
            return plain or hear()

        def hear() -> bool:
            if not told:
                ready()
            return not leaving

        def ready() -> None:
            nonlocal told, plain
            words[BEAT] = clock()
            if told:
                return
            told, plain = True, not leaving
            words[STATE] |= READY
            ring()

        def leave() -> None:
            nonlocal leaving, plain
            if leaving:
                return
            leaving, plain = True, False
            words[STATE] |= LEAVING
            ring()
            for call in listeners:
                call()

        self.tick, self.ready, self.leave = tick, ready, leave
        self._is_leaving = lambda: leaving
