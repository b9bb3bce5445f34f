"""What is left in the manager of many spirits that came and went."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench import procs, witness
from bench.pools import GhostPool, Pool, Task
from bench.report import Figure, Spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench

SIZE = 8
WARM = 500  # lives: caches and tables have their size
MOST_RSS_KIB = 1024.0
# Lives are short here, and no fault.
TASK = Task(SIZE, work="obedient", period=0.002, options={"young": 0.0, "loglevel": "error"})


def measure(bench: Bench) -> Iterator[Figure]:
    """Let spirits leave and be replaced; compare the manager after so many lives with the manager after a few."""
    lives = bench.pick(1_500, 10_000)
    with GhostPool(TASK) as pool:
        _live(pool, WARM)
        before = _held(pool)
        began = time.monotonic()
        _live(pool, lives)
        took = time.monotonic() - began
        after = _held(pool)
    fds, threads, rss_kib = (new - old for new, old in zip(after, before, strict=True))
    name = f"after {lives} lives: "
    yield _figure(name + "descriptors", "more", fds, "= 0", met=fds == 0)
    yield _figure(name + "threads", "more", threads, "= 0", met=threads == 0)
    yield _figure(name + "RSS", "KiB more", rss_kib, "<= 1024 KiB", met=rss_kib <= MOST_RSS_KIB)
    yield Figure(name="lives a second", unit="/s", measured=Spread.of([lives / took]), note=f"{SIZE} seats")


def _live(pool: Pool, lives: int) -> None:
    """Have so many spirits leave; then wait until all are at work again."""
    table = witness.open_table(str(pool.folder))
    done = 0
    while done < lives:
        newest = list(pool.lives)[-SIZE:]
        pool.lives.clear()
        for pid in newest:
            table[pid * witness.WORDS + 1] = witness.Order.LEAVE
        pool.wait_lives(len(newest), 30.0)
        done += len(newest)


def _held(pool: Pool) -> tuple[float, float, float]:
    time.sleep(0.3)
    manager = pool.manager
    return procs.descriptor_count(manager), procs.thread_count(manager), procs.rss_bytes(manager) / 1024


def _figure(name: str, unit: str, value: float, goal: str, *, met: bool) -> Figure:
    return Figure(name=name, unit=unit, measured=Spread.of([value]), goal=goal, met=met)
