"""Who gets the next connection, what that costs, and how many are lost when spirits are renewed and killed.

One connection a request, four spirits. The baseline is the bare manager, whose children all wait on plain epoll, or in
asyncio's own server; both accept from one shared listener.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import procs, witness
from bench.clients import Clients, Outcome
from bench.harness import interleave
from bench.pools import CannotMeasureError, ForegroundPool, Pool, Task
from bench.report import Figure, Spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.harness import Bench

SIZE = 4
HERD = 16  # spirits, for what it costs to wake
RATE = 200.0
CLIENTS = 4
MOST_SHARE = 0.30
MOST_LOST_A_KILL = 0.02  # beyond what a handler had begun
LIMIT = 20.0
OPTIONS: dict[str, object] = {"listen": "127.0.0.1:0", "young": 0.0, "event_loop": "asyncio"}


class Serving(Pool):
    """A pool that answers connections."""

    def __init__(self, size: int, kind: str) -> None:
        super().__init__(Task(size, work=kind, options=OPTIONS))

    @property
    def address(self) -> str:
        """Where it listens."""
        found = re.search(r"Listening on (\S+)", (self.folder / "output").read_text("utf-8"))
        if found is None:
            raise CannotMeasureError(f"{self.side}: no word of an address; {self.said()}")
        return found[1]

    def living(self) -> set[int]:
        """The pids of its spirits."""
        return {one.pid for one in procs.table().values() if one.parent == self.manager and one.state not in "ZX"}

    def wait_renewed(self, old: set[int]) -> None:
        """Wait until it is whole and has none of these."""
        deadline = time.monotonic() + LIMIT
        while len(new := self.living()) != self.task.spirits or new & old:
            if time.monotonic() > deadline:
                raise CannotMeasureError(f"{self.side}: not renewed in {LIMIT:g} s; {self.said()}")
            time.sleep(0.002)


class GhostServing(Serving, ForegroundPool):
    """A pool of ghostd, whose spirits answer streams."""

    def prepare(self) -> None:
        """Have the log on standard error, which is the output."""
        super().prepare()
        script = self.folder / "pool.py"
        text = re.sub(r"logfile='[^']*', ", "", script.read_text("utf-8"))
        if self.task.work == "awaiting":
            text = f"import asyncio\n{text}"  # as the script of a user has it, whose coroutines call it
        script.write_text(text, "utf-8")


class BareServing(Serving):
    """A pool of the bare manager, with a listener."""

    side = "bare"

    def command(self) -> list[str]:
        """Return the command that starts the manager."""
        return [
            sys.executable, "-c", "from bench.server import main; main()", f"spirits={self.task.spirits}",
            f"loop={self.task.work}", f"witness={self.folder}",
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Form:
    """A way to answer, and what it is compared with."""

    name: str
    ghostd: str
    bare: str

    def pools(self, size: int = SIZE) -> tuple[Serving, Serving]:
        """Return the pool of ghostd and the bare one."""
        return GhostServing(size, self.ghostd), BareServing(size, self.bare)


FORMS = (
    Form("one by one", "answering", "epoll"),
    Form("in threads", "threading", "epoll"),
    Form("in tasks", "awaiting", "asyncio"),
)


def measure(bench: Bench) -> Iterator[Figure]:
    """Measure each form beside its baseline."""
    for form in FORMS:
        for what, rate in (("200/s", RATE), ("saturation", 0.0)):
            yield share(f"share of the busiest of {SIZE}, {form.name}, {what}", form, rate, bench)
        yield herd(form, bench.pick(2.0, 8.0))
        yield from renewed(form, bench.pick(5, 60))
        yield from killed(form, bench.pick(10, 100), bench)


def share(name: str, form: Form, rate: float, bench: Bench) -> Figure:
    """The part of the busiest spirit, in several short runs by turns."""
    ran: tuple[list[Outcome], list[Outcome]] = ([], [])

    def run(side: int) -> float:
        pool = form.pools()[side]
        with pool, Clients(pool.address, CLIENTS, rate) as clients:
            time.sleep(bench.pick(1.0, 3.0))
        ran[side].append(clients.outcome)
        return clients.outcome.share

    ours, theirs = map(Spread.of, interleave(bench.pick(3, 9), lambda: run(0), lambda: run(1)))
    lost = [sum(len(one.lost) for one in side) for side in ran]
    answered = [sum(one.answered for one in side) for side in ran]
    return Figure(
        name=name, unit="", measured=ours, baseline=theirs, ratio=ours.median / theirs.median,
        goal=f"<= {MOST_SHARE:g}", met=ours.median <= MOST_SHARE and not lost[0],
        note=f"{answered[0]} answered, bare {answered[1]}; lost {lost[0]}, bare {lost[1]}",
    )  # fmt: skip


def herd(form: Form, seconds: float) -> Figure:
    """How often processes are woken for a connection, where many wait."""
    spent = []
    for pool in form.pools(HERD):
        with pool:
            pids = pool.living()
            before = sum(map(procs.voluntary_switches, pids))
            with Clients(pool.address, CLIENTS, RATE) as clients:
                time.sleep(seconds)
            after = sum(map(procs.voluntary_switches, pids))
        spent.append((after - before) / clients.outcome.answered)
    ours, theirs = spent
    return Figure(
        name=f"wake-ups a connection, {HERD} spirits, {form.name}", unit="", measured=Spread.of([ours]),
        baseline=Spread.of([theirs]), ratio=ours / theirs, goal="<= 0.5 x", met=ours <= theirs / 2,
    )  # fmt: skip


def renewed(form: Form, count: int) -> Iterator[Figure]:
    """Reload again and again under load."""
    took: list[list[float]] = []
    outcomes: list[Outcome] = []
    for pool in form.pools():
        took.append([])

        def reload(pool: Serving = pool) -> None:
            old, began = pool.living(), time.monotonic()
            os.kill(pool.manager, signal.SIGHUP)
            pool.wait_renewed(old)
            took[-1].append((time.monotonic() - began) * 1e3)
            time.sleep(0.1)

        outcomes.append(_under_load(pool, count, reload))
    (ours, theirs), (mine, bare) = map(Spread.of, took), outcomes
    name = f"reload under {RATE:g}/s, {form.name}"
    yield Figure(
        name=name, unit="ms", measured=ours, baseline=theirs, ratio=ours.median / theirs.median,
        note=f"latency {_tail(mine)}; bare {_tail(bare)}",
    )  # fmt: skip
    yield _lost(f"lost in {count} reloads, {form.name}", mine, bare, 0.0)


def killed(form: Form, count: int, bench: Bench) -> Iterator[Figure]:
    """Kill random spirits under load; what their handlers had begun is theirs to lose."""
    begun = [0, 0]
    outcomes = []
    for side, pool in enumerate(form.pools()):

        def kill(pool: Serving = pool, side: int = side) -> None:
            table = witness.open_table(str(pool.folder))
            victim = bench.chance.choice(sorted(pool.living()))
            os.kill(victim, signal.SIGKILL)
            pool.wait_renewed({victim})
            marks = table[victim * witness.WORDS : victim * witness.WORDS + 2]
            begun[side] += max(marks[0] - marks[1], 0)
            time.sleep(0.1 * (0.5 + bench.chance.random()))

        outcomes.append(_under_load(pool, count, kill))
    mine, bare = outcomes
    note = f"handlers had begun {begun[0]} of them, bare {begun[1]}; latency {_tail(mine)}; bare {_tail(bare)}"
    yield _lost(f"lost in {count} kills, {form.name}", mine, bare, begun[0] + max(MOST_LOST_A_KILL * count, 1.0), note)


def _under_load(pool: Serving, count: int, once: Callable[[], None]) -> Outcome:
    with pool, Clients(pool.address, CLIENTS, RATE) as clients:
        for _ in range(count):
            once()
    return clients.outcome


def _lost(name: str, ours: Outcome, theirs: Outcome, most: float, note: str = "") -> Figure:
    answered = f"{ours.answered} answered, bare {theirs.answered}"
    return Figure(
        name=name, unit="", measured=Spread.of([len(ours.lost)]), baseline=Spread.of([len(theirs.lost)]),
        goal=f"<= {most:g}", met=len(ours.lost) <= most,
        note="; ".join(filter(None, (answered, note, ", ".join(sorted(set(ours.lost + theirs.lost)))))),
    )  # fmt: skip


def _tail(outcome: Outcome) -> str:
    ranked = sorted(outcome.latencies)
    p99, p999 = (ranked[min(len(ranked) - 1, int(len(ranked) * part))] for part in (0.99, 0.999))
    return f"p99 {p99:.1f} ms, p99.9 {p999:.1f} ms, most {ranked[-1]:.1f} ms"
