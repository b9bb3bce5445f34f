"""How fast a pool whose spirits finish at once is gone, and how fast the command that stops it says so."""

from __future__ import annotations

import contextlib
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from bench import procs
from bench.harness import Bench, interleave
from bench.pools import NANO, BarePool, CannotMeasureError, GhostPool, Pool, Task
from bench.report import Figure, Spread, compared

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 64
LIMIT = 30.0
MOST_LATE_MS = 50.0


def measure(bench: Bench) -> Iterator[Figure]:
    """Stop pools by signal, by turns; then by the command."""
    task = Task(SIZE, work="waiting")
    rounds = bench.pick(5, 21)
    ghostd, bare = interleave(rounds, lambda: by_signal(GhostPool(task)), lambda: by_signal(BarePool(task)))
    yield compared(f"graceful stop, {SIZE} spirits", "ms", ghostd, bare, 3.0, note="QUIT to the manager's end")
    late = Spread.of([by_command(GhostPool(task)) for _ in range(bench.pick(5, 15))])
    yield Figure(
        name="stop command after the manager's end", unit="ms", measured=late, goal=f"<= {MOST_LATE_MS:g} ms",
        met=late.median <= MOST_LATE_MS,
    )  # fmt: skip


def by_signal(pool: Pool) -> float:
    """Return the milliseconds from QUIT to the end of the manager."""
    with pool, procs.watch(pool.manager) as pidfd:
        began = time.monotonic_ns()
        signal.pidfd_send_signal(pidfd, signal.SIGQUIT)
        ended = procs.wait_end(pidfd, LIMIT)
        if ended is None:
            raise CannotMeasureError(f"{pool.side}: still there {LIMIT:g} s after QUIT; {pool.said()}")
        return (ended - began) / NANO * 1e3


def by_command(pool: GhostPool) -> float:
    """Return the milliseconds from the end of the manager to the end of the command ``stop``."""
    with pool, contextlib.ExitStack() as stack:
        manager = stack.enter_context(procs.watch(pool.manager))
        command = subprocess.Popen(
            [*pool.command()[:-1], "stop"], env=pool.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        stack.callback(command.wait)
        stack.callback(command.kill)
        ends = {manager: 0, stack.enter_context(procs.watch(command.pid)): 0}
        poll = select.poll()
        for pidfd in ends:
            poll.register(pidfd, select.POLLIN)
        while not all(ends.values()):
            for pidfd, _ in poll.poll(LIMIT * 1e3) or [(-1, 0)]:
                if pidfd < 0:
                    raise CannotMeasureError(f"ghostd: stop has not ended within {LIMIT:g} s; {pool.said()}")
                ends[pidfd] = time.monotonic_ns()
                poll.unregister(pidfd)
        gone, returned = ends.values()
        return (returned - gone) / NANO * 1e3
