"""Requests lost in reloads under load, on TCP and on a unix socket, on kept connections and on one for each request.

The pace gives the full form more than a million requests in all.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from bench.report import Figure, Spread, compared
from bench.serve.losses import Run, reload
from bench.serve.servers import BARE, OURS, How, chosen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench
    from bench.serve.servers import Server

RATE = 1000.0
PACE = 0.9  # seconds from one to the next, at least
FORMS = tuple(product((False, True), (True, False)))  # unix, keep-alive
DEFAULTS = OURS[:3]  # ASGI, WSGI, stream
GENTLE = 200.0  # requests a second, at which ours stand beside the peers
RELOADED = 10
SLOW = {"granian": 2}  # 14 s for each
KEEP_NONE = ("unicorn", "gunicorn/sync")
MOST = 2.0  # times what the bare manager takes, which loads as much in its children


def measure(bench: Bench) -> Iterator[Figure]:
    """Reload the default servers a hundred times in each form; then all, more gently, ours beside the peers."""
    if not bench.servers:
        yield from _often(bench)
    quick = (*(one.name for one in DEFAULTS), "unicorn", "gunicorn/uvicorn")
    for one in chosen(bench, quick):
        if one.reloads:
            yield from _gently(bench, one)
    for ours, bare in zip(DEFAULTS, BARE, strict=True):
        if not bench.servers or ours.name in bench.servers:
            yield _time(bench, ours, bare)


def _often(bench: Bench) -> Iterator[Figure]:
    runs = [Run(one, How(is_unix=unix), keep) for one in DEFAULTS for unix, keep in bench.pick(FORMS[:1], FORMS)]
    for run in runs:
        count = bench.pick(5, 100)
        run.under_load(bench.pick(GENTLE, RATE), reload(count, bench.pick(0.0, PACE)))
        yield run.figure(f"{count} reloads")
    yield _sum(runs)


def _sum(runs: list[Run]) -> Figure:
    answered, lost = (sum(one) for one in zip(*((run.outcome.answered, run.outcome.lost) for run in runs), strict=True))
    reloads = sum(len(run.took) for run in runs)
    return Figure(
        name="requests in all of these", unit="", measured=Spread.of([answered + lost]),
        headline=f"{lost} of {answered + lost:,} requests lost in {reloads:,} reloads",
    )  # fmt: skip


def _gently(bench: Bench, one: Server) -> Iterator[Figure]:
    count = bench.pick(3, SLOW.get(one.name, RELOADED))
    for keep in bench.pick((False,), (True, False)):
        if one.name not in KEEP_NONE or not keep:
            run = Run(one, keep_alive=keep).under_load(GENTLE, reload(count, 0.0))
            yield run.figure(f"{count} reloads at {GENTLE:g}/s")


def _time(bench: Bench, ours: Server, bare: Server) -> Figure:
    """By turns: what one costs is what the other finds."""
    took: dict[Server, list[float]] = {ours: [], bare: []}
    why = ""
    for _ in range(bench.pick(1, 3)):
        for one, times in took.items():
            run = Run(one, keep_alive=False).under_load(GENTLE, reload(bench.pick(3, RELOADED), 0.0))
            times.extend(run.took)
            why = why or run.why
    name = f"time a reload, {ours.label}"
    if why:
        return Figure(name=name, unit="ms", note=f"not measured: {why}")
    return compared(name, "ms", took[ours], took[bare], MOST)
