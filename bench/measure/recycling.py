"""Requests lost while each spirit is replaced after a hundred."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.serve.losses import Run
from bench.serve.servers import OURS, PEERS, How

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.harness import Bench
    from bench.report import Figure
    from bench.serve.servers import Served

EACH = 100
RATE = 200.0
LIMIT = 300.0


def measure(bench: Bench) -> Iterator[Figure]:
    """Recycle all that can."""
    for one in bench.pick(OURS[:3], (*OURS, *PEERS)):
        if one.recycle and one.is_here:
            for keep in (True, False) if one.app != "stream" else (False,):  # a stream is worn by connections
                count = bench.pick(4, 50)
                run = Run(one, How(recycle=EACH), keep_alive=keep).under_load(RATE, _wait_worn(count))
                yield run.figure(f"{count} recycled after {EACH}")


def _wait_worn(count: int) -> Callable[[Served, Run], None]:
    def act(served: Served, _run: Run) -> None:
        seen = served.living()
        wanted = len(seen) + count

        def are_enough() -> bool:
            seen.update(served.living())
            return len(seen) >= wanted

        served.wait_until(are_enough, f"{count} replacements", LIMIT)

    return act
