"""The pool: decides which spirits live. Facts come in, orders go out, and nothing else happens here.

Events only change what is written down (``_apply`` and below); one ``_reconcile`` then compares what is with what is
wanted. So a late, merged or repeated event costs nothing.

Time is monotonic seconds and comes in as ``now``. The caller must call ``handle`` no later than ``deadline`` says, and
must put a ``BoardRead`` into the batch when that moment has come: only a fresh reading may find a spirit silent.
"""

from __future__ import annotations

import math
from enum import Enum, auto

from ghostd.core import actions as do
from ghostd.core import events as fact
from ghostd.core.actions import News, Reason
from ghostd.core.phases import Move, Phase, Record
from ghostd.core.restraint import Restraint
from ghostd.core.rollout import Rollout
from ghostd.core.roster import Roster, Tally
from ghostd.core.snapshot import Snapshot, State, Totals, view
from ghostd.errors import ExitCode
from ghostd.hints import TYPE_CHECKING, assert_never
from ghostd.record import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Final

    from ghostd.core.policy import Policy

NOISE: Final = 0.05  # a wake-up later than planned by less is the scheduler's, not a gap
LONG_GAP: Final = 1.0  # later by more: the manager was stopped or starved, perhaps since it last ran
LAST_WAIT: Final = 0.5  # in a stop, for the end of what was killed: stop is bounded by its limit plus a second
MOST_SPIRITS: Final = 100_000  # a wrong number must not fill the machine


class _Mode(Enum):
    RUNNING = auto()
    DRAINING = auto()  # graceful stop
    KILLING = auto()  # immediate stop
    OVER = auto()


