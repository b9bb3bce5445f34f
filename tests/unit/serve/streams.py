"""A spirit's voice that keeps what is said with it, and a server of streams that runs in a thread."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ghostd.serve import stream
from ghostd.serve.manners import Manners
from tests.support import wait_until
from tests.unit.serve.sockets import Log

QUICK = Manners(interval=0.02, silence=0.2, graceful_timeout=10.0)


class Voice:
    """The spirit, as a server sees it."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.is_leaving = False
        self.beats = self.rests = self.in_hand = self.most_in_hand = self.served = 0
        self._calls: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def tick(self) -> bool:
        self.beats += 1
        return not self.is_leaving

    def when_leaving(self, call: Callable[[], None], /) -> None:
        self._calls.append(call)

    def took(self) -> None:
        with self._lock:
            self.in_hand += 1
            self.most_in_hand = max(self.most_in_hand, self.in_hand)

    def gave(self) -> None:
        with self._lock:
            self.in_hand -= 1
            self.served += 1

    def rest(self) -> float:
        self.rests += 1
        return float(self.rests)

    def work(self, before: float, /) -> None:
        assert before == self.rests

    def ask(self) -> None:
        """Ask the spirit to leave."""
        self.is_leaving = True
        calls, self._calls = self._calls, []
        for call in calls:
            call()


class Serving:
    """A server in a thread of its own, in place of a spirit's main thread."""

    def __init__(self, answer: Callable[..., Any], listeners: list[socket.socket], log: Log, manners: Manners) -> None:
        self.voice = Voice(log)
        self._thread = threading.Thread(target=self._run, args=(answer, listeners, manners))

    def _run(self, answer: Callable[..., Any], listeners: list[socket.socket], manners: Manners) -> None:
        result = stream.serve(answer, listeners, self.voice, manners)
        if result is not None:
            import asyncio

            asyncio.run(result)  # type: ignore[arg-type]

    @property
    def has_left(self) -> bool:
        return not self._thread.is_alive()

    def wait_left(self) -> None:
        wait_until(lambda: self.has_left, what="the end of the server")

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self.voice.ask()
        self._thread.join(20)
        assert self.has_left


@contextmanager
def serving(
    answer: Callable[..., Any], *listeners: socket.socket, log: Log, manners: Manners = QUICK
) -> Iterator[Serving]:
    """Serve in this block; asked to leave at its end at the latest."""
    one = Serving(answer, list(listeners), log, manners)
    one.begin()
    try:
        yield one
    finally:
        one.end()
    assert one.voice.in_hand == 0


def wait_a_while(seconds: float = 0.1) -> None:
    """Let so much time pass: for what must not happen meanwhile."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until)
