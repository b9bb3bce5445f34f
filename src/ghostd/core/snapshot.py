"""A frozen view of a pool at one moment: the one thing that status, metrics and dashboards read."""

from __future__ import annotations

from enum import Enum

from ghostd.core.phases import Move
from ghostd.hints import TYPE_CHECKING
from ghostd.record import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ghostd.core.events import Cell
    from ghostd.core.phases import Generation, Phase, Record, SpiritId


class State(Enum):
    """What the pool as a whole is doing."""

    STARTING = "starting"  # has never been whole
    WHOLE = "whole"
    SHORT = "short"  # fewer ready than wanted; replacements are under way
    DEGRADED = "degraded"  # keeps losing spirits early
    RELOADING = "reloading"
    STOPPING = "stopping"
    STOPPED = "stopped"


class SpiritView(Frozen):
    """One spirit. Times in seconds."""

    spirit: SpiritId
    seat: int
    generation: Generation
    phase: Phase
    age: float  # since the fork
    silence: float  # since the last beat that the manager has read
    in_flight: int = 0  # connections or requests in hand, and those that were finished, where the spirit counts them
    served: int = 0


def view(record: Record, cell: Cell, now: float) -> SpiritView:
    """One record as a reader may see it, with what its spirit has written on the board."""
    beat = max(record.beat, min(cell[0], now))
    age, silence = (now - at if at else 0.0 for at in (record.born, beat))
    return SpiritView(record.spirit, record.seat, record.generation, record.phase, age, silence, *cell[2:])


class Totals(Frozen):
    """What has happened since the pool began."""

    forked: int = 0
    failed_forks: int = 0
    ended: int = 0
    early_deaths: int = 0
    silenced: int = 0
    killed: int = 0
    lost: int = 0
    reloads: int = 0
    failed_reloads: int = 0


def totals(moves: Mapping[Move, int], early_deaths: int, reloads: int, failed_reloads: int) -> Totals:
    """What has happened, of the moves that were made."""
    lives = moves[Move.FORK], moves[Move.MISCARRY], moves[Move.EXIT]
    steps = moves[Move.SILENCE], moves[Move.KILL], moves[Move.OUTLIVE]
    return Totals(*lives, early_deaths, *steps, reloads, failed_reloads)


class Snapshot(Frozen):
    """The pool at one moment."""

    state: State
    wanted: int
    ready: int  # have said ready, are not leaving, and were not found silent
    generation: Generation
    spirits: tuple[SpiritView, ...]  # by seat
    totals: Totals
