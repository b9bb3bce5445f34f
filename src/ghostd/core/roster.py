"""Who is there, in which seat, and how far each has come: all moves of all spirits are made here, each with its limit.

Rule: nothing is counted or searched anew for each event, because an event must cost the same in a large pool. So
``Roster.move`` is the one place where a record moves: it keeps the counts, and who is due first is looked for only when
that one has moved. When a spirit is to move, and which one, the pool decides.
"""

from __future__ import annotations

from ghostd.core.actions import Abandon, Ask, Kill, Reason, Rouse
from ghostd.core.phases import NEVER, SERVING, Generation, Move, Phase, Record, SpiritId
from ghostd.hints import TYPE_CHECKING
from ghostd.record import Mutable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ghostd.core.events import BoardRead
    from ghostd.core.gaps import Gaps
    from ghostd.core.policy import Policy

LAST_WAIT = 0.5  # in a stop, for the end of what was killed: a stop is bounded by its limit plus a second


class Tally(Mutable):
    """The spirits counted: those that are wanted, those to be replaced, and those that leave."""

    coming: int = 0  # wanted: ordered or booting
    ready: int = 0  # wanted
    stale: int = 0  # another generation: ordered or booting
    old: int = 0  # another generation, or worn and retired: ready
    leaving: int = 0

    def count(self, record: Record, wanted: Generation, by: int) -> None:
        """One more of its kind, or one fewer."""
        phase, mine = record.phase, record.generation == wanted and not record.is_retired
        if phase is Phase.LEAVING:
            self.leaving += by
        elif phase is Phase.READY:
            self.ready += by * mine
            self.old += by * (not mine)
        elif phase in SERVING:
            self.coming += by * mine
            self.stale += by * (not mine)

    @property
    def new(self) -> int:
        """All that are wanted, ready or not."""
        return self.coming + self.ready

    @property
    def all_ready(self) -> int:
        """All that work."""
        return self.ready + self.old

    @property
    def living(self) -> int:
        """All that count for the spare rule: not the silent, killed and lost, whose seats were refilled."""
        return self.new + self.stale + self.old + self.leaving


