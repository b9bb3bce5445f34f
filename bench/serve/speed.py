"""Requests a second and the slowest hundredth, hello world on kept connections: all servers of an interface by turns.

All of them are up for the whole run and idle but in their turn; a ratio is the median of those of the rounds.
"""

from __future__ import annotations

import contextlib
import statistics
from typing import TYPE_CHECKING

from bench.harness import interleave
from bench.report import Figure, Spread
from bench.serve.load import wrk
from bench.serve.servers import Served, Server, here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench
    from bench.serve.load import Speed


def measure(bench: Bench, app: str, least: float, rivals: str = "") -> Iterator[Figure]:
    """Compare each of ours with the best peer, or the best of those whose names begin so."""
    ours, peers = here(app)
    ran: dict[Server, list[Speed]] = {one: [] for one in (*ours, *peers)}

    def run(served: Served) -> float:
        speed = wrk(served.address, bench.pick(1.0, 4.0))
        ran[served.server].append(speed)
        return speed.rate

    with contextlib.ExitStack() as stack:
        pools = [stack.enter_context(Served(one)) for one in ran]
        interleave(bench.pick(1, 9), *(lambda served=served: run(served) for served in pools))
    best = max((one for one in peers if one.name.startswith(rivals)), key=lambda one: _median(ran[one]))
    for one, speeds in ran.items():
        ratio = statistics.median(a.rate / b.rate for a, b in zip(speeds, ran[best], strict=True))
        p99 = statistics.median(speed.p99 for speed in speeds)
        errors = {speed.errors for speed in speeds if speed.errors}
        yield Figure(
            name=f"hello world, {one.label}", unit="/s", subject="ghostd" if one.is_ours else one.label,
            measured=Spread.of(speed.rate for speed in speeds), against=best.label,
            baseline=Spread.of(speed.rate for speed in ran[best]), ratio=ratio,
            goal=f">= {least:g} x {best.label}" if one.is_ours else "", met=ratio >= least if one.is_ours else None,
            note=f"p99 {p99:.3g} ms {'; '.join(errors)}{'; one process' if one.is_single else ''}",
        )  # fmt: skip


def _median(speeds: list[Speed]) -> float:
    return statistics.median(speed.rate for speed in speeds)
