"""What a spirit costs in memory, by itself and in its manager."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from bench import procs
from bench.pools import BarePool, GhostPool, Pool, Task
from bench.report import Figure, Spread, compared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench

FEW, MANY = 4, 260
KIB = 1024
MOST_GROWTH_KIB = 4.0


def measure(bench: Bench) -> Iterator[Figure]:
    """Read the memory of pools of two sizes after some seconds of ticking."""
    sides = (GhostPool, BarePool)
    with contextlib.ExitStack() as stack:
        few = [stack.enter_context(side(Task(FEW))) for side in sides]
        many = [stack.enter_context(side(Task(MANY))) for side in sides]
        time.sleep(bench.pick(3.0, 10.0))
        ours, theirs = ([procs.private_bytes(pid) / KIB for pid in pool.lives] for pool in many)
        growth = [_growth(small, large) for small, large in zip(few, many, strict=True)]
        sizes = [[procs.anonymous_bytes(pool.manager) / KIB] for pool in few]
    yield compared("private memory a spirit", "KiB", ours, theirs, 1.3)
    yield Figure(
        name="manager's heap a spirit", unit="KiB", measured=Spread.of([growth[0]]), baseline=Spread.of([growth[1]]),
        goal=f"< {MOST_GROWTH_KIB:g} KiB", met=growth[0] < MOST_GROWTH_KIB, note=f"from {FEW} to {MANY} spirits",
    )  # fmt: skip
    yield compared(f"manager's heap, {FEW} spirits", "KiB", sizes[0], sizes[1])


def _growth(small: Pool, large: Pool) -> float:
    grown = procs.anonymous_bytes(large.manager) - procs.anonymous_bytes(small.manager)
    return grown / KIB / (MANY - FEW)
