"""Tells how the ghost is, whenever that changes: the init system, and probes by the ready file.

Rule: what was told is compared with what is, and the difference is told. So nothing is queued, news that the init
system had no room for are told again as they are by then, and a flood of changes costs two status lines a second.
"""

from __future__ import annotations

import faulthandler
from contextlib import suppress
from enum import Enum

from ghostd.core.phases import NEVER
from ghostd.core.snapshot import State
from ghostd.daemon.notify import Notifier
from ghostd.hints import TYPE_CHECKING
from ghostd.record import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from ghostd.core.policy import Policy
    from ghostd.core.pool import Pool
    from ghostd.daemon.options import DaemonOptions
    from ghostd.daemon.ready import ReadyFile

AGAIN: Final = 0.1  # seconds until news are told again that the init system had no room for
QUIET: Final = 0.5  # seconds between two status lines: nobody reads faster, and a thousand spirits change often


class Word(Enum):
    """The words that an init system has for what a ghost is doing."""

    STARTING = "starting"
    UP = "up"
    RELOADING = "reloading"
    STOPPING = "stopping"


class Tidings(Frozen):
    """What there is to tell."""

    word: Word
    status: str  # a few words, with numbers
    is_serving: bool = False  # can work, for probes
    is_healthy: bool = True  # the watchdog need not bark
    reloads: int = 0  # so many have ended


class Limits(Frozen):
    """How long each step may take, in seconds; the init system is told, so its own limit need not be right."""

    start: float
    reload: float
    stop: float

    @classmethod
    def of(cls, policy: Policy, daemon: DaemonOptions) -> Limits:
        """Those of a ghost with these options."""
        start, stop = daemon.start_limit(policy.boot_timeout), policy.stop_limit + daemon.stop_margin
        return cls(start, start + stop, stop)


STARTING: Final = Tidings(Word.STARTING, "starting")
RUNNING: Final = Tidings(Word.UP, "running", is_serving=True)
STOPPING: Final = Tidings(Word.STOPPING, "stopping")


def tidings_of(pool: Pool, now: float, reloads: int = 0) -> Tidings:
    """What there is to tell of a pool.

    It serves while one spirit is ready: a pool that has lost some can still work, and one that loses them to a request
    of death must not take every machine out of service. It is healthy unless no spirit stays alive. ``reloads``: of the
    ghost itself, to be added.
    """
    state, tally, generation = pool.state(now), pool.tally, pool.rollout.wanted
    ready = f"{tally.all_ready} of {pool.wanted} spirits ready"
    match state:
        case State.STARTING:
            word, status = Word.STARTING, f"starting: {ready}"
        case State.RELOADING:
            word = Word.RELOADING
            status = f"reloading: {tally.ready} of {pool.wanted} spirits of generation {generation} ready"
        case State.STOPPING | State.STOPPED:
            word, status = Word.STOPPING, f"stopping: {tally.living} spirits left"
        case State.DEGRADED:
            word, status = Word.UP, f"degraded: {ready}, generation {generation}"
        case _:
            word, status = Word.UP, f"{ready}, generation {generation}"
    is_serving = word in (Word.UP, Word.RELOADING) and tally.all_ready > 0
    ended = pool.rollout.done + pool.rollout.undone
    return Tidings(word, status, is_serving, not pool.is_barren, ended + reloads)


class Herald:
    """Tells an init system and the ready file."""

    def __init__(self, ready: ReadyFile, limits: Limits) -> None:
        self._notifier = Notifier(None)
        self._ready = ready
        self._limits = {Word.STARTING: limits.start, Word.RELOADING: limits.reload, Word.STOPPING: limits.stop}
        self._log: Callable[[str, str], None] = lambda _level, _text: None
        self._word: Word | None = None  # as told last, and so on
        self._status = ""
        self._reloads = 0
        self._wanted: list[tuple[str, int]] = []  # what the init system is to keep, by name and descriptor
        self._stored: set[tuple[str, int]] = set()
        self._quiet_until = 0.0
        self._ping_at = 0.0
        self._has_complained = False

    def begin(self, notifier: Notifier, log: Callable[[str, str], None]) -> None:
        """Speak through this from now on; ``log`` takes a level and a line, for what cannot be told."""
        self._notifier, self._log = notifier, log
        if notifier.watchdog:
            # It ends a manager that hangs by SIGABRT: the stacks then say where, on stderr, which is the journal.
            with suppress(OSError, ValueError, RuntimeError):  # no stderr: nowhere to write
                faulthandler.enable(file=2, all_threads=True)

    def keep(self, keepsakes: list[tuple[str, int]]) -> None:
        """Have the init system keep copies of these descriptors, under these names."""
        self._wanted = keepsakes

    def release(self) -> None:
        """Have it close them."""
        for name, _ in self._wanted:
            self._notifier.drop(name)
        self._wanted = []

    def tell(self, tidings: Tidings, now: float) -> float:
        """Tell what has changed: when to be called again at the latest, with what is then. Never raises."""
        self._mark(tidings)
        if not self._notifier.is_heard:
            return NEVER
        return min(self._hand_over(now), self._speak(tidings, now), self._ping(tidings, now))

    def _mark(self, tidings: Tidings) -> None:
        try:
            self._ready.say(tidings.is_serving)
        except OSError as error:
            if not self._has_complained:
                self._log("error", f"Ready file {self._ready.path} cannot be written: {error.strerror}")
            self._has_complained = True
        else:
            self._has_complained = False

    def _hand_over(self, now: float) -> float:
        for one in self._wanted:
            if one not in self._stored:
                if not self._notifier.store(*one):
                    return now + AGAIN
                self._stored.add(one)
        return NEVER

    def _speak(self, tidings: Tidings, now: float) -> float:
        missed = tidings.word is self._word is Word.UP and tidings.reloads != self._reloads
        if missed:  # begun and ended between two calls; whoever asked for it waits for both words
            if not self._notifier.reloading("reloading", self._limits[Word.RELOADING]):
                return now + AGAIN
            self._word = Word.RELOADING
        if tidings.word is not self._word:
            is_done = self._enter(tidings)
        elif tidings.status == self._status:
            return NEVER
        elif now < self._quiet_until:
            return self._quiet_until
        else:
            is_done = self._notifier.status(tidings.status, self._limits.get(tidings.word, 0.0))
        if not is_done:
            return now + AGAIN
        self._word, self._status, self._reloads = tidings.word, tidings.status, tidings.reloads
        self._quiet_until = now + QUIET
        return NEVER

    def _enter(self, tidings: Tidings) -> bool:
        limit = self._limits.get(tidings.word, 0.0)
        match tidings.word:
            case Word.UP:
                return self._notifier.ready(tidings.status)
            case Word.RELOADING:
                return self._notifier.reloading(tidings.status, limit)
            case Word.STOPPING:
                return self._notifier.stopping(tidings.status, limit)
            case Word.STARTING:
                return self._notifier.status(tidings.status, limit)

    def _ping(self, tidings: Tidings, now: float) -> float:
        """Half of what the watchdog waits for, as sd_watchdog_enabled(3) has it."""
        if not self._notifier.watchdog or not tidings.is_healthy:
            return NEVER
        if now >= self._ping_at:
            self._ping_at = now + (self._notifier.watchdog / 2 if self._notifier.alive() else AGAIN)
        return self._ping_at
