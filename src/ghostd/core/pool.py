"""The pool: decides which spirits live. Facts come in, orders go out, and nothing else happens here.

Events only change what is written down (``_apply`` and below); one ``_reconcile`` then compares what is with what is
wanted. So a late, merged or repeated event costs nothing.

Time is monotonic seconds and comes in as ``now``. The caller must call ``handle`` no later than ``deadline`` says, and
must put a ``BoardRead`` into the batch when the pool ``wants_board``: only a fresh reading may find a spirit silent.
"""

from __future__ import annotations

from enum import Enum, auto

from ghostd.core import actions as do
from ghostd.core import events as fact
from ghostd.core.actions import News, Reason
from ghostd.core.gaps import LONG_GAP, Gaps
from ghostd.core.phases import NEVER, SERVING, Move, Phase, Record
from ghostd.core.restraint import Restraint
from ghostd.core.rollout import Rollout
from ghostd.core.roster import LAST_WAIT, Roster, Tally
from ghostd.core.snapshot import Snapshot, State, totals, view
from ghostd.errors import ExitCode
from ghostd.hints import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ghostd.core.phases import SpiritId
    from ghostd.core.policy import Policy
    from ghostd.exits import Exit

MOST_SPIRITS = 100_000  # a wrong number must not fill the machine
IDLE = (0.0, 0.0, 0, 0)  # the cell of a spirit that nothing is known of


class _Mode(Enum):
    RUNNING = auto()
    LINGERING = auto()  # graceful stop: serves on for the drain delay
    DRAINING = auto()  # graceful stop: everybody is asked to leave
    KILLING = auto()  # immediate stop
    OVER = auto()


SERVES = (_Mode.RUNNING, _Mode.LINGERING)


