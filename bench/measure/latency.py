"""The time of a request on a connection that stays, on a listener that somebody else has opened: no gap of 40 ms."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from bench.harness import interleave
from bench.report import Figure, Spread
from bench.serve.client import Client
from bench.serve.servers import OURS, PEERS, How, Served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.harness import Bench

MOST = 5.0  # milliseconds: a delayed acknowledgement takes 40
REQUESTS = 200


def measure(bench: Bench) -> Iterator[Figure]:
    """Compare all of ours on an inherited listener with uvicorn on one of its own, and on an inherited one."""
    bare = next(one for one in PEERS if one.name == "uvicorn")
    sides = [Served(bare, How(1)), Served(bare, How(1, is_inherited=True))]
    sides += [Served(one, How(1, is_inherited=True)) for one in OURS if one.is_here]
    with contextlib.ExitStack() as stack:
        for side in sides:
            stack.enter_context(side)
        spreads = [Spread.of(took) for took in interleave(bench.pick(3, 15), *(_ask(side) for side in sides))]
    for side, spread in zip(sides[1:], spreads[1:], strict=True):
        ours = side.server.is_ours
        yield Figure(
            name=f"a request on an inherited listener, {side.server.label}", unit="ms", measured=spread,
            subject="ghostd" if ours else f"{bare.name} --fd", baseline=spreads[0], against=bare.name,
            ratio=spread.median / spreads[0].median, goal=f"<= {MOST:g} ms" if ours else "",
            met=spread.median <= MOST if ours else None,
        )  # fmt: skip


def _ask(side: Served) -> Callable[[], float]:
    return lambda: Client(side.address, connections=1).run(requests=REQUESTS).percentile(0.5) * 1e3
