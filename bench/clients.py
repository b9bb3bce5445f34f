"""The other end: clients that connect, ask and are answered, each in a process of its own, and what became of that.

python -m bench.clients 127.0.0.1:8080 RATE        until standard input ends; a rate of 0: as fast as answers come
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.pools import ROOT, CannotMeasureError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

TIMEOUT = 10.0


@dataclass(slots=True)
class Outcome:
    """What became of all connections."""

    counts: Counter[int] = field(default_factory=Counter)  # answers, by the pid that gave them
    lost: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)  # milliseconds

    @property
    def answered(self) -> int:
        """How many."""
        return sum(self.counts.values())

    @property
    def share(self) -> float:
        """The part of the busiest."""
        return max(self.counts.values()) / self.answered


class Clients:
    """So many clients in the block; what became of them after it."""

    def __init__(self, address: str, clients: int, rate: float) -> None:
        self.outcome = Outcome()
        self._words = [sys.executable, "-m", "bench.clients", address, str(rate / clients)]
        self._clients = clients
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        for _ in range(self._clients):
            pipe = subprocess.PIPE
            self._processes.append(subprocess.Popen(self._words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True))
        for process in self._processes:
            assert process.stdout is not None
            if process.stdout.readline() != "first\n":
                raise CannotMeasureError("a client had no answer at all")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()  # the end of its input is what a client stops at
            process.stdin = None
        for process in self._processes:
            told, _ = process.communicate(timeout=3 * TIMEOUT)
            if kind is None:
                counts, lost, latencies = json.loads(told)
                self.outcome.counts.update({int(pid): count for pid, count in counts.items()})
                self.outcome.lost += lost
                self.outcome.latencies += latencies


def talk(address: tuple[str, int], rate: float, is_over: Callable[[], bool]) -> Outcome:
    """Connect, ask and be answered, at this rate or as fast as answers come; nothing is tried twice."""
    outcome = Outcome()
    due = time.monotonic()
    while not is_over():
        if rate:
            due += 1 / rate
            time.sleep(max(due - time.monotonic(), 0.0))
        began = time.monotonic()
        try:
            with socket.create_connection(address, TIMEOUT) as one:
                one.sendall(b"hello")
                answer = one.recv(100)
        except OSError as error:
            outcome.lost.append(repr(error))
            continue
        if not answer:
            outcome.lost.append("closed without an answer")
            continue
        if not outcome.counts:
            sys.stdout.write("first\n")
            sys.stdout.flush()
        outcome.counts[int(answer)] += 1
        if rate:
            outcome.latencies.append((time.monotonic() - began) * 1e3)
    return outcome


def main() -> None:
    """Talk until standard input ends."""
    host, _, port = sys.argv[1].rpartition(":")
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    outcome = talk((host, int(port)), float(sys.argv[2]), lambda: bool(poll.poll(0)))
    json.dump([outcome.counts, outcome.lost, outcome.latencies], sys.stdout)


if __name__ == "__main__":
    main()
