"""What every WSGI server in a spirit needs: its main thread takes connections and beats, and leads the leaving.

Requests are answered in threads of the server's. The spirit beats as long as one of them is free or gets something
done: when all are busy and none finishes anything, it is as silent as a loop that is blocked.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

from ghostd.serve.acceptor import Acceptor

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ghostd.serve.job import Job
    from ghostd.serve.voice import Voice

_LOOKS = 20  # at what is idle, within the grace
_LOOK_FIRST, _LOOK_LAST = 0.005, 0.1  # seconds between two of them, at least and at most


class Pulse:
    """Requests in hand, counted by whichever thread takes them, and whether they go on."""

    def __init__(self, voice: Voice, threads: int) -> None:
        self.in_hand = 0
        self.done = 0
        self._voice = voice
        self._threads = threads
        self._seen = -1
        self._lock = threading.Lock()

    def begin(self) -> None:
        """A thread has taken a request."""
        with self._lock:
            self.in_hand += 1
            self._voice.took()

    def end(self) -> None:
        """It has answered it."""
        with self._lock:
            self.in_hand -= 1
            self.done += 1
            self._voice.gave()

    def beat(self) -> None:
        """Beat, unless every thread is busy and none has finished anything since the last time."""
        done, self._seen = self._seen, self.done
        if self.in_hand < self._threads or done != self.done:
            self._voice.tick()


class Hand(Protocol):
    """What a server has in hand, as the one who leads its leaving sees it."""

    def attach(self, acceptor: Acceptor) -> None:
        """Take connections in threads of the server's, if it can."""

    def admit(self, sock: socket.socket, address: object) -> None:
        """Take a connection."""

    def count(self) -> int:
        """How many connections are in hand."""

    def say_close(self) -> None:
        """From now on each answer says Connection: close."""

    def usher(self, now: float) -> int:
        """Close what has been idle for as long as it may; how many connections are left."""

    def cut(self) -> None:
        """Close what is left."""


def attend(job: Job, pulse: Pulse, hand: Hand) -> None:
    """See to it that connections are taken until the spirit is asked to leave, and leave. In the main thread."""
    voice, manners = job.voice, job.manners
    acceptor = Acceptor(job.sockets, voice.log)
    voice.when_leaving(acceptor.wake)
    hand.attach(acceptor)
    try:
        _take(acceptor, job, pulse, hand)
        for taken in acceptor.stop():
            hand.admit(*taken)
        hand.say_close()
        until = time.monotonic() + manners.patience
        step = min(max(job.grace / _LOOKS, _LOOK_FIRST), _LOOK_LAST)
        while left := hand.usher(time.monotonic()):
            if time.monotonic() >= until:
                voice.log.write("warn", told_cut(left, pulse.in_hand, manners.patience))
                hand.cut()
                return
            acceptor.wait(step)
            pulse.beat()
    finally:
        acceptor.close()


def _take(acceptor: Acceptor, job: Job, pulse: Pulse, hand: Hand) -> None:
    interval, most = job.manners.interval, job.manners.connections
    due = time.monotonic()
    while not job.voice.is_leaving:
        # The first wait takes its place among those who wait; only then it is ready.
        acceptor.wait(min(max(due - time.monotonic(), 0.0), _LOOK_LAST if acceptor.is_paused else interval))
        if time.monotonic() >= due:
            pulse.beat()
            due = time.monotonic() + interval
        if most is not None and acceptor.is_paused != (hand.count() >= most):
            (acceptor.resume if acceptor.is_paused else acceptor.pause)()
        taken = acceptor.accept_nowait()
        if taken is not None:
            hand.admit(*taken)


def told_cut(connections: int, requests: int, patience: float) -> str:
    """The line of the log about what was cut."""
    return (
        f"Cut {connections} connections with {requests} requests in hand, {patience:g} s after the spirit was asked to "
        "leave; what takes longer needs a longer graceful_timeout"
    )


class Idle:
    """Since when connections are idle."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._since: dict[object, float] = {}

    def is_over(self, connection: object, now: float, *, is_idle: bool) -> bool:
        """Whether it has been idle for as long as it may."""
        if not is_idle:
            self._since.pop(connection, None)
            return False
        return now - self._since.setdefault(connection, now) >= self._grace

    def forget(self, connection: object) -> None:
        """It has gone."""
        self._since.pop(connection, None)


def place(sock: socket.socket) -> object:
    """What a listener and its connections have in common: the path, or the port; the address may be any."""
    name = sock.getsockname()
    return name[1] if isinstance(name, tuple) else name


def run_apart(name: str, body: Callable[[], None]) -> threading.Thread:
    """Run it in a thread that does not keep the spirit from its end."""
    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    return thread
