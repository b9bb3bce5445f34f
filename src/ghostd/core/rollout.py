"""Reloads: which generation is wanted, which one to return to, and whether one more reload waits.

A rollout ends in the new generation or in the old one, never in neither. One runs at a time, and one more may wait: a
storm of requests builds two generations, not a hundred.
"""

from collections.abc import Iterator

from ghostd.core.actions import Announce, News, Reason
from ghostd.core.phases import Generation
from ghostd.core.roster import Tally


class Rollout:
    """The generations of one pool."""

    def __init__(self) -> None:
        self.wanted = self._newest = Generation(1)
        self._fallback: Generation | None = None
        self._waits = False
        self._failure = ""
        self.done = 0
        self.undone = 0

    @property
    def is_running(self) -> bool:
        """Whether a new generation is being built that has not yet replaced the old one."""
        return self._fallback is not None

    def ask(self) -> None:
        """Somebody wants a new generation."""
        self._waits = True

    def fail(self, how: str) -> None:
        """A spirit of the new generation did not come up; the first such report counts."""
        self._failure = self._failure or how

    def turn(self, tally: Tally, spirits: int) -> Iterator[Announce]:
        """End, undo or begin a reload, as far as it is time to; says what it did. Call it only once the pool was whole."""
        if self._fallback is not None and self._failure:
            yield self._undo(self._fallback)
        elif self._fallback is not None and tally.ready >= spirits and tally.old + tally.stale == 0:
            self._fallback = None
            self.done += 1
            yield Announce(News.RELOADED, Reason.RELOAD, f"{tally.ready} spirits of generation {self.wanted} are ready")
        if self._waits and self._fallback is None:
            yield self._begin()

    def _begin(self) -> Announce:
        self._waits = False
        self._fallback = self.wanted
        self.wanted = self._newest = Generation(
            self._newest + 1
        )  # a number is never used again, though its code failed
        detail = f"generation {self._fallback} gives way to generation {self.wanted}"
        return Announce(News.RELOADING, Reason.RELOAD, detail)

    def _undo(self, fallback: Generation) -> Announce:
        detail = f"{self._failure}: generation {self.wanted} is given up, generation {fallback} goes on"
        self.wanted, self._fallback, self._failure = fallback, None, ""
        self.undone += 1
        return Announce(News.RELOAD_FAILED, Reason.RELOAD_FAILED, detail)
