"""What a manager costs while its spirits only tick, once a second, with the defaults."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from bench import procs
from bench.pools import NANO, BarePool, GhostPool, Pool, Task
from bench.report import Figure, Spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench

SIZES = (4, 64, 256, 1000)
MINUTE = 60.0
MOST_SWITCHES = 3.0  # a minute
MOST_CPU = {256: 2.0, 1000: 3.0}  # ms a minute; 50 microseconds a second are 3 ms a minute


def measure(bench: Bench) -> Iterator[Figure]:
    """Let the pools of all sizes tick at the same time, and read the kernel's counters before and after."""
    window = bench.pick(30.0, 60.0)
    with contextlib.ExitStack() as stack:
        pools = [stack.enter_context(side(Task(size))) for size in SIZES for side in (GhostPool, BarePool)]
        time.sleep(2.0)  # the boot's last work
        before = [_counters(pool) for pool in pools]
        began = time.monotonic()
        time.sleep(window)
        scale = MINUTE / (time.monotonic() - began)
        grown = [_grown(pool, old, scale) for pool, old in zip(pools, before, strict=True)]
    note = f"in {window:.0f} s" + ("; of the deadlines, at 27 and 55 s, one is outside" if window < 55 else "")
    for at, size in enumerate(SIZES):
        ours, theirs = grown[2 * at], grown[2 * at + 1]
        yield _figure(
            f"idle switches a minute, {size} spirits", "/min", (ours[0], theirs[0]), MOST_SWITCHES, "" if at else note
        )
    for at, size in enumerate(SIZES):
        ours, theirs = grown[2 * at], grown[2 * at + 1]
        yield _figure(f"idle CPU a minute, {size} spirits", "ms", (ours[1], theirs[1]), MOST_CPU.get(size))


def _counters(pool: Pool) -> tuple[float, float]:
    return procs.voluntary_switches(pool.manager), procs.cpu_ns(pool.manager) / NANO * 1e3


def _grown(pool: Pool, before: tuple[float, float], scale: float) -> tuple[float, float]:
    switches, cpu_ms = _counters(pool)
    return (switches - before[0]) * scale, (cpu_ms - before[1]) * scale


def _figure(name: str, unit: str, pair: tuple[float, float], most: float | None, note: str = "") -> Figure:
    ours, theirs = pair
    return Figure(
        name=name, unit=unit, measured=Spread.of([ours]), baseline=Spread.of([theirs]),
        ratio=ours / theirs if theirs else None, goal="" if most is None else f"<= {most:g} {unit}",
        met=None if most is None else ours <= most + 0.05, note=note,  # a window is a little longer than asked
    )  # fmt: skip
