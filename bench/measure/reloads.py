"""Requests lost in reloads under load, on TCP and on a unix socket, on kept connections and on one for each request.

The pace gives the full form more than a million requests in all.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from bench.report import Figure, Spread
from bench.serve.losses import Run, reload
from bench.serve.servers import OURS, PEERS, How

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench

RATE = 1000.0
PACE = 0.9  # seconds from one to the next, at least
FORMS = tuple(product((False, True), (True, False)))  # unix, keep-alive
DEFAULTS = OURS[:3]  # ASGI, WSGI, stream
PEERS_RELOADED = 10
SLOW = {"granian": 2}  # 14 s for each


def measure(bench: Bench) -> Iterator[Figure]:
    """Reload all that can be reloaded; the default servers a hundred times in each form, others less often."""
    forms = bench.pick(FORMS[:1], FORMS)
    runs = [Run(one, How(is_unix=unix), keep) for one in DEFAULTS for unix, keep in forms]
    for run in runs:
        count = bench.pick(5, 100)
        yield run.under_load(bench.pick(200.0, RATE), reload(count, bench.pick(0.0, PACE))).figure(f"{count} reloads")
    total = sum(run.outcome.answered for run in runs)
    yield Figure(name="requests in all of these", unit="", measured=Spread.of([total]))
    others = [one for one in (*OURS[3:], *PEERS) if one.reloads and one.is_here]
    for one in bench.pick([], others) or [peer for peer in others if peer.name in ("unicorn", "gunicorn/uvicorn")]:
        count = bench.pick(3, SLOW.get(one.name, PEERS_RELOADED))
        for keep in bench.pick((False,), (True, False)):
            if one.name not in ("unicorn", "gunicorn/sync") or not keep:  # these keep no connection
                run = Run(one, keep_alive=keep).under_load(200.0, reload(count, 0.0))
                yield run.figure(f"{count} reloads")
