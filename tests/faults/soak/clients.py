"""The clients of a soak: who asks the web pool and who gives jobs to the mill, each request and job written down.

Rule: nothing is tried twice, and nothing is forgotten: a request that has begun has its line in the end.
"""

from __future__ import annotations

import itertools
import socket
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from examples.wordmill.queues import open_queue
from examples.wordmill.reference import Reference, compute, differences
from examples.wordmill.tally import corpus
from tests.faults.soak.ghosts import PORT
from tests.faults.soak.history import Difference, Done, History, Job, Request, Stall

CLIENTS: Final = 4  # the first of them keeps its connection
PAUSE: Final = 0.08
PATIENCE: Final = 20.0  # seconds that a client waits for an answer
FILES: Final = 23  # small ones, and a thick one
EVERY: Final = 1.5  # seconds between two rounds of jobs
LATE: Final = 0.3  # seconds by which a nap of a tenth may be late before the machine counts as busy

REFUSED: Final = "refused"
STALE: Final = "stale"


class Crowd:
    """All who ask, in threads."""

    def __init__(self, history: History, queue: Path, thick: Path) -> None:
        self._history = history
        self._over = threading.Event()
        self._numbers = itertools.count(1)
        self.jobs = Jobs(history, queue, thick)
        self._threads = [threading.Thread(target=self._ask_on, args=(number == 0,)) for number in range(CLIENTS)]
        self._threads += [threading.Thread(target=self._watch), threading.Thread(target=self._give)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask_on(self, keeps: bool) -> None:
        kept: socket.socket | None = None
        while not self._over.wait(PAUSE):
            number = next(self._numbers)
            sent = time.monotonic()
            try:
                kept, how = _ask(number, kept, keeps=keeps)
            except ConnectionRefusedError:
                kept, how = None, REFUSED
            except OSError as error:
                kept, how = None, type(error).__name__
            self._history.add(Request(number, sent, time.monotonic(), how))
        if kept:
            kept.close()

    def _give(self) -> None:
        while not self._over.wait(0.1):
            self.jobs.turn()

    def _watch(self) -> None:
        """Whoever watches others must know when it was asleep itself."""
        last = time.monotonic()
        while not self._over.wait(0.1):
            now = time.monotonic()
            if now - last > 0.1 + LATE:
                self._history.add(Stall(last, now))
            last = now


def _ask(number: int, kept: socket.socket | None, *, keeps: bool) -> tuple[socket.socket | None, str]:
    sock = kept or socket.create_connection(("127.0.0.1", PORT), PATIENCE)
    got = b""
    try:
        manner = "keep-alive" if keeps else "close"
        sock.sendall(f"GET /{number} HTTP/1.1\r\nHost: localhost\r\nConnection: {manner}\r\n\r\n".encode())
        while not _is_whole(got):
            part = sock.recv(65536)
            if not part:
                sock.close()
                return None, STALE if kept and not got else f"closed after {len(got)} bytes"
            got += part
    except ConnectionResetError:
        sock.close()
        if kept and not got:
            return None, STALE
        raise
    except OSError:
        sock.close()
        raise
    head, _, body = got.partition(b"\r\n\r\n")
    if not keeps or b"connection: close" in head.lower():
        sock.close()
        kept = None
    else:
        kept = sock
    is_mine = head.startswith(b"HTTP/1.1 200") and body == b"%d" % number
    return kept, "answered" if is_mine else f"answered {got[:40]!r}"


def _is_whole(got: bytes) -> bool:
    head, end, body = got.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
    return bool(end) and len(body) >= int(length or b"0")


class Jobs:
    """What is given to the mill, and what came back. Used by one thread at a time."""

    def __init__(self, history: History, queue: Path, thick: Path) -> None:
        thick.write_text(("# " + "x" * 4000 + "\n") * 150)  # no work, but memory
        small = [path for path in corpus() if 2000 < Path(path).stat().st_size < 6000]
        self._paths = [*small[:: max(1, len(small) // FILES)][:FILES], str(thick)]
        self._history = history
        self._where = str(queue)
        self._rounds = 0
        self._due = 0.0
        self._open: set[int] = set()
        with open_queue(self._where) as made:
            made.fill(self._paths, 0)

    def turn(self) -> None:
        """Put the next round in when it is due, and look at what is done."""
        if time.monotonic() >= self._due and len(self._open) < 10 * len(self._paths):
            self._due = time.monotonic() + EVERY
            self._give_round()
        self._look()

    def finish(self, limit: float) -> None:
        """Wait until all are done, and compare with what one process makes of them."""
        until = time.monotonic() + limit
        while self._open and time.monotonic() < until:
            self._look()
            time.sleep(0.1)
        reference: Reference = compute(self._paths)
        with open_queue(self._where) as queue:
            for text in differences(queue, reference, self._rounds):
                self._history.add(Difference(text))

    def _give_round(self) -> None:
        with suppress(sqlite3.OperationalError), open_queue(self._where) as queue:  # one that is stopped may hold it
            queue.fill(self._paths, self._rounds + 1, first=self._rounds)
            at = time.monotonic()
            # Numbers are given in the order of the queue, without gaps: nobody else puts jobs in.
            begin = self._rounds * len(self._paths) + 1
            self._rounds += 1
            for number in range(begin, begin + len(self._paths)):
                self._open.add(number)
                self._history.add(Job(number, at))

    def _look(self) -> None:
        if not self._open:
            return
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(self._where, timeout=1.0)) as database:
            rows = database.execute("SELECT job FROM result WHERE job >= ?", (min(self._open),)).fetchall()
            at = time.monotonic()
            for (number,) in rows:
                if number in self._open:
                    self._open.remove(number)
                    self._history.add(Done(number, at))
