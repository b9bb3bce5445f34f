"""Reloads: which generation is wanted, which one to return to, and whether one more reload waits.

A rollout ends in the new generation or in the old one, never in neither. One runs at a time, and one more may wait: a
storm of requests builds two generations, not a hundred.
"""

from __future__ import annotations

from ghostd.core.actions import Announce, News, Reason
from ghostd.core.phases import Generation
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from ghostd.core.roster import Tally


class Rollout:
    """The generations of one pool."""

    def __init__(self) -> None:
        self.wanted = self._newest = Generation(1)
        self.waits = False  # somebody wants a new generation
        self._fallback: Generation | None = None
        self._failure = ""
        self.done = self.undone = 0

    @property
    def is_running(self) -> bool:
        """Whether a new generation is being built that has not yet replaced the old one."""
        return self._fallback is not None

    def fail(self, how: str) -> None:
        """A spirit of the new generation did not come up; the first such report counts."""
        self._failure = self._failure or how

    def turn(self, tally: Tally, spirits: int) -> Announce | None:
        """Undo, end or begin a reload, if it is time to: what was done. Call it until it has nothing to do."""
        if self._fallback is None:
            return self._begin() if self.waits else None
        if self._failure:
            return self._undo(self._fallback)
        is_done = tally.ready >= spirits and tally.old + tally.stale == 0
        return self._complete(tally.ready) if is_done else None

    def _begin(self) -> Announce:
        self.waits, self._fallback = False, self.wanted
        self.wanted = self._newest = Generation(self._newest + 1)  # never used again, though its code failed
        detail = f"generation {self._fallback} gives way to generation {self.wanted}"
        return Announce(News.RELOADING, Reason.RELOAD, detail)

    def _complete(self, ready: int) -> Announce:
        self._fallback = None
        self.done += 1
        return Announce(News.RELOADED, Reason.RELOAD, f"{ready} spirits of generation {self.wanted} are ready")

    def _undo(self, fallback: Generation) -> Announce:
        detail = f"{self._failure}: generation {self.wanted} is given up, generation {fallback} goes on"
        self.wanted, self._fallback, self._failure = fallback, None, ""
        self.undone += 1
        return Announce(News.RELOAD_FAILED, Reason.RELOAD_FAILED, detail)
