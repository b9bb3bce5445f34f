"""How long past its limit a hung spirit's seat stays without a ready spirit."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench import witness
from bench.pools import NANO, BarePool, GhostPool, Pool, Task
from bench.report import Figure, Spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench

INTERVAL, TIMEOUT = 0.2, 0.8  # seconds
LIMIT = INTERVAL + TIMEOUT
MOST_MS = 20.0
TASK = Task(
    4,
    work="obedient",
    period=0.05,
    limit=LIMIT,
    options={"heartbeat_interval": INTERVAL, "heartbeat_timeout": TIMEOUT, "silent_timeout": 0.3},
)
KINDS = ("stopped", "looping", "deaf")


def measure(bench: Bench) -> Iterator[Figure]:
    """Hang spirits in three ways, each in a pool of its own; the bare manager's figure is shown, not a goal."""
    count = bench.pick(5, 20)
    for kind in KINDS:
        with contextlib.ExitStack() as stack:
            pools = [stack.enter_context(side(TASK)) for side in (GhostPool, BarePool)]
            with ThreadPoolExecutor(len(pools)) as turns:  # nearly all of it is waiting for the limit
                ghostd, bare = turns.map(_overshoots, [bench] * 2, pools, [kind] * 2, [count] * 2)
        ours = Spread.of(ghostd)
        yield Figure(
            name=f"hang, {kind}", unit="ms", measured=ours, baseline=Spread.of(bare),
            goal=f"<= {MOST_MS:g} ms", met=ours.median <= MOST_MS, note=f"past the limit of {LIMIT:g} s",
        )  # fmt: skip


def _overshoots(bench: Bench, pool: Pool, kind: str, count: int) -> list[float]:
    return [_overshoot(bench, pool, kind) for _ in range(count)]


def _overshoot(bench: Bench, pool: Pool, kind: str) -> float:
    """Return the milliseconds from the moment a spirit became silent to the first tick in its stead."""
    table = witness.open_table(str(pool.folder))
    time.sleep(0.3 + bench.chance.random() * 0.1)  # the one before is gone; no common phase with any timer
    pid = bench.chance.choice(list(pool.lives)[-TASK.spirits :])
    del pool.lives[pid]
    word = pid * witness.WORDS
    if kind == "stopped":
        os.kill(pid, signal.SIGSTOP)
    else:
        table[word + 1] = witness.Order.LOOP if kind == "looping" else witness.Order.GO_DEAF
    began = time.monotonic_ns()
    at = pool.wait_life(began, 10.0)
    return (at - table[word]) / NANO * 1e3 - LIMIT * 1e3
