"""Short words for histories: events with their times, and pools that have come to a certain point.

Rule: a test tells a history and states the orders; it never looks into a pool.
"""

from collections.abc import Sequence
from typing import Any

from ghostd.core import actions as do
from ghostd.core import events as fact
from ghostd.core.actions import Action, News
from ghostd.core.events import BoardRead, Event
from ghostd.core.phases import Generation, SpiritId
from ghostd.core.policy import Policy
from ghostd.core.pool import Pool
from ghostd.exits import Exit

CLEAN = Exit(code=0)
FAILED = Exit(code=1)
SEGFAULT = Exit(signal=11, dumped_core=True)
BY_KILL = Exit(signal=9)

SILENCE = 55.0  # seconds: heartbeat_interval + heartbeat_timeout, as by default


def pool(spirits: int = 2, spare: int = 1, **options: Any) -> Pool:  # noqa: ANN401  any option of Policy
    return Pool(Policy(spirits=spirits, spare=spare, **options), 0.0)


def whole(spirits: int = 2, spare: int = 1, **options: Any) -> Pool:  # noqa: ANN401
    """A pool whose spirits, from 1 on, were forked at 0 and are ready at 0."""
    made = pool(spirits, spare, **options)
    made.handle([], 0.0)
    made.handle([forked(spirit) for spirit in range(1, spirits + 1)], 0.0)
    made.handle([readied(spirit) for spirit in range(1, spirits + 1)], 0.0)
    return made


def doze(made: Pool, at: float, until: float) -> float:
    """Nothing happens, and it wakes whenever it had meant to: when it means to next, which is not before ``until``."""
    planned = made.deadline(at)
    while planned is not None and planned < until:
        made.handle([], planned)
        planned = made.deadline(planned)
    assert planned is not None
    return planned


# ── events ──
def forked(spirit: int, at: float = 0.0) -> fact.Forked:
    return fact.Forked(SpiritId(spirit), at)


def fork_failed(spirit: int, at: float = 0.0) -> fact.ForkFailed:
    return fact.ForkFailed(SpiritId(spirit), "fork: EAGAIN", at)


def readied(spirit: int, at: float = 0.0) -> fact.Readied:
    return fact.Readied(SpiritId(spirit), at)


def left(spirit: int, at: float = 0.0) -> fact.Left:
    return fact.Left(SpiritId(spirit), at)


def exited(spirit: int, at: float, exit_: Exit = CLEAN) -> fact.Exited:
    return fact.Exited(SpiritId(spirit), exit_, at)


def read(
    at: float,
    beats: dict[int, float] | None = None,
    busy: dict[int, float] | None = None,
    in_flight: dict[int, int] | None = None,
) -> BoardRead:
    """The board at a moment: the last beat of each spirit, until when some are busy, and what some have in hand."""
    until, hands = busy or {}, in_flight or {}
    cells = {SpiritId(s): (last, until.get(s, 0.0), hands.get(s, 0), 0) for s, last in (beats or {}).items()}
    return BoardRead(cells, at)


def worn(spirit: int, at: float = 0.0) -> fact.Worn:
    return fact.Worn(SpiritId(spirit), at)


def stop(at: float, *, graceful: bool = True) -> fact.StopAsked:
    return fact.StopAsked(graceful, at)


# ── orders ──
def of(kind: type[Action], orders: Sequence[Action]) -> list[int]:
    """The serials of the spirits that an order of this kind was given for."""
    return [int(order.spirit) for order in orders if isinstance(order, kind)]  # type: ignore[union-attr]


def seats(orders: Sequence[Action]) -> list[int]:
    return [order.seat for order in orders if isinstance(order, do.Spawn)]


def generations(orders: Sequence[Action]) -> list[Generation]:
    return [order.generation for order in orders if isinstance(order, do.Spawn)]


def news(orders: Sequence[Action]) -> list[News]:
    return [order.news for order in orders if isinstance(order, do.Announce)]


def due(made: Pool, now: float) -> float:
    """The deadline, which must be there."""
    deadline = made.deadline(now)
    assert deadline is not None
    return deadline


def settle(made: Pool, orders: Sequence[Action], now: float) -> list[Action]:
    """Do at once what was ordered, until nothing is left: forks succeed and are ready, whoever is asked ends."""
    told: list[Action] = list(orders)
    while orders:
        events: list[Event] = []
        for order in orders:
            match order:
                case do.Spawn():
                    events += [forked(order.spirit, now), readied(order.spirit, now)]
                case do.Ask() | do.Rouse():
                    events.append(exited(order.spirit, now))
                case do.Kill():
                    events.append(exited(order.spirit, now, BY_KILL))
        orders = made.handle(events, now) if events else []
        told += orders
    return told