class Pool:
    """The state of one pool. ``handle`` it events; perform what it returns, in order.

    ``wanted``, how many spirits there shall be, and ``rollout`` are for reading.
    """

    def __init__(self, policy: Policy, now: float) -> None:
        self._policy = policy
        self.wanted = policy.spirits
        self._mode = _Mode.RUNNING
        self._told_graceful: bool | None = None
        self._end = do.Halt(ExitCode.OK, Reason.STOP, "all spirits have ended")
        self._was_whole = False
        self._told: News | None = None
        self._barren_since = NEVER  # nobody was ready, and somebody was held back
        self._patience = policy.give_up_after or NEVER
        self._early_deaths = 0
        self._gaps = Gaps(now)
        self.rollout = Rollout()
        self._roster = Roster(policy, self._gaps, self.rollout.wanted)
        self._restraint = Restraint(policy)
        self._cells: Mapping[SpiritId, fact.Cell] = {}  # as read for this batch
        self._retired: Record | None = None  # the last worn one whose replacement was begun
        self._worn_from = NEVER  # nobody is worn before
        self._drain_at = NEVER
        self._due: float = now
        self._orders: list[do.Action] = []

    # ── what the engine calls ──
    def handle(self, events: Sequence[fact.Event], now: float) -> list[do.Action]:
        """Take in what has happened, and say what to do about it."""
        self._orders, self._cells = [], {}
        self._roster.cool()
        if self._mode is _Mode.OVER:
            return self._orders
        told = any(isinstance(event, fact.Continued) for event in events)
        gap = self._gaps.wake(now, self._due, told=told, strict=self._mode is not _Mode.RUNNING)
        for event in events:
            self._apply(event, now)
        if gap >= LONG_GAP and self._mode is _Mode.RUNNING:
            detail = f"the manager may not have run for {gap:.1f} s: all limits are put off by that"
            self._announce(News.CREDITED, Reason.PAUSED, detail)
        self._reconcile(now)
        self._due = self._next_due(now)
        return self._orders

    def wants_board(self, now: float) -> bool:
        """Whether somebody may be due, so that the batch to be handled now must have a BoardRead in it."""
        return self._roster.due <= now

    def deadline(self, now: float) -> float | None:
        """When to call ``handle`` at the latest; None: not before something happens."""
        assert now >= self._gaps.awake, "time is monotonic"
        return None if self._due == NEVER else self._due

    @property
    def tally(self) -> Tally:
        """How many spirits there are of each kind."""
        return self._roster.tally

    @property
    def is_barren(self) -> bool:
        """Whether no spirit is ready because each dies early."""
        return self._barren_since != NEVER

    def snapshot(self, now: float, cells: Mapping[SpiritId, fact.Cell] | None = None) -> Snapshot:
        """The pool as it is now, frozen; with what spirits say of themselves where the board was read for it."""
        ready, told = self._roster.tally.all_ready, cells or {}
        seated = sorted(self._roster, key=lambda record: record.seat)
        views = tuple(view(record, told.get(record.spirit, IDLE), now) for record in seated)
        counts = totals(self._roster.moves, self._early_deaths, self.rollout.done, self.rollout.undone)
        return Snapshot(self.state(now), self.wanted, ready, self.rollout.wanted, views, counts)

    def state(self, now: float) -> State:
        """What the pool as a whole is doing."""
        if self._mode is not _Mode.RUNNING:
            return State.STOPPED if self._mode is _Mode.OVER else State.STOPPING
        if not self._was_whole:
            return State.STARTING
        if self.rollout.is_running:
            return State.RELOADING
        if self._restraint.is_trend(now):
            return State.DEGRADED
        return State.WHOLE if self._roster.tally.all_ready >= self.wanted else State.SHORT

    # ── writing down ──
    def _apply(self, event: fact.Event, now: float) -> None:
        match event:
            case fact.Forked():
                self._forked(self._roster[event.spirit], event.at)
            case fact.ForkFailed():
                self._fork_failed(self._roster[event.spirit], event.error, now)
            case fact.Readied():
                self._readied(self._roster.get(event.spirit), event.at)
            case fact.Left():
                self._left(self._roster.get(event.spirit), now)
            case fact.Worn():
                self._wear(self._roster.get(event.spirit), now)
            case fact.BoardRead():
                self._cells = event.cells
                self._roster.hear(event, now)
            case fact.Exited():
                self._exited(self._roster[event.spirit], event.exit, now)
            case fact.StopAsked():
                self._stop(event.graceful, now)
            case fact.ReloadAsked() if self._mode is _Mode.RUNNING:
                self.rollout.waits = True
            case fact.ScaleAsked():
                self._scale(self.wanted + event.by if event.to is None else event.to)
            case fact.Continued() | fact.ReloadAsked():
                pass  # the one is counted in handle, the other is too late
            case _:
                assert_never(event)

    def _forked(self, record: Record, at: float) -> None:
        self._roster.move(record, Move.FORK, at, self._policy.boot_timeout)
        record.born = at
        self._wear(record, at + self._policy.worn_after(record.spirit))
        self._restraint.fork_succeeded()

    def _fork_failed(self, record: Record, error: str, now: float) -> None:
        self._roster.move(record, Move.MISCARRY, now)
        self._restraint.put_back(record.streak, now)
        wait = self._restraint.fork_failed(now)
        if wait is not None:
            how = f"{error} (failure {self._restraint.fork_failures} in a row)"
            self._announce(News.FORK_FAILED, Reason.MISSING, f"{how}: next try in {wait:.1f} s")

    def _readied(self, record: Record | None, at: float) -> None:
        if record is None or record.phase is not Phase.BOOTING:
            return  # late: it was asked to leave, or has ended, meanwhile
        self._roster.move(record, Move.READY, at, self._policy.silence)
        record.beat = at

    def _left(self, record: Record | None, now: float) -> None:
        if record is None or record.phase not in (Phase.BOOTING, Phase.READY):
            return
        self._roster.leave(record, Reason.OWN_WISH, now)
        if now - record.born < self._policy.young:
            self._died_early(record, f"it left {now - record.born:.1f} s after its fork", now, was_ready=True)

    def _wear(self, record: Record | None, at: float) -> None:
        if record is not None:
            record.worn_at = min(record.worn_at, at)
            self._worn_from = min(self._worn_from, at)

    def _exited(self, record: Record, exit: Exit, now: float) -> None:  # noqa: A002  the field's word
        phase, age = record.phase, now - record.born
        self._roster.move(record, Move.EXIT, now)
        early = phase is Phase.BOOTING or (phase is Phase.READY and age < self._policy.young)
        reason = record.reason or (Reason.EARLY_DEATH if early else Reason.ENDED)
        self._orders.append(do.Bury(record.spirit, reason, exit, age))
        if early:
            when = "before it was ready" if phase is Phase.BOOTING else f"{age:.1f} s after its fork"
            self._died_early(record, f"it ended ({exit}) {when}", now, was_ready=phase is Phase.READY)

    def _died_early(self, record: Record, what: str, now: float, *, was_ready: bool) -> None:
        self._early_deaths += 1
        how = f"spirit {record.spirit} (seat {record.seat}) died early: {what}"
        if self._mode not in SERVES or record.generation != self.rollout.wanted:
            return  # nobody is going to replace it
        if not (self._was_whole or was_ready):
            self._give_up(now, Reason.EARLY_DEATH, f"{how}, and the pool was never whole before")
        elif self.rollout.is_running:
            self.rollout.fail(how)
        else:
            wait = self._restraint.early_death(record.streak + 1, now) - now
            if wait > 0.0:
                detail = f"{how}; the {record.streak + 1}. time in a row, replaced in {wait:.1f} s"
                self._announce(News.HELD, Reason.EARLY_DEATH, detail)

    def _give_up(self, now: float, reason: Reason, detail: str) -> None:
        """Who was roused keeps its time to write its stacks: they tell why."""
        self._mode, self._end = _Mode.KILLING, do.Halt(ExitCode.BOOT_FAILED, reason, detail)
        self._roster.stop_by = self._gaps.lived(now) + self._policy.silent_timeout

    def _stop(self, graceful: bool, now: float) -> None:  # noqa: FBT001  both words stand in the event
        leave_by = self._gaps.lived(now) + self._policy.graceful_timeout
        if not graceful:
            self._mode, self._roster.stop_by = _Mode.KILLING, self._gaps.lived(now)
        elif self._mode is _Mode.RUNNING:
            delay = self._policy.drain_delay if self._was_whole else 0.0
            self._mode, self._drain_at = _Mode.LINGERING if delay else _Mode.DRAINING, now + delay
            self._roster.stop_by, self._patience, self.rollout.waits = leave_by + delay, NEVER, False
            if delay:
                self._announce(News.DRAINING, Reason.STOP, f"spirits serve on, and are asked to leave in {delay:g} s")
        elif self._mode is _Mode.LINGERING and self._drain_at != now + self._policy.drain_delay:  # asked again, later
            self._drain_at = min(self._drain_at, now)
            self._roster.stop_by = min(self._roster.stop_by, leave_by)

    def _scale(self, to: int) -> None:
        to = min(max(to, 0), MOST_SPIRITS)
        if to == self.wanted or self._mode is not _Mode.RUNNING:
            return
        reason = Reason.SURPLUS if to < self.wanted else Reason.MISSING
        self._announce(News.SCALED, reason, f"from {self.wanted} to {to} spirits")
        self.wanted = to

    # ── deciding ──
    def _reconcile(self, now: float) -> None:
        """Compare what is with what is wanted; the only place where orders to spirits come from."""
        if self._mode is _Mode.LINGERING and self._drain_at <= now:
            self._mode = _Mode.DRAINING
        self._escalate(now)
        if self._mode in SERVES:
            self._maintain(now)
        if self._mode not in SERVES:
            self._wind_up(now)

    def _escalate(self, now: float) -> None:
        """One step up the ladder for each spirit whose phase has lasted for too long."""
        for record in self._roster.overdue(now):
            match record.phase:
                case Phase.READY if record.spirit in self._cells:  # else the caller reads the board and comes back
                    self._orders.append(self._roster.rouse(record, Reason.SILENT, now - record.beat, now))
                case Phase.BOOTING:
                    age = now - record.born
                    self._orders.append(self._roster.rouse(record, Reason.SLOW_BOOT, age, now))
                    self._died_early(record, f"it was not ready after {age:.1f} s", now, was_ready=False)
                case Phase.LEAVING:
                    self._orders.append(self._roster.kill(record, Reason.SLOW_LEAVE, now))
                case Phase.SILENT:
                    self._orders.append(self._roster.kill(record, record.reason or Reason.SILENT, now))
                case Phase.KILLED:
                    self._orders.append(self._roster.give_up(record, Reason.OUTLIVED, now))

    def _maintain(self, now: float) -> None:
        if self._barren_since + self._patience <= now and self.wanted and not self._roster.tally.all_ready:
            self._give_up(now, Reason.GAVE_UP, f"no spirit was ready for {now - self._barren_since:.1f} s")
            return  # nobody is made any more
        self._was_whole |= self._roster.tally.all_ready >= self.wanted
        while self._was_whole and (news := self.rollout.turn(self._roster.tally, self.wanted)):
            self._orders.append(news)  # before it was whole, there is nothing to return to
            self._roster.want(self.rollout.wanted)
            if news.news is News.RELOADING:
                self._restraint.forgive()
        if self._worn_from <= now:
            self._recycle(now)
        self._shed(now)
        self._fill(now)
        self._tell(now)

    def _recycle(self, now: float) -> None:
        """Retire one worn spirit, if the pool is calm and the last one has gone; the rest is as in a reload."""
        tally, there = self._roster.tally, list(self._roster)
        leaves = self._retired is not None and self._retired.phase is Phase.LEAVING
        is_calm = not (leaves or self.rollout.is_running or tally.old + tally.stale) and tally.ready >= self.wanted
        worn = [record for record in there if record.phase is Phase.READY and record.worn_at <= now]
        if worn and is_calm and self._mode is _Mode.RUNNING:
            self._retired = min(worn, key=lambda record: record.worn_at)
            self._retired.is_retired = True
            self._roster.want(self.rollout.wanted)
        elif not worn:
            self._worn_from = min([record.worn_at for record in there if record.phase in SERVING], default=NEVER)

    def _shed(self, now: float) -> None:
        """Ask those to leave that are not wanted, as far as the others that are ready make up for them."""
        tally = self._roster.tally
        can_miss = tally.all_ready - self.wanted
        if self._policy.spare == 0 and tally.all_ready == tally.living >= self.wanted:
            can_miss = max(can_miss, min(tally.old, 1))  # no room for a new one to be ready first
        surplus = max(tally.new - self.wanted, 0)
        if not (tally.stale or (surplus and tally.coming) or (can_miss > 0 and (surplus or tally.old))):
            return
        for record in sorted(self._roster, key=lambda record: self._worth(record, now)):
            others, works = record.generation - self.rollout.wanted, record.phase is Phase.READY
            mine = not (others or record.is_retired)
            if (mine and not surplus) or not (record.phase is Phase.BOOTING or (works and can_miss > 0)):
                continue
            surplus -= mine
            can_miss -= works
            renewed = Reason.RELOAD_FAILED if others > 0 else Reason.RELOAD
            reason = Reason.SURPLUS if mine else renewed if others else Reason.RECYCLED
            self._orders.append(self._roster.ask(record, reason, now))

    def _worth(self, record: Record, now: float) -> tuple[bool, bool, bool, int]:
        """Whom to keep rather: who works, who was busy when the board was read, who is not worn, who is older."""
        _, busy_until, in_flight, _ = self._cells.get(record.spirit, IDLE)
        is_busy = busy_until > now or in_flight > 0
        return record.phase is Phase.READY, is_busy, record.worn_at > now, -record.spirit

    def _fill(self, now: float) -> None:
        """Order as many spirits as are missing, may live beside those that leave, and are not held back."""
        tally = self._roster.tally
        missing = self.wanted - tally.new
        self._restraint.trim(max(missing, 0))
        room = self.wanted + self._policy.spare - tally.living
        count = min(missing - self._restraint.held(now), room)
        usual = Reason.RELOAD if self.rollout.is_running else Reason.RECYCLED if tally.old else Reason.MISSING
        for _ in range(self._restraint.allowed(count, now)):
            streak = self._restraint.take(now)
            reason = Reason.RETRY if streak else usual
            record = self._roster.enter(streak)
            self._orders.append(do.Spawn(record.spirit, record.seat, record.generation, reason))

    def _tell(self, now: float) -> None:
        ready = self._roster.tally.all_ready
        if ready or not self.wanted:
            self._barren_since = NEVER
        elif not self.is_barren and self._restraint.held(now):
            self._barren_since = now  # and stays so while one after the other is tried
        news = News.DEGRADED if self._restraint.is_trend(now) else News.WHOLE if ready >= self.wanted else self._told
        if news is not self._told and news is not None:
            self._told = news
            reason = Reason.WHOLE if news is News.WHOLE else Reason.EARLY_DEATH
            self._announce(news, reason, f"{ready} of {self.wanted} spirits are ready")

    def _wind_up(self, now: float) -> None:
        """Bring the end about: ask or kill all that is left, and halt when nothing is."""
        graceful, at_once = self._mode is not _Mode.KILLING, self._roster.limit(NEVER, now) == 0.0
        if self._told_graceful is not graceful:
            self._told_graceful = graceful
            self._orders.append(do.Finish(graceful, self._end.reason))
        for record in self._roster:
            match record.phase:  # SPAWNING: its fork is awaited; LOST: nothing more can be done
                case Phase.BOOTING | Phase.READY if graceful:
                    self._orders.append(self._roster.ask(record, Reason.STOP, now))
                case Phase.BOOTING | Phase.READY | Phase.LEAVING if not graceful:
                    self._orders.append(self._roster.kill(record, Reason.STOP_AT_ONCE, now))
                case Phase.SILENT if not graceful and at_once:
                    self._orders.append(self._roster.kill(record, Reason.STOP_AT_ONCE, now))
                case Phase.LEAVING | Phase.SILENT:
                    self._roster.hasten(record, self._roster.stop_by)
                case Phase.KILLED:  # by a manager that was late itself, perhaps: it has its time to die all the same
                    self._roster.hasten(record, max(self._gaps.lived(record.since), self._roster.stop_by) + LAST_WAIT)
        if all(record.phase is Phase.LOST for record in self._roster):
            self._mode = _Mode.OVER
            if lost := ", ".join(str(record.spirit) for record in self._roster):
                how = f"{self._end.detail}, but these outlived SIGKILL: {lost}"
                self._end = do.Halt(ExitCode.SYSTEM, Reason.OUTLIVED, how)
            self._orders.append(self._end)

    def _announce(self, news: News, reason: Reason, detail: str) -> None:
        self._orders.append(do.Announce(news, reason, detail))

    def _next_due(self, now: float) -> float:
        """When something must be looked at again, if nothing happens before."""
        due = self._roster.due
        if self._mode not in SERVES:
            return due
        if due != NEVER:  # somebody has a limit: a gap of the manager's own must show, as lateness
            due = min(due, now + self._policy.silence / 2)
        waits = self._drain_at, self._barren_since + self._patience, self._restraint.deadline(now)
        return min(due, *waits, self._worn_from if self._worn_from > now else NEVER)
