"""What is lost while something is done to a server under load, told in one form for ours and for the peers."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.pools import CannotMeasureError
from bench.report import Figure, Spread
from bench.serve.client import Outcome
from bench.serve.load import Load
from bench.serve.servers import How, Served, Server

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Run:
    """One server, what was done to it, and what became of the requests meanwhile."""

    server: Server
    how: How = field(default_factory=How)
    keep_alive: bool = True
    outcome: Outcome = field(default_factory=Outcome)
    took: list[float] = field(default_factory=list)  # milliseconds of each time
    killed: set[int] = field(default_factory=set)
    begun: int = 0  # of those lost, in the handler of a spirit that was killed
    why: str = ""  # it could not be measured

    @property
    def label(self) -> str:
        """Which server, where it listens, and how it is asked."""
        place = "unix" if self.how.is_unix else "TCP"
        return f"{self.server.label}, {place}, {'kept' if self.keep_alive else 'one each'}"

    def under_load(self, rate: float, act: Callable[[Served, Run], None]) -> Run:
        """Do it under load."""
        try:
            with Served(self.server, self.how) as served:
                with Load(served.address, rate, keep_alive=self.keep_alive) as load:
                    act(served, self)
                self.outcome = load.outcome
                self.begun = sum(served.beginner(number) in self.killed for number in self.outcome.numbers)
        except (CannotMeasureError, ProcessLookupError) as error:
            self.why = str(error)
        return self

    def figure(self, what: str, most: float = 0.0) -> Figure:
        """How many were lost, beyond what a killed handler had begun; ``most`` is the goal for ours."""
        subject = "ghostd" if self.server.is_ours else self.server.label
        if self.why:
            return Figure(name=f"{what}, {self.label}", unit="", subject=subject, note=f"not measured: {self.why}")
        lost = self.outcome.lost - self.begun
        note = f"{self.begun} more had begun" if self.killed else ""
        told = (f"of {self.outcome.answered + self.outcome.lost}; {self.tail()}", self.times(), note, self.failures())
        return Figure(
            name=f"{what}, {self.label}", unit="", subject=subject, measured=Spread.of([lost]),
            goal=f"<= {most:g}" if self.server.is_ours else "",
            met=lost <= most if self.server.is_ours else None, note="; ".join(filter(None, told)),
        )  # fmt: skip

    def tail(self) -> str:
        """The slowest answers."""
        p99, p999, most = (self.outcome.percentile(share) * 1e3 for share in (0.99, 0.999, 1.0))
        return f"p99 {p99:.3g} ms, p99.9 {p999:.3g} ms, most {most:.3g} ms"

    def times(self) -> str:
        """How long it took each time."""
        return f"each took {Spread.of(self.took).median:.0f} ms, {max(self.took):.0f} at most" if self.took else ""

    def failures(self) -> str:
        """How requests failed."""
        return ", ".join(f"{count} x {what}" for what, count in self.outcome.failed.items())


def reload(count: int, pace: float) -> Callable[[Served, Run], None]:
    """So many reloads, no two of which begin within the pace."""

    def act(served: Served, run: Run) -> None:
        for _ in range(count):
            old, began = served.living(), time.monotonic()
            os.kill(served.manager, signal.SIGHUP)
            served.wait_renewed(old)
            run.took.append((time.monotonic() - began) * 1e3)
            time.sleep(max(began + pace - time.monotonic(), 0.1))

    return act
