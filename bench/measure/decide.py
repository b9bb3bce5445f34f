"""What the pool's own decisions cost, without a process: a death, a reading of the board, an idle wake-up."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from bench.report import Figure, Spread
from ghostd.core.actions import Spawn
from ghostd.core.events import BoardRead, Exited, Forked, Readied
from ghostd.core.phases import SpiritId
from ghostd.core.policy import Policy
from ghostd.core.pool import Pool
from ghostd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.harness import Bench
    from ghostd.core.actions import Action
    from ghostd.core.events import Event

SIZES = (4, 64, 1000)
EVERY = 5.0  # virtual seconds between two deaths


def measure(bench: Bench) -> Iterator[Figure]:
    """Lead pools of all sizes through the same life."""
    found = {size: _life(size, bench.pick(30, 200)) for size in SIZES}
    for name, goal in (("a death, replaced", 2.0), ("an idle wake-up", 2.0), ("a reading of the board", None)):
        for size in SIZES:
            ours, base = found[size][name], found[SIZES[0]][name]
            ratio = statistics.median(ours) / statistics.median(base)
            yield Figure(
                name=f"{name}, {size} spirits", unit="us", measured=Spread.of(ours), baseline=Spread.of(base),
                against=f"ghostd, {SIZES[0]} spirits", ratio=ratio, goal="" if goal is None else f"<= {goal:g} x",
                met=None if goal is None else ratio <= goal,
            )  # fmt: skip


def _life(size: int, rounds: int) -> dict[str, list[float]]:
    """Return the costs in microseconds, by what they are of."""
    now = 0.0
    pool = Pool(Policy(spirits=size), now)
    living = [order.spirit for order in pool.handle([], now) if isinstance(order, Spawn)]
    pool.handle([Forked(spirit, now) for spirit in living], now)
    pool.handle([Readied(spirit, now) for spirit in living], now)
    costs: dict[str, list[float]] = {"a death, replaced": [], "an idle wake-up": [], "a reading of the board": []}
    for _ in range(rounds):
        now += EVERY
        cells = {spirit: (now - at * 1e-3, 0.0, 0, 0) for at, spirit in enumerate(living)}
        costs["a reading of the board"].append(_timed(pool, [BoardRead(cells, now)], now)[0])
        costs["an idle wake-up"].append(_timed(pool, [], now)[0])
        took, orders = _timed(pool, [Exited(living.pop(0), Exit(code=0), now)], now)
        (new,) = [order.spirit for order in orders if isinstance(order, Spawn)]
        for event in (Forked(new, now), Readied(new, now)):
            took += _timed(pool, [event], now)[0]
        costs["a death, replaced"].append(took)
        living.append(SpiritId(new))
    return costs


def _timed(pool: Pool, events: Sequence[Event], now: float) -> tuple[float, list[Action]]:
    began = time.perf_counter()
    orders = pool.handle(events, now)
    return (time.perf_counter() - began) * 1e6, orders
