"""The twenty kinds of fault, what each may excuse, and the order in which a seed deals them.

Rule: what is not in a row's excuses must not happen because of that fault. A reload excuses nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MILL: Final = "mill"
WEB: Final = "web"
GHOSTS: Final = (MILL, WEB)

# Seconds. A spirit that is stopped is found silent after the first two together.
INTERVAL: Final = 1.0
TIMEOUT: Final = 3.0
SILENCE: Final = INTERVAL + TIMEOUT


class Excuse(Enum):
    """What may happen because of a fault."""

    LOST = "a request lost"
    STALE = "a kept connection closed before its next request was read"
    REFUSED = "a connection refused"
    OUTAGE = "an outage"
    SILENT = "a spirit without a heartbeat"
    SLOW_LEAVE = "a spirit that does not leave in time"
    DEATH = "a death that nobody ordered"
    END = "the end of the manager"
    NO_START = "a start that is refused"


E = Excuse


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: how long it lasts, what it may excuse, and against which ghosts it makes sense."""

    hold: float
    excuses: frozenset[Excuse] = frozenset()
    ghosts: tuple[str, ...] = GHOSTS


def _kind(hold: float, *excuses: Excuse, ghosts: tuple[str, ...] = GHOSTS) -> Kind:
    return Kind(hold, frozenset(excuses), ghosts)


KINDS: Final[dict[str, Kind]] = {
    "kill a spirit": _kind(0.3, E.LOST, E.DEATH),
    "stop a spirit": _kind(SILENCE + 1.5, E.LOST, E.DEATH, E.SILENT, E.SLOW_LEAVE, E.OUTAGE),
    "pause a spirit": _kind(SILENCE / 2, E.OUTAGE, E.SLOW_LEAVE),  # stopped, and continued before the limit
    "terminate a spirit": _kind(0.3, E.LOST, E.DEATH),
    "kill all spirits": _kind(0.3, E.LOST, E.DEATH, E.OUTAGE),
    "kill the manager": _kind(0.3, E.LOST, E.REFUSED, E.DEATH, E.END, E.OUTAGE),
    "pause the manager": _kind(SILENCE + 1.0),
    "terminate the manager": _kind(0.5, E.REFUSED, E.END, E.OUTAGE),
    "reload": _kind(0.5),
    "scale": _kind(1.0),
    "rotate the log": _kind(0.3),
    # As long as a server keeps an idle connection: it finds that out before it reads what came meanwhile.
    "freezer": _kind(SILENCE + 1.0, E.STALE, E.OUTAGE),
    "processor quota": _kind(SILENCE + 1.0, E.STALE, E.OUTAGE, E.SLOW_LEAVE, E.NO_START),
    "memory limit": _kind(2.0, E.LOST, E.REFUSED, E.DEATH, E.END, E.OUTAGE, E.NO_START),
    "process limit": _kind(2.0, E.LOST, E.DEATH, E.NO_START),  # with a spirit killed
    "full disk": _kind(2.0, E.NO_START),
    # Those that are made meanwhile have it, too: when all have, what nobody could take in a second is closed unread.
    "descriptor limit": _kind(2.0, E.LOST, E.OUTAGE),
    "clock step": _kind(2.0, ghosts=(WEB,)),
    "slow clients": _kind(3.0, E.SLOW_LEAVE, ghosts=(WEB,)),
    "idle clients": _kind(2.0, ghosts=(WEB,)),
}


# What follows from a manager that was hit before its pool was ever whole: it ends, with a code that says so.
UNBORN: Final = "a start that came to nothing"
MORE: Final = {UNBORN: _kind(0.0, E.LOST, E.STALE, E.REFUSED, E.OUTAGE)}


def excuses_of(kind: str) -> frozenset[Excuse]:
    """What a fault of this kind may excuse."""
    found = (KINDS | MORE)[kind].excuses
    return found | {E.STALE} if E.LOST in found else found


# Not in the same round: the kernel drops TTIN and TTOU that wait for a process as it is continued (POSIX, signal
# concepts), so that nobody could say how many spirits are wanted.
APART: Final = ("scale", "pause the manager")


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault that is due so many seconds into its round; ``pick`` in [0, 1) chooses whatever is left to choose."""

    kind: str
    offset: float
    pick: float

    @property
    def end(self) -> float:
        return self.offset + KINDS[self.kind].hold


def plan(seed: int, ghost: str) -> Iterator[list[Planned]]:
    """Rounds without an end: mostly one fault, at times up to three at once; each kind comes once in a deck."""
    chance = random.Random(f"{seed} {ghost}")
    deck: list[str] = []
    while True:
        size = chance.choice((1, 1, 1, 2, 3))
        if len(deck) < size:
            fresh = [kind for kind in KINDS if ghost in KINDS[kind].ghosts and kind not in deck]
            chance.shuffle(fresh)
            deck += fresh
        drawn, deck = deck[:size], deck[size:]
        if set(APART) <= set(drawn):
            drawn.remove(APART[0])
            deck.insert(0, APART[0])
        yield [Planned(kind, chance.uniform(0.0, 1.5) if at else 0.0, chance.random()) for at, kind in enumerate(drawn)]
