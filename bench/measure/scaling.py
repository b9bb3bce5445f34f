"""Requests lost while the pool grows and shrinks under load."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.serve.losses import Run
from bench.serve.servers import OURS, PEERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.harness import Bench
    from bench.report import Figure
    from bench.serve.servers import Served

FEW, MANY = 2, 16
RATE = 200.0


def measure(bench: Bench) -> Iterator[Figure]:
    """Scale the default servers often, others less often."""
    for one in OURS[:3]:
        for keep in bench.pick((True,), (True, False)):
            yield _scaled(Run(one, keep_alive=keep), bench.pick(2, 50))
    for one in bench.pick((), (*OURS[3:], *PEERS)):
        if one.scales and one.is_here:
            yield _scaled(Run(one, keep_alive=False), 5)


def _scaled(run: Run, count: int) -> Figure:
    return run.under_load(RATE, _scale(count)).figure(f"{count} times {FEW} to {MANY} and back")


def _scale(count: int) -> Callable[[Served, Run], None]:
    def act(served: Served, run: Run) -> None:
        for _ in range(count):
            began = time.monotonic()
            served.scale(MANY)
            served.scale(FEW)
            run.took.append((time.monotonic() - began) * 1e3)

    return act