class Pool:
    """The state of one pool. ``handle`` it events; perform what it returns, in order."""

    def __init__(self, policy: Policy, now: float) -> None:
        self._policy = policy
        self._wanted = policy.spirits
        self._roster = Roster()
        self._rollout = Rollout()
        self._mode = self._told_mode = _Mode.RUNNING
        self._stop_by = math.inf
        self._end = do.Halt(ExitCode.OK, Reason.STOP, "all spirits have ended")
        self._was_whole = False
        self._told: News | None = None
        self._barren_since = math.inf
        self._restraint = Restraint(policy)
        self._totals = Totals()
        self._board_read = False
        self._awake = now
        self._gap = 0.0  # for how long before this batch the manager may not have run
        self._due: float = now
        self._orders: list[do.Action] = []

    # ── what the engine calls ──
    def handle(self, events: Sequence[fact.Event], now: float) -> list[do.Action]:
        """Take in what has happened, and say what to do about it."""
        assert now >= self._awake, "time is monotonic"
        self._orders, self._board_read = [], False
        if self._mode is _Mode.OVER:
            return self._orders
        self._gap = self._gap_before(events, now)
        self._credit()
        for event in events:
            self._apply(event, now)
        if self._gap >= LONG_GAP and self._mode is _Mode.RUNNING:
            detail = f"the manager may not have run for {self._gap:.1f} s: all limits are put off by that"
            self._announce(News.CREDITED, Reason.PAUSED, detail)
        self._reconcile(now)
        self._awake, self._due = now, self._next_due(now)
        return self._orders

    def deadline(self, now: float) -> float | None:
        """When to call ``handle`` at the latest, with a BoardRead; None: not before something happens."""
        assert now >= self._awake, "time is monotonic"
        return None if math.isinf(self._due) else self._due

    def snapshot(self, now: float) -> Snapshot:
        """The pool as it is now, frozen."""
        ready = self._tally().all_ready
        views = tuple(view(record, now) for record in sorted(self._roster, key=lambda r: r.seat))
        totals = replace(self._totals, reloads=self._rollout.done, failed_reloads=self._rollout.undone)
        return Snapshot(self._state(ready, now), self._wanted, ready, self._rollout.wanted, views, totals)

    def _state(self, ready: int, now: float) -> State:
        if self._mode is not _Mode.RUNNING:
            return State.STOPPED if self._mode is _Mode.OVER else State.STOPPING
        if not self._was_whole:
            return State.STARTING
        if self._rollout.is_running:
            return State.RELOADING
        if self._restraint.is_trend(now):
            return State.DEGRADED
        return State.WHOLE if ready >= self._wanted else State.SHORT

    # ── writing down ──
    def _gap_before(self, events: Iterable[fact.Event], now: float) -> float:
        """For how long the manager may not have run. A manager that was asleep cannot judge its spirits."""
        late = now - self._due
        if late >= LONG_GAP or any(isinstance(event, fact.Continued) for event in events):
            return now - self._awake
        return late if late >= NOISE and self._mode is _Mode.RUNNING else 0.0

    def _credit(self) -> None:
        if self._gap > 0.0:
            for record in self._roster:
                record.due += self._gap
                record.credit += self._gap
            self._stop_by += self._gap

    def _credit_since(self, at: float, now: float) -> float:
        """What of the gap is due to somebody whose time began at ``at``, which may lie within it."""
        return min(self._gap, now - at)

    def _apply(self, event: fact.Event, now: float) -> None:
        match event:
            case fact.Forked():
                self._forked(self._roster[event.spirit], event.at, now)
            case fact.ForkFailed():
                self._fork_failed(self._roster[event.spirit], event.error, now)
            case fact.Readied():
                self._readied(self._roster.get(event.spirit), event.at, now)
            case fact.Left():
                self._left(self._roster.get(event.spirit), now)
            case fact.BoardRead():
                self._board_read = True
                for beat in event.beats:
                    self._heard(self._roster.get(beat.spirit), beat, now)
            case fact.Exited():
                self._exited(self._roster[event.spirit], event.exit, now)
            case fact.StopAsked():
                self._stop(event.graceful, now)
            case fact.ReloadAsked():
                self._rollout.ask()
            case fact.ScaleAsked():
                self._scale(self._wanted + event.by if event.to is None else event.to)
            case fact.Continued():
                pass  # counted in _gap_before
            case _:
                assert_never(event)

    def _forked(self, record: Record, at: float, now: float) -> None:
        record.move(Move.FORK, at, self._policy.boot_timeout + self._credit_since(at, now))
        record.born = at
        self._totals.forked += 1
        self._restraint.fork_succeeded()

    def _fork_failed(self, record: Record, error: str, now: float) -> None:
        record.move(Move.MISCARRY, now)
        self._roster.leave(record)
        self._totals.failed_forks += 1
        self._restraint.put_back(record.streak, now)
        wait = self._restraint.fork_failed(now)
        if wait is not None:
            tries = self._restraint.fork_failures
            self._announce(
                News.FORK_FAILED, Reason.MISSING, f"{error} (failure {tries} in a row): next try in {wait:.1f} s"
            )

    def _readied(self, record: Record | None, at: float, now: float) -> None:
        if record is None or record.phase is not Phase.BOOTING:
            return  # late: it was asked to leave, or has ended, meanwhile
        record.move(Move.READY, at)
        record.beat, record.credit = at, self._credit_since(at, now)
        record.due = record.silent_at(self._policy.silence)

    def _left(self, record: Record | None, now: float) -> None:
        if record is None or record.phase not in (Phase.BOOTING, Phase.READY):
            return
        record.move(Move.LEAVE, now, self._policy.graceful_timeout)
        record.reason = Reason.OWN_WISH
        if now - record.born < self._policy.young:
            self._died_early(record, f"it left {now - record.born:.1f} s after its fork", now, was_ready=True)

    def _heard(self, record: Record | None, beat: fact.Beat, now: float) -> None:
        if record is None:
            return
        last = min(beat.last, now)  # the cell is written by the spirit, so it may say anything
        if last > record.beat:
            record.beat, record.credit = last, self._credit_since(last, now)
        record.busy_until = beat.busy_until
        if record.phase is Phase.READY:
            record.due = record.silent_at(self._policy.silence)

    def _exited(self, record: Record, exit: fact.Exit, now: float) -> None:  # noqa: A002  the field's word
        phase, age = record.phase, now - record.born
        record.move(Move.EXIT, now)
        self._roster.leave(record)
        self._totals.ended += 1
        early = phase is Phase.BOOTING or (phase is Phase.READY and age < self._policy.young)
        reason = record.reason or (Reason.EARLY_DEATH if early else Reason.ENDED)
        self._orders.append(do.Bury(record.spirit, reason, exit, age))
        if early:
            when = "before it was ready" if phase is Phase.BOOTING else f"{age:.1f} s after its fork"
            self._died_early(record, f"it ended ({exit}) {when}", now, was_ready=phase is Phase.READY)

    def _died_early(self, record: Record, what: str, now: float, *, was_ready: bool) -> None:
        self._totals.early_deaths += 1
        how = f"spirit {record.spirit} (seat {record.seat}) died early: {what}"
        if self._mode is not _Mode.RUNNING or record.generation != self._rollout.wanted:
            return  # nobody is going to replace it
        if not (self._was_whole or was_ready):
            detail = f"{how}, and the pool was never whole before"
            self._give_up(do.Halt(ExitCode.BOOT_FAILED, Reason.EARLY_DEATH, detail))
        elif self._rollout.is_running:
            self._rollout.fail(how)
        else:
            hold = self._restraint.early_death(record.streak + 1, now)
            if hold.until > now:
                detail = f"{how}; the {hold.streak}. time in a row, replaced in {hold.until - now:.1f} s"
                self._announce(News.HELD, Reason.EARLY_DEATH, detail)

    def _give_up(self, end: do.Halt) -> None:
        self._mode, self._end = _Mode.KILLING, end

    def _stop(self, graceful: bool, now: float) -> None:  # noqa: FBT001  both words stand in the event
        if graceful and self._mode is _Mode.RUNNING:
            self._mode, self._stop_by = _Mode.DRAINING, now + self._policy.graceful_timeout
        elif not graceful and self._mode in (_Mode.RUNNING, _Mode.DRAINING):
            self._mode = _Mode.KILLING

    def _scale(self, to: int) -> None:
        to = min(max(to, 0), MOST_SPIRITS)
        if to == self._wanted or self._mode is not _Mode.RUNNING:
            return
        reason = Reason.SURPLUS if to < self._wanted else Reason.MISSING
        self._announce(News.SCALED, reason, f"from {self._wanted} to {to} spirits")
        self._wanted = to

    # ── deciding ──
    def _reconcile(self, now: float) -> None:
        """Compare what is with what is wanted; the only place where orders to spirits come from."""
        self._escalate(now)
        if self._mode is _Mode.RUNNING:
            self._maintain(now)
        if self._mode is not _Mode.RUNNING:
            self._wind_up(now)

    def _escalate(self, now: float) -> None:
        """One step up the ladder for each spirit whose phase has lasted for too long."""
        for record in self._roster.overdue(now):
            match record.phase:
                case Phase.READY if self._board_read:
                    self._rouse(record, Reason.SILENT, now - record.beat, now)
                case Phase.BOOTING:
                    self._rouse(record, Reason.SLOW_BOOT, now - record.born, now)
                    what = f"it was not ready after {now - record.born:.1f} s"
                    self._died_early(record, what, now, was_ready=False)
                case Phase.LEAVING:
                    self._kill(record, Reason.SLOW_LEAVE, now)
                case Phase.SILENT:
                    self._kill(record, record.reason or Reason.SILENT, now)
                case Phase.KILLED:
                    self._totals.lost += 1
                    self._orders.append(do.Abandon(record.spirit, Reason.OUTLIVED, now - record.since))
                    record.move(Move.OUTLIVE, now)
                case _:
                    pass  # READY, no fresh reading: the deadline stands, the caller reads the board and comes back

    def _maintain(self, now: float) -> None:
        tally = self._tally()
        self._was_whole = self._was_whole or tally.all_ready >= self._wanted
        while self._was_whole and (news := self._rollout.turn(tally, self._wanted)):  # before, nothing to return to
            self._orders.append(news)
            if news.news is News.RELOADING:
                self._restraint.forgive()
            tally = self._tally()
        self._shed(tally, now)
        self._fill(self._tally(), now)
        self._tell(tally.all_ready, now)

    def _shed(self, tally: Tally, now: float) -> None:
        """Ask those to leave that are not wanted, as far as the others that are ready make up for them."""
        can_miss = tally.all_ready - self._wanted
        if self._policy.spare == 0 and tally.all_ready == tally.living >= self._wanted:
            can_miss = max(can_miss, min(tally.old, 1))  # no room for a new one to be ready first
        surplus = max(tally.new - self._wanted, 0)
        if not (tally.old or tally.stale or surplus):
            return
        for record in sorted(self._roster, key=lambda r: (r.phase is Phase.READY, r.busy_until > now, -r.spirit)):
            mine, works = record.generation == self._rollout.wanted, record.phase is Phase.READY
            if (mine and not surplus) or not (record.phase is Phase.BOOTING or (works and can_miss > 0)):
                continue
            surplus -= mine
            can_miss -= works
            newer = record.generation > self._rollout.wanted
            self._ask(record, Reason.SURPLUS if mine else Reason.RELOAD_FAILED if newer else Reason.RELOAD, now)

    def _fill(self, tally: Tally, now: float) -> None:
        """Order as many spirits as are missing, may live beside those that leave, and are not held back."""
        missing = self._wanted - tally.new
        self._restraint.trim(max(missing, 0))
        room = self._wanted + self._policy.spare - tally.living
        count = min(missing - self._restraint.held(now), room)
        allowed = self._restraint.forks_allowed(now)
        for _ in range(count if allowed is None else min(count, allowed)):
            streak = self._restraint.take(now)
            reason = Reason.RELOAD if self._rollout.is_running else Reason.RETRY if streak else Reason.MISSING
            self._spawn(streak, reason)

    def _tell(self, ready: int, now: float) -> None:
        if ready or not self._wanted:
            self._barren_since = math.inf
        elif math.isinf(self._barren_since) and self._restraint.held(now):
            self._barren_since = now  # and stays so while one after the other is tried
        news = News.DEGRADED if self._restraint.is_trend(now) else News.WHOLE if ready >= self._wanted else self._told
        if news is not self._told and news is not None:
            self._told = news
            reason = Reason.WHOLE if news is News.WHOLE else Reason.EARLY_DEATH
            self._announce(news, reason, f"{ready} of {self._wanted} spirits are ready")
        if self._policy.give_up_after and now - self._barren_since >= self._policy.give_up_after:
            how = f"no spirit was ready for {now - self._barren_since:.1f} s"
            self._give_up(do.Halt(ExitCode.BOOT_FAILED, Reason.GAVE_UP, how))

    def _wind_up(self, now: float) -> None:
        """Bring the end about: ask or kill all that is left, and halt when nothing is."""
        graceful = self._mode is _Mode.DRAINING
        if self._mode is not self._told_mode:
            self._told_mode = self._mode
            self._orders.append(do.Finish(graceful, self._end.reason))
        last_moment = (self._stop_by if graceful else now) + LAST_WAIT
        for record in self._roster:
            match record.phase:
                case Phase.BOOTING | Phase.READY if graceful:
                    self._ask(record, Reason.STOP, now)
                case Phase.BOOTING | Phase.READY | Phase.LEAVING | Phase.SILENT if not graceful:
                    self._kill(record, Reason.STOP_AT_ONCE, now)
                case Phase.LEAVING | Phase.SILENT:
                    record.due = min(record.due, self._stop_by)
                case Phase.KILLED:
                    record.due = min(record.due, last_moment)
                case _:
                    pass  # SPAWNING: its fork is awaited; LOST: nothing more can be done
        if all(record.phase is Phase.LOST for record in self._roster):
            self._mode = _Mode.OVER
            self._orders.append(self._halt())

    def _halt(self) -> do.Halt:
        left = ", ".join(str(record.spirit) for record in self._roster)
        if not left:
            return self._end
        return do.Halt(ExitCode.SYSTEM, Reason.OUTLIVED, f"{self._end.detail}, but these outlived SIGKILL: {left}")

    # ── orders ──
    def _spawn(self, streak: int, reason: Reason) -> None:
        record = self._roster.enter(self._rollout.wanted, streak)
        self._orders.append(do.Spawn(record.spirit, record.seat, record.generation, reason))

    def _ask(self, record: Record, reason: Reason, now: float) -> None:
        limit = min(self._policy.graceful_timeout, max(self._stop_by - now, 0.0))
        record.move(Move.LEAVE, now, limit)
        record.reason = reason
        self._orders.append(do.Ask(record.spirit, reason, limit))

    def _rouse(self, record: Record, reason: Reason, silence: float, now: float) -> None:
        limit = min(self._policy.silent_timeout, max(self._stop_by - now, 0.0))
        record.move(Move.SILENCE, now, limit)
        record.reason = reason
        self._totals.silenced += 1
        self._orders.append(do.Rouse(record.spirit, reason, silence, limit))

    def _kill(self, record: Record, reason: Reason, now: float) -> None:
        after = now - record.since
        limit = self._policy.kill_timeout if self._mode is _Mode.RUNNING else min(self._policy.kill_timeout, LAST_WAIT)
        record.move(Move.KILL, now, limit)
        record.reason = reason
        self._totals.killed += 1
        self._orders.append(do.Kill(record.spirit, reason, after))

    def _announce(self, news: News, reason: Reason, detail: str) -> None:
        self._orders.append(do.Announce(news, reason, detail))

    # ── counting and time ──
    def _tally(self) -> Tally:
        return self._roster.tally(self._rollout.wanted)

    def _next_due(self, now: float) -> float:
        """When something must be looked at again, if nothing happens before."""
        records = list(self._roster)
        due = min((record.due for record in records), default=math.inf)
        if self._mode is not _Mode.RUNNING:
            return due
        if any(record.phase is Phase.READY for record in records):
            due = min(due, now + self._policy.silence / 2)  # so that a gap of the manager's own shows, as lateness
        if self._policy.give_up_after:
            due = min(due, self._barren_since + self._policy.give_up_after)
        return min(due, self._restraint.deadline(now))
