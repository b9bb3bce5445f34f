"""Requests lost when a random spirit is killed every 200 ms, beyond those that its handlers had begun.

One connection for each request, four spirits. Marks of the application tell what had begun; unicorn's has none.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from bench.serve.losses import Run
from bench.serve.servers import OURS, PEERS, How

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench
    from bench.report import Figure
    from bench.serve.servers import Served, Server

SIZE = 4
EVERY = 0.2
RATE = 200.0
MOST = 0.02  # a kill
QUICK = ("ghostd/uvicorn", "ghostd/waitress", "unicorn")
AT_ONCE = "--young 0"  # else a spirit that died young is replaced after a pause


def measure(bench: Bench) -> Iterator[Figure]:
    """Kill spirits of all that replace them."""
    servers = [one for one in (*OURS, *PEERS) if one.is_here and not one.is_single and one.name != "hypercorn"]
    for one in [one for one in servers if one.name in QUICK] if bench.quick else servers:
        yield _killed(one, bench)


def _killed(server: Server, bench: Bench) -> Figure:
    begun, kills = 0, 0

    def act(served: Served, _run: Run) -> None:
        nonlocal begun, kills
        end = time.monotonic() + bench.pick(5.0, 60.0)
        due = time.monotonic()
        while due < end:
            if living := sorted(served.living()):
                victim = bench.chance.choice(living)
                os.kill(victim, signal.SIGKILL)
                kills += 1
                begun += served.begun(victim)
            due += EVERY
            time.sleep(max(due - time.monotonic(), 0.0))
        served.wait_until(lambda: len(served.living()) == SIZE, "recovery")

    is_marked = server.app in ("asgi", "wsgi")
    run = Run(server, How(SIZE, is_marked=is_marked, more=AT_ONCE), keep_alive=False).under_load(RATE, act)
    note = f"{begun} had begun" if is_marked else ""
    return run.figure(f"lost beyond what had begun in {kills} kills", max(MOST * kills, 1.0), allowed=begun, note=note)
