"""What becomes of memory that is loaded once before the fork: the sum of PSS of manager and spirits.

Rule: the baseline is the same pool just after the fork. Then each spirit collects all garbage three times, which writes
to every object that its collector knows.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, ClassVar

from bench import procs, witness
from bench.peers import PeerPool
from bench.pools import ForegroundPool, Pool, Task
from bench.report import Figure, compared, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench

SIZE = 8
MOST_GROWTH = 1.05
LIMIT = 120.0
MIB = 1 << 20


class Loaded(Pool):
    """A pool whose manager holds a model."""

    def __init__(self, megabytes: float, **options: object) -> None:
        super().__init__(Task(SIZE, work="collecting", period=0.05, options=options), wait=LIMIT)
        self.megabytes = megabytes

    def environment(self) -> dict[str, str]:
        """Return the environment of the command."""
        return {**super().environment(), "BENCH_MB": str(self.megabytes)}

    def fair_megabytes(self) -> float:
        """PSS of manager and spirits."""
        return sum(procs.fair_bytes(pid) for pid in (self.manager, *self.lives)) / MIB

    def collect(self) -> None:
        """Have each spirit collect, and wait until all have."""
        table = witness.open_table(str(self.folder))
        for pid in list(self.lives):
            table[pid * witness.WORDS + 1] = witness.Order.COLLECT
        self.wait_lives(SIZE, LIMIT)


class GhostHolder(Loaded, ForegroundPool):
    """Of ghostd: the model is loaded in ``init``."""


class GunicornHolder(Loaded, PeerPool):
    """Of gunicorn with --preload."""

    side, function, package = "gunicorn", "gunicorn_preloaded", "gunicorn"
    kills: ClassVar[tuple[int, int]] = (0, 0)


def measure(bench: Bench) -> Iterator[Figure]:
    """Measure ghostd, ghostd that does not freeze, and gunicorn."""
    megabytes = bench.pick(60.0, 300.0)
    rounds = bench.pick(1, 3)
    what = f"{megabytes:g} MB of dicts, {SIZE} spirits"
    note = "sum of PSS after three collections in each spirit; the baseline is the same pool after the fork"
    before, after = _grown([GhostHolder(megabytes) for _ in range(rounds)])
    yield compared(f"preload, {what}", "MB", after, before, MOST_GROWTH, note=note)
    before, after = _grown([GhostHolder(megabytes, freeze=False)])
    yield compared(f"preload without freeze, {what}", "MB", after, before)
    if importlib.util.find_spec("gunicorn") is None:
        yield missing(f"gunicorn: preload, {what}", "not installed: pip install 'ghostd[bench]'")
        return
    before, after = _grown([GunicornHolder(megabytes) for _ in range(rounds)])
    yield compared(f"gunicorn: preload, {what}", "MB", after, before, subject="gunicorn")


def _grown(pools: list[Loaded]) -> tuple[list[float], list[float]]:
    before, after = [], []
    for pool in pools:
        with pool:
            before.append(pool.fair_megabytes())
            pool.collect()
            after.append(pool.fair_megabytes())
    return before, after