class Roster:
    """The records by serial. A seat is held from the order to spawn until the burial.

    Who is made when somebody ends sits down there: what still waits at that seat is for the successor. Else the lowest
    free seat is next.
    """

    def __init__(self, policy: Policy, gaps: Gaps, wanted: Generation) -> None:
        self.tally = Tally()
        self.moves = dict.fromkeys(Move, 0)  # how often each was made
        self.stop_by = NEVER  # nobody may stay for longer; in lived time
        self._policy = policy
        self._gaps = gaps
        self._wanted = wanted
        self._first_due: float | None = NEVER  # None: not known
        self._records: dict[SpiritId, Record] = {}
        self._serial = 0
        self._free_seats: list[int] = []  # without one, the records hold all seats from the first on
        self._warm_seats: list[int] = []  # free, too, and given up in this batch

    def __iter__(self) -> Iterator[Record]:
        """All records; the roster may change meanwhile."""
        return iter(list(self._records.values()))

    def __getitem__(self, spirit: SpiritId) -> Record:
        return self._records[spirit]

    def get(self, spirit: SpiritId) -> Record | None:
        """The record, or None once the spirit is gone."""
        return self._records.get(spirit)

    # ── who is there ──
    def enter(self, streak: int) -> Record:
        """A new spirit of the generation that is wanted, with a serial and a seat."""
        self._serial += 1
        seats = self._warm_seats or self._free_seats
        seats.sort(reverse=True)  # one pass: all but those given up since the last time are in order
        seat = seats.pop() if seats else len(self._records)
        record = Record(SpiritId(self._serial), seat, self._wanted, streak)
        self._records[record.spirit] = record
        self.tally.count(record, self._wanted, 1)
        return record

    def cool(self) -> None:
        """Another batch begins: a seat that nobody has taken by now is like any other free one."""
        self._free_seats, self._warm_seats = self._free_seats + self._warm_seats, []

    def want(self, generation: Generation) -> None:
        """Something else is wanted than before: everybody is counted anew."""
        self._wanted, self.tally = generation, Tally()
        for record in self._records.values():
            self.tally.count(record, generation, 1)

    def move(self, record: Record, move: Move, at: float, limit: float = NEVER) -> None:
        """Have it enter its next phase, at a time not after now, for at most ``limit``; the gone give up their seat."""
        self.tally.count(record, self._wanted, -1)
        if record.due == self._first_due:
            self._first_due = None
        record.move(move, at, NEVER)
        self.hasten(record, self._gaps.lived(at) + limit)
        self.tally.count(record, self._wanted, 1)
        self.moves[move] += 1
        if record.phase is Phase.GONE:
            del self._records[record.spirit]
            self._warm_seats.append(record.seat)

    # ── when ──
    @property
    def due(self) -> float:
        """When the first of all is due."""
        if self._first_due is None:
            self._first_due = min([record.due for record in self._records.values()], default=NEVER)
        return self._first_due + self._gaps.total

    def overdue(self, now: float) -> list[Record]:
        """Those whose phase has lasted for too long."""
        gaps = self._gaps.total
        return [record for record in self._records.values() if record.due + gaps <= now] if self.due <= now else []

    def hasten(self, record: Record, due: float) -> None:
        """Its phase must end by then, in lived time, if not sooner."""
        record.due = min(record.due, due)
        if self._first_due is not None:
            self._first_due = min(self._first_due, record.due)

    def hear(self, board: BoardRead, now: float) -> None:
        """Take in the last beats of those that work.

        A cell is written by its spirit, so it may say anything. Whoever is busy is looked at again no later than a beat
        of this moment would last: it may be busy no more at any time.
        """
        records, working, gaps, silence = self._records, Phase.READY, self._gaps, self._policy.silence
        again = gaps.lived(now) + silence
        for spirit, (beat, busy_until, _, _) in board.cells.items():
            record = records.get(spirit)
            if record is None or record.phase is not working:
                continue
            if beat > record.beat:
                record.beat = min(beat, now)
            spent = gaps.total if record.beat >= gaps.end else gaps.spent(record.beat)
            record.due = record.beat + silence - spent
            if busy_until - spent > record.due:
                record.due = min(busy_until - spent, again)
        self._first_due = None

    # ── the ladder ──
    def limit(self, seconds: float, now: float) -> float:
        """So many seconds, or what is left of the stop."""
        return min(seconds, max(self.stop_by - self._gaps.lived(now), 0.0))

    def leave(self, record: Record, reason: Reason, now: float) -> float:
        """It finishes and leaves: within so many seconds."""
        record.reason, limit = reason, self.limit(self._policy.graceful_timeout, now)
        self.move(record, Move.LEAVE, now, limit)
        return limit

    def ask(self, record: Record, reason: Reason, now: float) -> Ask:
        """It is to leave."""
        return Ask(record.spirit, reason, self.leave(record, reason, now))

    def rouse(self, record: Record, reason: Reason, silence: float, now: float) -> Rouse:
        """It is not believed to work."""
        record.reason, limit = reason, self.limit(self._policy.silent_timeout, now)
        self.move(record, Move.SILENCE, now, limit)
        return Rouse(record.spirit, reason, silence, limit)

    def kill(self, record: Record, reason: Reason, now: float) -> Kill:
        """It has had its time."""
        after, limit = now - record.since, self._policy.kill_timeout
        record.reason = reason
        self.move(record, Move.KILL, now, limit if self.stop_by == NEVER else min(limit, LAST_WAIT))
        return Kill(record.spirit, reason, after)

    def give_up(self, record: Record, reason: Reason, now: float) -> Abandon:
        """SIGKILL did not end it."""
        after = now - record.since
        self.move(record, Move.OUTLIVE, now)
        return Abandon(record.spirit, reason, after)
