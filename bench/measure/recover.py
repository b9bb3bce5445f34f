"""From the SIGKILL of a spirit to the first tick of its replacement."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from bench.harness import Bench, interleave
from bench.pools import BarePool, GhostPool, Task
from bench.report import Figure, Spread, compared

if TYPE_CHECKING:
    from collections.abc import Iterator

AGE = 1.1  # seconds: past ghostd's ``young``, so that no death counts as an early one
FEW, SOME, MANY = 4, 64, 1000
PERIOD = 5.0  # heartbeat_interval: what an honest spirit does, and little noise on two cores


def measure(bench: Bench) -> Iterator[Figure]:
    """Kill random spirits in pools of three sizes, by turns."""
    rounds = {FEW: bench.pick(30, 200), SOME: bench.pick(100, 400), MANY: bench.pick(100, 400)}
    medians = {}
    for size, count in rounds.items():
        ghostd, bare = sample(bench, size, count)
        yield compared(f"recover, {size} spirits", "ms", ghostd, bare, 1.8)
        ours, theirs = Spread.of(ghostd), Spread.of(bare)
        medians[size] = ours.median
        ratio = ours.p99 / theirs.p99
        yield Figure(
            name=f"recover p99, {size} spirits", unit="ms", measured=Spread.of([ours.p99]),
            baseline=Spread.of([theirs.p99]), ratio=ratio, goal="<= 3 x", met=ratio <= 3,
        )  # fmt: skip
    ratio = medians[MANY] / medians[FEW]
    yield Figure(
        name=f"recover, {MANY} to {FEW}", unit="ms", measured=Spread.of([medians[MANY]]),
        baseline=Spread.of([medians[FEW]]), against=f"ghostd, {FEW} spirits", ratio=ratio,
        goal="<= 2 x", met=ratio <= 2,
        note=f"the baseline is ghostd's own median at {FEW}",
    )  # fmt: skip


def sample(bench: Bench, size: int, count: int) -> tuple[list[float], list[float]]:
    """Return the recoveries of ghostd and of the bare manager, in milliseconds."""
    with contextlib.ExitStack() as stack:
        task = Task(size, period=PERIOD)
        pools = [stack.enter_context(side(task)) for side in (GhostPool, BarePool)]
        ghostd, bare = (lambda pool=pool: pool.kill_one(bench.chance, AGE, 10.0) * 1e3 for pool in pools)
        return interleave(count, ghostd, bare)  # type: ignore[return-value]
