"""The same three figures for the peers: recovery, start, and the cost of doing nothing. No goal; for orientation."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import sys
import time
from typing import TYPE_CHECKING, ClassVar

from bench import procs
from bench.harness import interleave
from bench.measure.idle import MINUTE
from bench.measure.recover import AGE
from bench.pools import NANO, BarePool, CannotMeasureError, Pool, Task
from bench.report import Figure, Spread, compared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Bench

SIZE = 64
PERIOD = 5.0


class PeerPool(Pool):
    """A pool of a peer."""

    ends_on = signal.SIGKILL  # how a peer stops is no part of this
    function: ClassVar[str]
    package: ClassVar[str]
    kills: ClassVar[tuple[int, int]] = (20, 100)  # quick, full
    note: ClassVar[str] = ""
    rest: ClassVar[float] = 0.2  # some sleep a tenth of a second after a fork; then they look at what has happened

    def command(self) -> list[str]:
        """Return the command that starts the manager."""
        words = f"{self.task.spirits}, {self.task.period}, {str(self.folder)!r}"
        return [sys.executable, "-c", f"from bench.rivals import {self.function} as main; main({words})"]

    def close(self) -> None:
        """End its workers, too: those of some have a session of their own."""
        if self.manager:
            for pid in procs.descendants(self.manager):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    self._sessions.add(procs.look(pid).session)
        super().close()


class ProcessPool(PeerPool):
    """Of multiprocessing."""

    side, function, package = "multiprocessing", "process_pool", "multiprocessing"


class GunicornPool(PeerPool):
    """Of gunicorn."""

    side, function, package = "gunicorn", "gunicorn", "gunicorn"


class CotyledonPool(PeerPool):
    """Of cotyledon."""

    side, function, package = "cotyledon", "cotyledon", "cotyledon"
    kills = (3, 10)  # it waits five seconds after most deaths
    note = "it holds its forks back after a death"
    rest = 1.0


class CircusPool(PeerPool):
    """Of circus."""

    side, function, package = "circus", "circus", "circus"
    kills = (4, 20)  # it looks once a second


def measure(bench: Bench) -> Iterator[Figure]:
    """Measure each peer that is installed, by turns with the bare manager."""
    for kind in (ProcessPool, GunicornPool, CotyledonPool, CircusPool):
        if importlib.util.find_spec(kind.package) is None:
            yield _absent(kind.side, "not installed: pip install 'ghostd[bench]'")
            continue
        try:
            yield from _of(kind, bench)
        except CannotMeasureError as error:
            yield _absent(kind.side, f"not measured: {error}")


def _absent(side: str, why: str) -> Figure:
    return Figure(name=side, unit="", subject=side, note=why)


def _of(kind: type[PeerPool], bench: Bench) -> Iterator[Figure]:
    task = Task(SIZE, period=PERIOD)
    start, bare = interleave(bench.pick(1, 5), lambda: _start(kind(task)), lambda: _start(BarePool(task)))
    yield compared(f"{kind.side}: start, {SIZE} workers", "ms", start, bare, subject=kind.side)
    with kind(task) as pool, BarePool(task) as baseline:
        recover, bare = interleave(
            bench.pick(*kind.kills),
            lambda: pool.kill_one(bench.chance, AGE, 30.0, kind.rest) * 1e3,
            lambda: baseline.kill_one(bench.chance, AGE, 30.0) * 1e3,
        )
        yield compared(f"{kind.side}: recover, {SIZE} workers", "ms", recover, bare, subject=kind.side, note=kind.note)
        window = bench.pick(5.0, 30.0)
        before = procs.voluntary_switches(pool.manager), procs.cpu_ns(pool.manager)
        time.sleep(window)
        scale = MINUTE / window
        switches = (procs.voluntary_switches(pool.manager) - before[0]) * scale
        cpu_ms = (procs.cpu_ns(pool.manager) - before[1]) * scale / NANO * 1e3
    for what, unit, value in (("switches", "/min", switches), ("CPU", "ms", cpu_ms)):
        yield Figure(
            name=f"{kind.side}: idle {what} a minute, {SIZE} workers", unit=unit, subject=kind.side,
            measured=Spread.of([value]), note=f"in {window:.0f} s",
        )  # fmt: skip


def _start(pool: Pool) -> float:
    with pool:
        return (pool.whole - pool.began) / NANO * 1e3
