"""The parts of a pool's history that have rules of their own: generations, the end, and the pace of early deaths.

Rule: as in the ledger, kept from events and actions alone.
"""

import math
from collections import deque

from ghostd.core import actions as do
from ghostd.core.actions import Reason
from ghostd.core.phases import Generation
from ghostd.core.policy import Policy
from ghostd.errors import ExitCode
from ghostd.testing.promises import Promise, Violation, demand
from ghostd.testing.truth import Truth

_SLACK = 1e-6
_MINUTE = 60.0
_JITTER = 0.85  # a wait may be shorter by the rest


class Generations:
    """Which generation is wanted, which one there is to return to, and whether one more reload waits."""

    def __init__(self) -> None:
        self.wanted = self.newest = Generation(1)
        self.fallback: Generation | None = None
        self.waits = False

    def ask(self) -> None:
        """A reload was asked for."""
        self.waits = True

    def begin(self, *, was_whole: bool) -> None:
        """The pool says that a reload begins."""
        demand(self.waits and self.fallback is None, Promise.RELOAD, "began, but none was asked for or one runs")
        demand(was_whole, Promise.RELOAD, "began before there was anything to return to")
        self.waits = False
        self.fallback = self.wanted
        self.newest = self.wanted = Generation(self.newest + 1)

    def end(self) -> None:
        """The pool says that the reload is done."""
        demand(self.fallback is not None, Promise.RELOAD, "ended, but none runs")
        self.fallback = None

    def undo(self) -> None:
        """The pool says that it returns to the old generation."""
        demand(self.fallback is not None, Promise.RELOAD, "failed, but none runs")
        assert self.fallback is not None, "demanded"
        self.wanted, self.fallback = self.fallback, None

    def settle(self, *, can_begin: bool) -> None:
        """At the end of a batch."""
        overdue = self.waits and self.fallback is None and can_begin
        demand(not overdue, Promise.RELOAD, "asked for, and did not begin")


class Endings:
    """Whether the pool has to end, by when, and with which code."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.stopping = self.at_once = self.halted = False
        self.pressed = False  # a stop at once was asked for
        self.asked_at = self.drain_at = math.inf  # when a graceful one was asked for, and asks spirits to leave
        self.code = ExitCode.OK
        self._by = math.inf
        self._told: bool | None = None  # graceful, as the pool has said it
        self._cause: object = None

    @property
    def failed(self) -> bool:
        """Whether the pool has to end because its spirits do not come up."""
        return self.code is ExitCode.BOOT_FAILED

    def stop(self, now: float, *, graceful: bool, delay: float) -> None:
        """A stop was asked for; a second time cuts the delay short, and one at once cuts everything short."""
        if not self.stopping or self.asked_at < now < self.drain_at:
            delay = 0.0 if self.stopping else delay
            self.stopping, self.asked_at, self.drain_at = True, now, now + delay
            self._by = now + delay + self.policy.graceful_timeout + 1.0
        if not graceful:
            self.at_once = self.pressed = True
            self._by = min(self._by, now + 1.0)

    def serves(self, now: float) -> bool:
        """Whether spirits are still made and kept."""
        return not self.at_once and now < self.drain_at

    def fail(self, now: float, cause: object) -> None:
        """The pool has to give up: at once, but who is silent has its time to say why."""
        self.stopping = self.at_once = True
        self.code, self._cause = ExitCode.BOOT_FAILED, cause
        self.drain_at, self._by = now, now + self.policy.silent_timeout + 1.0

    def give(self, seconds: float) -> None:
        """The manager did not run."""
        self._by += seconds

    def finish(self, order: do.Finish, now: float, barren_since: float) -> None:
        """The pool says that the shutdown begins."""
        if order.reason is Reason.GAVE_UP and not self.stopping:
            patience = self.policy.give_up_after
            demand(patience > 0.0 and now - barren_since >= patience - _SLACK, Promise.CODE, (order, "too soon"))
            self.fail(now, "no spirit stays alive")
        demand(self.stopping, Promise.CODE, (order, "without a reason"))
        demand(self._told is not order.graceful, Promise.CODE, (order, "again"))
        demand(not self.serves(now), Promise.DRAIN, (order, "too soon"))
        self._told = order.graceful

    def settle(self, now: float) -> None:
        """At the end of a batch: what has to end has begun to."""
        if self.stopping and not self.halted and not self.serves(now):
            promise = Promise.BOOT if self.failed else Promise.STOP_BOUND
            demand(self._told is (not self.at_once), promise, ("not begun", self._cause))

    def is_late(self, truth: Truth, now: float) -> bool:
        """Whether the limit of a graceful stop is over."""
        graceful = self.stopping and not self.at_once
        return graceful and truth.ran(self.drain_at, now) >= self.policy.graceful_timeout - _SLACK

    def check_bound(self, next_call: float, now: float) -> None:
        """The pool, not at its end yet, wants to be called again then."""
        if self.stopping and self.serves(now) and next_call > self.drain_at:
            raise Violation(Promise.DRAIN, f"sleeps until {next_call}, past {self.drain_at}")
        if self.stopping and next_call > self._by:
            raise Violation(Promise.STOP_BOUND, f"goes on until {next_call}, limit is {self._by}")

    def halt(self, order: do.Halt, *, lost: bool) -> None:
        """The pool says that it has ended."""
        demand(self.stopping, Promise.CODE, (order, "without a reason"))
        code = ExitCode.SYSTEM if lost else self.code
        demand(order.code is code, Promise.CODE, (order, "the truth is", code, self._cause))
        self.halted = True


class Pace:
    """Early deaths against what back-off lets through, over any minute."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.barren_since = math.inf  # since when no spirit was ready
        self._held_since = math.inf  # and since when, for that, a replacement was held back
        self._deaths: deque[float] = deque()
        self._fresh: deque[float] = deque()  # vacancies that no early death has made: each may begin a new row
        doublings = math.log2(max(policy.backoff_most / policy.backoff_first, 1.0))
        self._ramp = 3 + math.ceil(doublings)
        self._at_rest = 2.0 + _MINUTE / (_JITTER * min(policy.backoff_most, _MINUTE))

    def fresh(self, now: float, vacancies: int = 1) -> None:
        """Places have become free, or new, by something else than an early death."""
        self._fresh.extend([now] * vacancies)

    def early_death(self, now: float, places: int) -> None:
        """A spirit has died early, in a pool of so many places at most."""
        deaths, fresh = self._deaths, self._fresh
        deaths.append(now)
        while deaths[0] < now - _MINUTE:
            deaths.popleft()
        while fresh and fresh[0] < now - _MINUTE:
            fresh.popleft()
        most = (len(fresh) + places) * self._ramp + places * self._at_rest
        if len(deaths) > most:
            raise Violation(Promise.BACKOFF, f"{len(deaths)} early deaths in a minute, at most {most:.0f}")

    def held(self, now: float) -> None:
        """The pool says that a replacement has to wait."""
        self._held_since = min(self._held_since, now)

    def forget_held(self) -> None:
        """It may wait no more: another number is wanted, or another generation."""
        self._held_since = math.inf

    def settle(self, now: float, *, is_barren: bool, ends: bool) -> None:
        """At the end of a batch; ``is_barren``: somebody is wanted, and nobody ready; ``ends``: it is to end anyhow."""
        if not is_barren:
            self.barren_since = self._held_since = math.inf
        elif self.barren_since > now:
            self.barren_since = now
        patience = self.policy.give_up_after
        if patience and not ends and now - self._held_since >= patience + _SLACK:
            raise Violation(Promise.GIVE_UP, f"nobody was ready since {self.barren_since}, and it is {now}")
