"""From the execution of the command to the first tick of the last spirit."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import Bench, interleave
from bench.pools import NANO, BarePool, GhostPool, Pool, Task
from bench.report import Figure, compared

if TYPE_CHECKING:
    from collections.abc import Iterator

PERIOD = 5.0


class CommandPool(GhostPool):
    """A pool of ghostd, started by its command instead of by the script."""

    def command(self) -> list[str]:
        """Return the command that starts the manager."""
        words = [str(Path(sys.executable).with_name("ghostd")), "start", f"{self.folder}/pool.py:Ghost"]
        flags = {"spirits": self.task.spirits, "pidfile": f"{self.folder}/pid", "logfile": f"{self.folder}/log"}
        return [*words, *(word for name, value in flags.items() for word in (f"--{name}", str(value)))]


def measure(bench: Bench) -> Iterator[Figure]:
    """Start pools of four sizes, by turns."""
    for size, rounds in {4: (5, 21), 64: (5, 15), 256: (3, 9), 1000: (1, 5)}.items():
        ghostd, bare = by_turns(GhostPool, size, bench.pick(*rounds))
        yield compared(f"start, {size} spirits", "ms", ghostd, bare, 1.9)
    if shutil.which("ghostd", path=str(Path(sys.executable).parent)):
        ghostd, bare = by_turns(CommandPool, 64, bench.pick(3, 9))
        yield compared("start by the command, 64 spirits", "ms", ghostd, bare, 1.9, note="`ghostd start pool.py:Ghost`")


def by_turns(kind: type[GhostPool], size: int, rounds: int) -> tuple[list[float], ...]:
    """Return how long ghostd and the bare manager took, in milliseconds."""
    task = Task(size, period=PERIOD)
    return interleave(rounds, lambda: once(kind(task)), lambda: once(BarePool(task)))


def once(pool: Pool) -> float:
    """Return how long one pool took, in milliseconds."""
    with pool:
        return (pool.whole - pool.began) / NANO * 1e3
