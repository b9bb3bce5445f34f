"""What slow clients do to the others: 2,000 that say nothing and 200 that send their request a byte at a time."""

from __future__ import annotations

import resource
import select
import socket
import threading
import time
from typing import TYPE_CHECKING

from bench import procs
from bench.report import Figure, Spread
from bench.serve.client import Client
from bench.serve.load import Load
from bench.serve.servers import Served, chosen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from bench.harness import Bench
    from bench.serve.client import Address, Outcome
    from bench.serve.servers import Server

IDLE, SLOW = 2000, 200
RATE = 100.0
MEGA = 1 << 20
MOST_TAIL, MOST_LATE = 3.0, 50.0  # times the tail without them, or milliseconds
MOST_MEMORY = 50_000  # bytes a connection that does nothing
QUICK = ("ghostd/uvicorn", "ghostd/waitress", "gunicorn/gthread")
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


def measure(bench: Bench) -> Iterator[Figure]:
    """Compare each server with itself, without and with slow clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    for one in chosen(bench, QUICK):
        # A stream has as many connections as threads, by the user's choice: tests/live/test_streams_slow.py.
        if one.app != "stream":
            yield from _of(one, bench.pick(2.0, 15.0))


def _of(server: Server, seconds: float) -> Iterator[Figure]:
    subject = "ghostd" if server.is_ours else server.label
    with Served(server) as served:
        before, without = _memory(served), _ask(served, seconds)
        with Crowd(served.address) as crowd:
            Client(served.address, connections=1).run(requests=1)  # behind all that came: now they are taken
            outcome = _ask(served, seconds)
            grown = (_memory(served) - before) / crowd.count
    lost, tail = outcome.lost, outcome.percentile(0.99) * 1e3
    usual = without.percentile(0.99) * 1e3
    told = f"{crowd.count} came; {lost} lost of {outcome.answered + lost}: {dict(outcome.failed)}" if lost else ""
    ours = server.is_ours
    yield Figure(
        name=f"p99 of others beside slow clients, {server.label}", unit="ms", subject=subject,
        measured=Spread.of([tail]), baseline=Spread.of([usual]), against="without them", ratio=tail / (usual or 1.0),
        goal=f"<= {MOST_TAIL:g} x or {MOST_LATE:g} ms, none lost" if ours else "",
        met=(tail <= max(MOST_TAIL * usual, MOST_LATE) and not lost) if ours else None, note=told,
    )  # fmt: skip
    yield Figure(
        name=f"memory of a slow client, {server.label}", unit="B", subject=subject, measured=Spread.of([grown]),
        goal=f"<= {MOST_MEMORY:,} B" if ours else "", met=grown <= MOST_MEMORY if ours else None,
        note=f"{before / MEGA:.0f} MB before",
    )  # fmt: skip


def _ask(served: Served, seconds: float) -> Outcome:
    with Load(served.address, RATE, keep_alive=False, connections=64) as load:
        time.sleep(seconds)
    return load.outcome


def _memory(served: Served) -> int:
    return sum(map(procs.rss_bytes, served.living()))


class Crowd:
    """Slow clients, in a thread, in the block."""

    def __init__(self, address: Address) -> None:
        self.count = 0
        self._address = address
        self._socks: list[socket.socket] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._dribble)

    def __enter__(self) -> Self:
        for _ in range(IDLE + SLOW):
            sock = socket.socket()
            self._socks.append(sock)
            sock.setblocking(False)
            sock.connect_ex(self._address)
        poll = select.poll()
        for sock in self._socks:
            poll.register(sock, select.POLLOUT)
        self.count = len(poll.poll(5000))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        for sock in self._socks:
            sock.close()

    def _dribble(self) -> None:
        slow = self._socks[:SLOW]
        words = HEAD
        while not self._over.wait(0.2):
            for sock in slow:
                try:
                    sock.send(words[:1])
                except OSError:
                    continue  # its server has had enough of it
            words = words[1:] or b"x"
