"""Requests lost when a random spirit is killed every 200 ms, beyond those that its handlers had begun.

One connection for each request, four spirits. The first line of each handler marks the request that it has begun, and
in whom: so what is lost in a spirit that was not killed counts, and what was read there and not begun counts, too.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.serve.losses import Run
from bench.serve.servers import How, chosen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench
    from bench.report import Figure
    from bench.serve.servers import Served, Server

SIZE = 4
EVERY = 0.2
RATE = 200.0
LEAD = 0.03  # seconds before a kill in which its victim is chosen: looking for it would hold up requests at that moment
MOST = 0.02  # a kill
QUICK = ("ghostd/uvicorn", "ghostd/waitress", "ghostd/stream", "unicorn")
AT_ONCE = "--young 0"  # else a spirit that died young is replaced after a pause


def measure(bench: Bench) -> Iterator[Figure]:
    """Kill spirits of all that replace them."""
    for one in chosen(bench, QUICK):
        if not one.is_single and one.name != "hypercorn":
            yield _killed(one, bench)


def _killed(server: Server, bench: Bench) -> Figure:
    kills = 0

    def act(served: Served, run: Run) -> None:
        nonlocal kills
        end = time.monotonic() + bench.pick(5.0, 60.0)
        due = time.monotonic()
        while due < end:
            if living := sorted(served.living()):
                victim = bench.chance.choice(living)
                time.sleep(max(due - time.monotonic(), 0.0))
                os.kill(victim, signal.SIGKILL)
                run.killed.add(victim)
                kills += 1
            due += bench.chance.uniform(0.5, 1.5) * EVERY  # requests keep a beat: one that fits it hits all or none
            time.sleep(max(due - LEAD - time.monotonic(), 0.0))
        served.wait_until(lambda: len(served.living()) == SIZE, "recovery")

    run = Run(server, How(SIZE, is_marked=True, more=AT_ONCE), keep_alive=False).under_load(RATE, act)
    figure = run.figure(f"lost beyond what had begun in {kills} kills", max(MOST * kills, 1.0))
    lost = "not measured" if figure.measured is None else f"{figure.measured.median:.0f} lost"
    return replace(figure, headline=f"{server.label}: {lost} beyond what had begun in {kills} kills")
