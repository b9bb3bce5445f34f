"""The ghosts of the benchmark: bench.work under ghostd, as a user would write them."""

from __future__ import annotations

import os
import time

from bench import work
from bench.witness import Witness
from ghostd import Prefork

TYPE_CHECKING = False  # as bench.witness: nothing heavy is loaded beside what is measured
if TYPE_CHECKING:
    import asyncio
    from typing import ClassVar

    from ghostd.serve.connection import Connection

TURNS, LOOPS = 15, 10_000


class Steady(Prefork):
    """Ticks once a period."""

    witness_folder: ClassVar[str]
    period: ClassVar[float] = 1.0

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.steady(self.tick, Witness(self.witness_folder), self.period)


class Obedient(Steady):
    """Does what the table orders."""

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.obedient(self.tick, Witness(self.witness_folder), self.period)


class Collecting(Steady):
    """Loads a model in the manager, and collects garbage in spirits when the table orders it."""

    def init(self) -> None:
        """Load the model, before the first fork."""
        self.model = work.load(float(os.environ["BENCH_MB"]))

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.collecting(self.tick, Witness(self.witness_folder), self.period)


class Brief(Steady):
    """Leaves after its first tick."""

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.brief(self.tick, Witness(self.witness_folder), self.period)


class Stubborn(Steady):
    """Does not leave."""

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.stubborn(self.tick, Witness(self.witness_folder), self.period)


class Unready(Steady):
    """Never has a first tick."""

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.unready(self.tick, Witness(self.witness_folder), self.period)


class Waiting(Prefork):
    """Finishes at once when it is asked to leave: a plain function, which QUIT ends."""

    witness_folder: ClassVar[str]
    period: ClassVar[float] = 1.0

    def __init__(self, **options: object) -> None:
        super().__init__(spirit=self.wait, **options)

    def wait(self) -> None:
        """Work, in the spirit; it takes nothing, so it needs no tick."""
        work.waiting(work.always, Witness(self.witness_folder), self.period)


class Answering(Prefork):
    """Answers connections one by one."""

    witness_folder: ClassVar[str]
    period: ClassVar[float] = 1.0

    def spirit(self) -> object:
        """Work, in the spirit."""
        witness = Witness(self.witness_folder)
        self.marks = witness.open_table()
        self.marks[0] = self.marks[1] = 0  # a former process of this pid may have left some
        witness.tell()
        return super().spirit()

    def connection(self, sock: Connection, _address: object) -> object:
        """Answer one."""
        work.answer(sock, self.marks)
        return None


class Threading(Answering):
    """Answers several at once, in threads."""

    connections = 8


class Awaiting(Answering):
    """Answers many at once, in the tasks of an event loop."""

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # type: ignore[override]
        """Answer one."""
        self.marks[0] += 1
        await reader.read(100)
        writer.write(b"%d" % os.getpid())
        await writer.drain()
        self.marks[1] += 1


class Timing(Steady):
    """Measures its own tick, where and as it is called."""

    def empty(self) -> bool:
        """Do nothing, as a method."""
        return True

    def spirit(self) -> None:
        """Leave the nanoseconds of a tick and of an empty method in a file."""
        for _ in range(1000):
            self.tick()
        lines = [f"{self.cost_of_tick()} {self.cost_of_empty()}\n" for _ in range(TURNS)]
        with open(self.witness_folder + "/costs", "w", encoding="ascii") as file:
            file.writelines(lines)
        super().spirit()

    # Two functions, not one that is told the method: the interpreter adapts a place in the code to what it calls there,
    # and a user's loop calls one thing. Ten calls a turn make the loop itself a fortieth of it.

    def cost_of_tick(self) -> float:
        """Return the nanoseconds of a tick."""
        began = time.perf_counter_ns()
        for _ in range(LOOPS):
            self.tick()
            self.tick()
            self.tick()
            self.tick()
            self.tick()
            self.tick()
            self.tick()
            self.tick()
            self.tick()
            self.tick()
        return (time.perf_counter_ns() - began) / (LOOPS * 10)

    def cost_of_empty(self) -> float:
        """Return the nanoseconds of an empty method."""
        began = time.perf_counter_ns()
        for _ in range(LOOPS):
            self.empty()
            self.empty()
            self.empty()
            self.empty()
            self.empty()
            self.empty()
            self.empty()
            self.empty()
            self.empty()
            self.empty()
        return (time.perf_counter_ns() - began) / (LOOPS * 10)


class Traced(Steady):
    """Ticks under strace."""

    def spirit(self) -> None:
        """Work, in the spirit."""
        work.traced(self.tick, Witness(self.witness_folder))
