"""The processes of the spirits that live: their handles, their cells on the board, and what was last seen there.

The manager trusts nothing that it reads in a cell: pids, phases and deadlines are its own, and the worst a spirit can
do is look hung or alive itself.
"""

from __future__ import annotations

import os

from ghostd.core.events import BoardRead, Event, Exited, Left, Readied, Worn
from ghostd.core.phases import NEVER
from ghostd.exits import Exit
from ghostd.hints import TYPE_CHECKING
from ghostd.linux.board import FOR_EVER, Board
from ghostd.linux.child import Child, decode
from ghostd.linux.page import BEAT, BEGUN, LEAVING, READY, WORN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ghostd.core.actions import Spawn
    from ghostd.core.phases import SpiritId
    from ghostd.engine.sources import Poller
    from ghostd.linux.board import Cell


class Member:
    """One living spirit's process."""

    __slots__ = ("beat", "child", "generation", "last_words", "lost", "seat", "seen", "spirit")

    def __init__(self, order: Spawn, child: Child) -> None:
        self.spirit: SpiritId = order.spirit
        self.seat = order.seat
        self.generation = order.generation
        self.child = child
        self.seen = 0  # state bits that were told to the pool
        self.beat = 0.0  # the last beat that the heartbeat hook was told of
        self.last_words = ""  # the traceback that it died of, as it says
        self.lost = 0  # connections and requests that it had in hand when it ended, as it says

    def __str__(self) -> str:
        lost = f", {self.lost} in hand" if self.lost else ""
        return f"spirit {self.spirit}, seat {self.seat}{lost}"


class Crew:
    """The members by serial. Who ended stays until the pool orders the burial."""

    def __init__(self, board: Board, poller: Poller, *, use_pidfd: bool = True, settle: float = 0.0) -> None:
        """``settle``: how long who cannot say that it is ready must have run to be so, in seconds."""
        self._board = board
        self._poller = poller
        self._use_pidfd = use_pidfd
        self._settle = settle
        self._settling: dict[SpiritId, float] = {}  # when each will be ready
        self._members: dict[SpiritId, Member] = {}
        self._ended: dict[SpiritId, Member] = {}
        self._seats: dict[int, SpiritId] = {}
        self._unwatched: dict[SpiritId, Member] = {}  # no descriptor tells of their end

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    def get(self, spirit: SpiritId) -> Member:
        """The member, living or just ended."""
        return self._members.get(spirit) or self._ended[spirit]

    def alive(self, spirit: SpiritId) -> Member | None:
        """The member if its process was not seen to end."""
        return self._members.get(spirit)

    def is_taken(self, seat: int) -> bool:
        """Whether a living spirit has this seat."""
        return seat in self._seats

    def pids(self) -> set[int]:
        """The processes that are not reaped yet."""
        return {member.child.pid for member in self._members.values()}

    def add(self, order: Spawn, pid: int) -> Member:
        """A process was made for this order."""
        member = Member(order, Child(pid, use_pidfd=self._use_pidfd))
        self._members[order.spirit] = member
        self._seats[member.seat] = member.spirit
        if member.child.fileno() >= 0:
            self._poller.watch(member.child.fileno(), self._end_of(member))
        else:
            self._unwatched[order.spirit] = member
        return member

    def bury(self, spirit: SpiritId) -> Member:
        """Give back what was held for a spirit that ended."""
        return self._ended.pop(spirit)

    # ── gathering ──
    def read_bell(self, now: float) -> Iterable[Event]:
        """Somebody rang: who is ready, who leaves, who is worn?"""
        states = self._board.read_states()
        for member in self._members.values():
            if states[member.seat] != member.seen:
                yield from self._state_of(member, states[member.seat], now)

    def read_board(self, now: float) -> BoardRead:
        """The last beat of everybody, and what is in hand."""
        read = self._board.read_cells()
        cells = {spirit: _believed_cell(read[member.seat]) for spirit, member in self._members.items()}
        return BoardRead(cells, now)

    @property
    def next_settled(self) -> float:
        """When the next one is ready that cannot say so."""
        return next(iter(self._settling.values()), NEVER)  # they stand in the order of their times

    def read_settled(self, now: float) -> Iterable[Event]:
        """Those that cannot say that they are ready, and have run for long enough. Asked when their time has come."""
        for spirit in [spirit for spirit, at in self._settling.items() if at <= now]:
            del self._settling[spirit]
            yield Readied(spirit, now)

    def fresh_pids(self) -> list[int]:
        """The pids of those that have beaten since this was last asked."""
        cells = self._board.read_cells()
        fresh = []
        for member in self._members.values():
            beat = _believed(cells[member.seat][BEAT])
            if beat > member.beat:
                member.beat = beat
                fresh.append(member.child.pid)
        return fresh

    def read_unwatched(self, now: float) -> Iterable[Event]:
        """The ends of those that no descriptor tells of. Asked at each SIGCHLD and whenever a deadline has come."""
        for member in list(self._unwatched.values()):
            yield from self._reaped(member, now)

    def _end_of(self, member: Member) -> Callable[[float], Iterable[Event]]:
        return lambda now: self._reaped(member, now)

    def _reaped(self, member: Member, now: float) -> Iterable[Event]:
        status = member.child.reap()
        if status is None:
            return
        fd = member.child.fileno()
        if fd >= 0:
            self._poller.forget(fd)
        member.child.close()
        member.last_words = self._board.read_text(member.seat)
        member.lost = self._board.read_cell(member.seat)[2]
        del self._members[member.spirit]
        if self._seats.get(member.seat) == member.spirit:
            del self._seats[member.seat]
        self._unwatched.pop(member.spirit, None)
        self._ended[member.spirit] = member
        yield from self._state_of(member, self._board.read_state(member.seat), now)  # it may have said so just before
        self._settling.pop(member.spirit, None)
        yield Exited(member.spirit, Exit(*decode(status)), now)

    def _state_of(self, member: Member, state: int, now: float) -> Iterable[Event]:
        told = state & ~member.seen
        member.seen |= state & (READY | LEAVING | WORN | BEGUN)
        if told & BEGUN:
            self._settling[member.spirit] = now + self._settle
        if told & READY:
            self._settling.pop(member.spirit, None)
            yield Readied(member.spirit, now)
        if told & LEAVING:
            yield Left(member.spirit, now)
        if told & WORN:
            yield Worn(member.spirit, now)


def _believed_cell(cell: Cell) -> Cell:
    """A cell as a spirit wrote it, who may have written anything: what is no moment says nothing."""
    beat, busy_until, in_flight, served = cell
    if 0.0 <= beat <= FOR_EVER and 0.0 <= busy_until <= FOR_EVER:  # so no NaN gets through
        return cell
    return _believed(beat), _believed(busy_until), in_flight, served


def _believed(moment: float) -> float:
    return moment if 0.0 <= moment <= FOR_EVER else 0.0


def reap_adopted(own: set[int]) -> int:
    """As PID 1 or a subreaper: reap orphans that ended, and no child of ours. Returns how many."""
    count = 0
    while True:
        try:
            peeked = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return count
        if peeked is None or peeked.si_pid in own:
            return count  # ours are reaped through their handles first; the rest comes at the next SIGCHLD
        os.waitpid(peeked.si_pid, 0)
        count += 1
