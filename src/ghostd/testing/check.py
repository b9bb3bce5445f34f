"""Holds a pool against its promises, batch by batch: what it was told, what it ordered, when it wants to be called.

Rule: a check is a statement about the history; nothing is asked of the pool but what it returns.

Two sorts of time are kept apart. The truth (``truth.py``) knows when everything stood still, and gives the lower bound
of what a spirit must be allowed. The credit in the ledger is what a pool may add for its own gaps, and gives the upper
bound.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from ghostd.core import actions as do
from ghostd.core import events as fact
from ghostd.core.actions import News, Reason
from ghostd.core.phases import Phase
from ghostd.core.policy import Policy
from ghostd.core.roster import Tally
from ghostd.core.snapshot import Snapshot
from ghostd.testing.ledger import ASKABLE, COUNTED, SERVING, Ledger, Life
from ghostd.testing.promises import Promise, Violation, demand
from ghostd.testing.rules import Endings, Generations, Pace
from ghostd.testing.truth import Truth

NOISE: Final = 0.05  # seconds: a pool may add what it was late by, from here on
LAST_WAIT: Final = 0.5  # seconds: in a stop, what a killed spirit has at least to die
NOTICED: Final = 1.0  # seconds: and it must see that it did not run when it was late by so much
MOST_SPIRITS: Final = 100_000  # a number beyond is cut to this
_SLACK: Final = 1e-6  # seconds, for rounding


class Checker:
    """Holds one pool against its promises."""

    def __init__(self, policy: Policy, truth: Truth, now: float) -> None:
        self.policy = policy
        self.truth = truth
        self.ledger = Ledger(policy)
        self.generations = Generations()
        self.endings = Endings(policy)
        self.pace = Pace(policy)
        self.wanted = self.most_wanted = policy.spirits
        self.was_whole = False
        self._awake = self._deadline = now
        self._spawned = self._read = False
        self._on: Final[dict[type, Callable[[Any, float], None]]] = {
            fact.Forked: self.ledger.forked,
            fact.ForkFailed: self._fork_failed,
            fact.Readied: self.ledger.readied,
            fact.Left: self._left,
            fact.BoardRead: self.ledger.heard,
            fact.Exited: self._exited,
            fact.Worn: self.ledger.worn,
            fact.StopAsked: self._stopped,
            fact.ReloadAsked: lambda _event, _now: self.generations.ask(),
            fact.ScaleAsked: self._scaled,
            fact.Continued: lambda _event, _now: None,  # counted in ``told``
            do.Spawn: self._spawn,
            do.Ask: self._ask,
            do.Rouse: self._rouse,
            do.Kill: self._kill,
            do.Bury: lambda order, _now: self.ledger.bury(order),
            do.Abandon: self._abandon,
            do.Announce: self._announce,
            do.Finish: lambda order, now: self.endings.finish(order, now, self.pace.barren_since),
            do.Halt: self._halt,
        }

    # ── a batch, in three parts ──
    def told(self, events: Sequence[fact.Event], now: float) -> None:
        """The pool is about to be told this."""
        kinds = [type(event) for event in events]
        late = now - self._deadline
        noticed = late >= NOTICED or fact.Continued in kinds
        self.truth.settle(noticed=noticed)
        given = now - self._awake if noticed else late if late >= NOISE else 0.0
        self.ledger.give(given, now)
        self.endings.give(given)
        self._awake = now
        self._spawned = False
        self._read = fact.BoardRead in kinds
        for kind, event in zip(kinds, events, strict=True):
            self._on[kind](event, now)

    def ordered(self, actions: Sequence[do.Action], now: float) -> None:
        """The pool has ordered this."""
        for action in actions:
            if self.endings.halted:
                raise Violation(Promise.HALT, action)
            self._on[type(action)](action, now)
        stopping, ready = self.endings.stopping, self.ledger.count(Phase.READY)
        demand(not self.ledger.ended, Promise.BURIAL, self.ledger.ended)
        if self._spawned:
            self._check_room(now)
        if stopping and not self.endings.serves(now):
            demand(not self.ledger.count(*ASKABLE), Promise.DRAIN, "somebody was not asked to leave")
        self.was_whole = self.was_whole or (ready >= self.wanted and not stopping)
        self.endings.settle(now)
        self.generations.settle(can_begin=self.was_whole and not stopping)
        self.pace.settle(now, is_barren=not ready and self.wanted > 0, ends=stopping)

    def counted(self, tally: Tally, now: float) -> None:
        """The pool has counted its spirits."""
        coming = ready = stale = old = leaving = 0
        wanted = self.generations.wanted
        for life in self.ledger.lives.values():
            phase, mine = life.phase, life.generation == wanted
            if phase is Phase.READY:
                ready, old = ready + mine, old + (not mine)
            elif phase is Phase.LEAVING:
                leaving += 1
            elif phase is Phase.BOOTING or phase is Phase.SPAWNING:
                coming, stale = coming + mine, stale + (not mine)
        if tally.old - old == 1 and self._worn(now):
            ready, old = ready - 1, tally.old  # it is being replaced
        books = (coming, ready, stale, old, leaving)
        if (tally.coming, tally.ready, tally.stale, tally.old, tally.leaving) != books:
            raise Violation(Promise.COUNTS, f"{tally}, but there are {books}")

    def settled(self, deadline: float | None, now: float, *, acted: bool) -> None:
        """The pool, which has ordered something if it ``acted``, wants to be called by then."""
        self._deadline = by = math.inf if deadline is None else deadline
        if self.endings.halted:
            return
        first, given = math.inf, self.ledger.given
        for life in self.ledger.lives.values():
            last = life.due + given - life.mark
            if last < first:
                first = last
                if now > last + _SLACK:
                    raise Violation(Promise.FOUND, f"{life}, at {now}")
        if by > first + _SLACK:
            raise Violation(Promise.DEADLINE, f"deadline {by}, first limit {first}")
        if by <= now and self._read and not acted:
            raise Violation(Promise.PROGRESS, f"deadline {by} again at {now}")
        if not self.ledger.awaits:
            self.endings.check_bound(by, now)

    def agrees(self, snapshot: Snapshot, *, barren: bool) -> None:
        """The snapshot says what the books say, and no pool is called barren that has a ready spirit."""
        ledger = self.ledger
        told = {view.spirit: (view.seat, view.generation, view.phase) for view in snapshot.spirits}
        kept = {life.spirit: (life.seat, life.generation, life.phase) for life in ledger.lives.values()}
        if told != kept:
            raise Violation(Promise.SNAPSHOT, f"{told} told, {kept} kept")
        totals = snapshot.totals
        facts = (snapshot.wanted, snapshot.ready, snapshot.generation, totals.forked, totals.ended)
        books = (self.wanted, ledger.count(Phase.READY), self.generations.wanted, ledger.births, ledger.burials)
        if facts != books or (barren and snapshot.ready):
            raise Violation(Promise.SNAPSHOT, f"{facts} told (barren: {barren}), {books} kept")

    # ── events ──
    def _fork_failed(self, event: fact.ForkFailed, now: float) -> None:
        self.ledger.leave(self.ledger.lives[event.spirit])
        self.pace.fresh(now)

    def _left(self, event: fact.Left, now: float) -> None:
        life = self.ledger.lives.get(event.spirit)
        if life is None or life.phase not in ASKABLE:
            return
        self.ledger.move(life, Phase.LEAVING, now, self.policy.graceful_timeout)
        if now - life.born < self.policy.young:
            self._early(life, now, was_ready=True)
        else:
            self.pace.fresh(now)

    def _exited(self, event: fact.Exited, now: float) -> None:
        life = self.ledger.lives[event.spirit]
        phase = self.ledger.exited(event, now)
        if phase is Phase.BOOTING or (phase is Phase.READY and now - life.born < self.policy.young):
            self._early(life, now, was_ready=phase is Phase.READY)
        else:
            self.pace.fresh(now)

    def _early(self, life: Life, now: float, *, was_ready: bool) -> None:
        self.pace.early_death(now, self.most_wanted + self.policy.spare)
        if not (self.was_whole or was_ready or self.endings.stopping):
            self.endings.fail(now, life)

    def _stopped(self, event: fact.StopAsked, now: float) -> None:
        delay = self.policy.drain_delay if self.was_whole else 0.0
        self.endings.stop(now, graceful=event.graceful, delay=delay)

    def _scaled(self, event: fact.ScaleAsked, now: float) -> None:
        if not self.endings.stopping:
            to = min(max(self.wanted + event.by if event.to is None else event.to, 0), MOST_SPIRITS)
            self.pace.fresh(now, max(to - self.wanted, 0))
            self.pace.forget_held()
            self.wanted, self.most_wanted = to, max(self.most_wanted, to)

    # ── actions ──
    def _spawn(self, order: do.Spawn, now: float) -> None:
        wanted = self.generations.wanted
        goes_on = not self.endings.stopping or self.endings.serves(now)
        demand(goes_on, Promise.BOOT if self.endings.failed else Promise.STOP_FIRST, order)
        demand(order.generation == wanted, Promise.GENERATION, order)
        self.ledger.enter(order, now)
        self._spawned = True

    def _check_room(self, now: float) -> None:
        spare, wanted, living = self.policy.spare, self.wanted, self.ledger.count(*COUNTED)
        if living > wanted + spare:
            raise Violation(Promise.ROOM, f"{living} living, {wanted} wanted, {spare} spare")
        if self.generations.fallback is None and not any(map(self._is_stale, self.ledger.lives.values())):
            most = wanted + min(self.ledger.count(Phase.LEAVING) + bool(self._worn(now)), spare)
            if living > most:
                raise Violation(Promise.REST, f"{living} living, {wanted} wanted, at most {most}")

    def _worn(self, now: float) -> list[Life]:
        """Those that may be replaced though they work and their generation is wanted."""
        lives = self.ledger.lives.values()
        return [one for one in lives if one.worn_at <= now and one.phase is Phase.READY and not self._is_stale(one)]

    def _is_stale(self, life: Life) -> bool:
        return life.generation != self.generations.wanted and life.phase in SERVING

    def _ask(self, order: do.Ask, now: float) -> None:
        life = self.ledger.alive(order.spirit, order)
        demand(life.phase in ASKABLE, Promise.LADDER, (order, life))
        ends = self.endings.stopping and not self.endings.serves(now)
        is_last = order.reason is Reason.STOP
        demand(ends == is_last, Promise.DRAIN if is_last else Promise.LADDER, (order, life))
        if order.reason in (Reason.RELOAD, Reason.RELOAD_FAILED):
            demand(self._is_stale(life), Promise.RELOAD, (order, life))
        if order.reason is Reason.RECYCLED:
            self._check_recycled(order, life, now)
        if life.phase is Phase.READY and not ends:
            left, wanted = self.ledger.count(Phase.READY) - 1, self.wanted
            self.was_whole = self.was_whole or left >= wanted - 1
            may_dip = self.policy.spare == 0 and order.reason is not Reason.SURPLUS
            if left < (wanted - 1 if may_dip else wanted):
                raise Violation(Promise.CAPACITY, f"{order} leaves {left} ready of {wanted}: {life}")
        self.ledger.move(life, Phase.LEAVING, now, self.policy.graceful_timeout)
        self.pace.fresh(now)

    def _check_recycled(self, order: do.Ask, life: Life, now: float) -> None:
        age, least = now - life.born, self.policy.max_lifetime * (1.0 - self.policy.recycle_jitter)
        by_age = self.policy.max_lifetime > 0.0 and age >= least - _SLACK
        demand(life in self._worn(now) and (by_age or life.has_said_worn), Promise.RECYCLE, (order, life, now))
        gone = [one for one in self.ledger.lives.values() if one.is_recycled and one.phase is Phase.LEAVING]
        demand(not gone and self.generations.fallback is None, Promise.RECYCLE, (order, gone))
        life.is_recycled = True

    def _rouse(self, order: do.Rouse, now: float) -> None:
        life = self.ledger.alive(order.spirit, order)
        demand(life.phase in ASKABLE, Promise.LADDER, (order, life))
        is_booting = life.phase is Phase.BOOTING
        if is_booting:
            self._check_patience(order, life, self.policy.boot_timeout, now)
        else:
            why = self.truth.why_not_silent(order.spirit, self.policy.silence, now)
            demand(not why, Promise.NO_FALSE_ALARM, (order, why))
            self.pace.fresh(now)
        self.ledger.move(life, Phase.SILENT, now, self.policy.silent_timeout)
        if is_booting:
            self._early(life, now, was_ready=False)

    def _kill(self, order: do.Kill, now: float) -> None:
        life = self.ledger.alive(order.spirit, order)
        asked = life.phase in (Phase.LEAVING, Phase.SILENT)
        demand(asked or (self.endings.at_once and life.phase in ASKABLE), Promise.LADDER, (order, life))
        if not self.endings.pressed and not self.endings.is_late(self.truth, now):
            policy, failed = self.policy, self.endings.failed
            at_once = 0.0 if failed else policy.graceful_timeout
            self._check_patience(order, life, policy.silent_timeout if life.phase is Phase.SILENT else at_once, now)
        self.ledger.move(life, Phase.KILLED, now, self.policy.kill_timeout)

    def _abandon(self, order: do.Abandon, now: float) -> None:
        life = self.ledger.alive(order.spirit, order)
        demand(life.phase is Phase.KILLED, Promise.LADDER, (order, life))
        most = LAST_WAIT if self.endings.stopping else math.inf
        self._check_patience(order, life, min(self.policy.kill_timeout, most), now)
        self.ledger.move(life, Phase.LOST, now, math.inf)

    def _check_patience(self, order: do.Action, life: Life, limit: float, now: float) -> None:
        ran = self.truth.ran(life.since, now)
        demand(ran >= limit - _SLACK, Promise.PATIENCE, (order, "ran for", ran, life))

    def _announce(self, order: do.Announce, now: float) -> None:
        match order.news:
            case News.RELOADING:
                demand(not self.endings.stopping, Promise.STOP_FIRST, order)
                self._renew(now)
                self.was_whole = self.was_whole or self.ledger.count(Phase.READY) >= self.wanted
                self.generations.begin(was_whole=self.was_whole)
            case News.HELD:
                self.pace.held(now)
            case News.RELOADED:
                self._check_reloaded(order)
                self.generations.end()
            case News.RELOAD_FAILED:
                self._renew(now)
                self.generations.undo()
            case _:
                pass  # words

    def _renew(self, now: float) -> None:
        """All places are to be filled anew."""
        self.pace.fresh(now, self.wanted)
        self.pace.forget_held()

    def _check_reloaded(self, order: do.Announce) -> None:
        lives = list(self.ledger.lives.values())
        new = sum(life.phase is Phase.READY and not self._is_stale(life) for life in lives)
        old = [life for life in lives if self._is_stale(life)]
        demand(new >= self.wanted and not old, Promise.RELOAD, (order, new, old))

    def _halt(self, order: do.Halt, _now: float) -> None:
        lives = self.ledger.lives.values()
        living = [life for life in lives if life.phase is not Phase.LOST]
        demand(not living, Promise.HALT, (order, living))
        self.endings.halt(order, lost=bool(lives))
