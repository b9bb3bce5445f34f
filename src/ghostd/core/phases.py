"""The life of one spirit: its phases, the moves between them, and the record that the pool keeps of it.

Rule 1: everything that a spirit can be stands in ``Phase``, everything that can happen to it in ``Move``, and what is
not in ``MOVES`` raises. The diagram in docs/reference/states.md is drawn from this table.

Rule 2: every phase that has a process has a way out and a deadline (``Record.due``). Even SIGKILL has one: a process in
uninterruptible sleep outlives it, so after ``kill_timeout`` the spirit is LOST: reported, no longer counted, and still
reaped should it ever end. LOST is the one phase whose deadline is never, because nothing is left to try.

Why the two phases LEAVING and SILENT, which look alike: both were asked to quit, but a leaving spirit finishes its work
(``graceful_timeout``, and it takes part in the spare rule), while a silent one is not believed to work at all
(``silent_timeout``, and its seat was refilled when it was found).
"""

from __future__ import annotations

from enum import Enum

from ghostd.errors import IllegalMoveError
from ghostd.hints import TYPE_CHECKING, NewType
from ghostd.record import Mutable

if TYPE_CHECKING:
    from typing import Final

    from ghostd.core.actions import Reason

NEVER: Final = float("inf")  # the moment that does not come

SpiritId = NewType("SpiritId", int)
Generation = NewType("Generation", int)


class Phase(Enum):
    """Where a spirit is in its life."""

    SPAWNING = "spawning"  # ordered; there is no process yet
    BOOTING = "booting"  # a process that has not said ready
    READY = "ready"  # has said ready: works
    LEAVING = "leaving"  # finishes what it has in hand
    SILENT = "silent"  # gave no sign of life in time; asked to quit
    KILLED = "killed"  # was sent SIGKILL
    LOST = "lost"  # outlived SIGKILL
    GONE = "gone"  # reaped, or never born


class Move(Enum):
    """What happens to a spirit."""

    FORK = "forked"
    MISCARRY = "fork failed"
    READY = "said ready"
    LEAVE = "asked to quit, or said that it leaves"
    SILENCE = "found silent, or too slow to boot"
    KILL = "sent SIGKILL"
    OUTLIVE = "outlived SIGKILL"
    EXIT = "ended"


_MAY_BE_KILLED: Final = {Move.KILL: Phase.KILLED, Move.EXIT: Phase.GONE}
_MAY_BE_ASKED: Final = {Move.LEAVE: Phase.LEAVING, Move.SILENCE: Phase.SILENT, **_MAY_BE_KILLED}

MOVES: Final[dict[Phase, dict[Move, Phase]]] = {
    Phase.SPAWNING: {Move.FORK: Phase.BOOTING, Move.MISCARRY: Phase.GONE},
    Phase.BOOTING: {Move.READY: Phase.READY, **_MAY_BE_ASKED},
    Phase.READY: _MAY_BE_ASKED,
    Phase.LEAVING: _MAY_BE_KILLED,
    Phase.SILENT: _MAY_BE_KILLED,
    Phase.KILLED: {Move.OUTLIVE: Phase.LOST, Move.EXIT: Phase.GONE},
    Phase.LOST: {Move.EXIT: Phase.GONE},
    Phase.GONE: {},
}

SERVING: Final = (Phase.SPAWNING, Phase.BOOTING, Phase.READY)  # holds, or will hold, a place in the pool


class Record(Mutable):
    """What the pool knows of one spirit. Times are monotonic seconds."""

    spirit: SpiritId
    seat: int
    generation: Generation
    streak: int  # early deaths in a row that led to this spirit
    phase: Phase = Phase.SPAWNING
    born: float = 0.0  # when it was forked
    since: float = 0.0  # when it came into its phase
    due: float = NEVER  # when its phase must end, in lived time (gaps.py)
    beat: float = 0.0  # its last beat that was read
    worn_at: float = NEVER  # from when on it is to be replaced
    is_retired: bool = False  # its replacement is under way, or was
    reason: Reason | None = None  # why it is leaving, silent or killed

    def move(self, move: Move, now: float, due: float = NEVER) -> None:
        """Enter the phase that MOVES has for this move, which must end by ``due`` in lived time."""
        after = MOVES[self.phase].get(move)
        if after is None:
            raise IllegalMoveError(f"spirit {self.spirit} ({self.phase.value}): {move.value}")
        self.phase, self.since, self.due = after, now, due
