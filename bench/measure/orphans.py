"""Whether anything outlives a manager that is killed, at whatever moment of its life."""

from __future__ import annotations

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench import procs
from bench.pools import CannotMeasureError, ForegroundPool, GhostPool, Task
from bench.report import Figure, Spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench

SIZE = 6
LANES = 10  # at the same time: two cores, and most of it is waiting
GRACE = 2.0
LATEST = 0.4  # seconds after the command's execution: past the boot of the whole pool


def measure(bench: Bench) -> Iterator[Figure]:
    """Kill managers at random moments, some while they start; count who is left, and whether the next start works."""
    count = bench.pick(20, 200)
    with ThreadPoolExecutor(LANES) as lanes:
        seeds = [bench.chance.random() for _ in range(LANES)]
        results = list(lanes.map(lambda seed: _lane(random.Random(seed), count // LANES), seeds))
    orphans = sum(left for left, _ in results)
    failed = [words for _, refused in results for words in refused]
    yield Figure(
        name=f"orphans of {count} killed managers", unit="spirits", measured=Spread.of([orphans]), goal="= 0",
        met=orphans == 0, note=f"{GRACE:g} s after SIGKILL",
    )  # fmt: skip
    yield Figure(
        name="next starts that failed", unit="starts", measured=Spread.of([len(failed)]), goal="= 0", met=not failed,
        note=f"of {count}" + (f"; the first: {failed[0]}" if failed else ""),
    )  # fmt: skip


def _lane(chance: random.Random, rounds: int) -> tuple[int, list[str]]:
    """Return how many spirits were left over all rounds, and what the next starts that failed said."""
    left, failed = 0, []
    for turn in range(rounds):
        kind = ForegroundPool if turn % 2 else GhostPool
        pool = kind(Task(SIZE))
        try:
            pool.prepare()
            pool.start()
            time.sleep(chance.random() * LATEST)
            left += _kill(pool)
            pool.forget()
            pool.start()
            pool.wait_lives(SIZE, 20.0)
        except CannotMeasureError as error:
            failed.append(str(error))
        finally:
            pool.close()
    return left, failed


def _kill(pool: GhostPool) -> int:
    """SIGKILL the manager; return how many of its session are left after the grace."""
    if not isinstance(pool, ForegroundPool):
        pool.manager = pool.wait_daemon(5.0)  # before that nobody can name the process that will be the manager
    session = procs.look(pool.manager).session
    with procs.watch(pool.manager) as pidfd:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    time.sleep(GRACE)
    return len(procs.members({session}))
