"""How long a stop takes, whatever the spirits are doing: never longer than the graceful limit and a second."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from bench import procs, witness
from bench.pools import NANO, CannotMeasureError, ForegroundPool, GhostPool, Pool, Task
from bench.report import Figure, Spread, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.harness import Bench

SIZE = 4
LIMIT = 1.0
OPTIONS: dict[str, object] = {"graceful_timeout": LIMIT, "silent_timeout": 0.5, "jitter_seed": 1}
MOST_OVER_MS = 1000.0
HOPELESS = 20.0


def measure(bench: Bench) -> Iterator[Figure]:
    """Send QUIT to a pool in each state; show the worst, and each in the note."""
    over: dict[str, list[float]] = {}
    for _ in range(bench.pick(1, 5)):
        for state, bring in STATES.items():
            try:
                over.setdefault(state, []).append(_over(*bring))
            except CannotMeasureError as error:
                yield missing(f"stop, {state}", str(error))
    worst = {state: max(values) for state, values in over.items() if values}
    top = max(worst.values())
    yield Figure(
        name="stop past its limit, worst state", unit="ms", measured=Spread.of(worst.values()), goal="<= 1000 ms",
        met=top <= MOST_OVER_MS, note="; ".join(f"{state} {value:+.0f}" for state, value in worst.items()),
    )  # fmt: skip


def _over(kind: type[GhostPool], work: str, bring: Callable[[Pool], None]) -> float:
    """Return the milliseconds from QUIT to the manager's end, less the limit."""
    with kind(Task(SIZE, work=work, period=0.02, options=OPTIONS)) as pool, procs.watch(pool.manager) as pidfd:
        bring(pool)
        began = time.monotonic_ns()
        signal.pidfd_send_signal(pidfd, signal.SIGQUIT)
        ended = procs.wait_end(pidfd, HOPELESS)
        return ((ended or began + int(HOPELESS * NANO)) - began) / NANO * 1e3 - LIMIT * 1e3


def _as_it_is(pool: Pool) -> None:
    """Leave the pool as it is."""


def _stopped(pool: Pool) -> None:
    for pid in pool.lives:
        os.kill(pid, signal.SIGSTOP)


def _order(order: int) -> Callable[[Pool], None]:
    def bring(pool: Pool) -> None:
        table = witness.open_table(str(pool.folder))
        for pid in pool.lives:
            table[pid * witness.WORDS + 1] = order
        time.sleep(0.1)

    return bring


def _reloading(pool: Pool) -> None:
    os.kill(pool.manager, signal.SIGHUP)
    pool.wait_lives(1, 10.0)


def _held(pool: Pool) -> None:
    """Kill young spirits until the pool holds their replacements back."""
    for _ in range(3):
        for pid in list(pool.lives):
            del pool.lives[pid]
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
        pool.read_lives(0.1)


STATES: dict[str, tuple[type[GhostPool], str, Callable[[Pool], None]]] = {
    "at work": (GhostPool, "obedient", _as_it_is),
    "stopped": (GhostPool, "obedient", _stopped),
    "looping": (GhostPool, "obedient", _order(witness.Order.LOOP)),
    "deaf": (GhostPool, "obedient", _order(witness.Order.GO_DEAF)),
    "stubborn": (GhostPool, "stubborn", _as_it_is),
    "booting": (ForegroundPool, "unready", _as_it_is),
    "reloading": (GhostPool, "stubborn", _reloading),
    "backing off": (GhostPool, "obedient", _held),
}
