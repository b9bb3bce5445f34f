"""Streams answered by several threads at once, as many as the option ``connections`` says; the main thread accepts.

The main thread also beats for all. It goes on as long as the spirit can do anything for anybody: it has room for one
more connection, or one of those in hand waits for its other end, or was heard of lately. So a single thread that hangs
costs its own connection only, and the log names its place; a spirit whose threads hang all is silent.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from contextlib import suppress
from threading import Condition, Thread, get_ident

from ghostd.hints import TYPE_CHECKING
from ghostd.serve.stream import Streams, named

if TYPE_CHECKING:
    from collections.abc import Sequence
    from socket import socket
    from types import FrameType

    from ghostd.serve.acceptor import Taken
    from ghostd.serve.connection import Connection
    from ghostd.serve.manners import Manners
    from ghostd.serve.stream import Answer
    from ghostd.serve.voice import Voice

_LAST_WORDS = 0.5  # of the time between the cut and the manager's SIGKILL, for handlers to end


class Hand:
    """One connection, and whether its thread waits for the other end."""

    def __init__(self) -> None:
        self.connection: Connection
        self.thread = 0  # its number, once one has taken it up
        self.waits = False
        self.since = time.monotonic()  # when it last came back from a wait
        self.is_told = False

    def rest(self) -> float:
        """Its thread waits for the other end."""
        self.waits = True
        return 0.0

    def work(self, before: float, /) -> None:
        """Its thread computes."""
        del before
        self.since = time.monotonic()
        self.waits = False


class InThreads(Streams):
    """In threads, which are made when they are needed, and kept until the spirit has left."""

    def __init__(self, answer: Answer, sockets: Sequence[socket], voice: Voice, manners: Manners) -> None:
        super().__init__(answer, sockets, voice, manners)
        self._most = manners.connections or 1
        self._looked = time.monotonic()
        self._change = Condition()  # guards what follows
        self._hands: set[Hand] = set()
        self._waiting: deque[Hand] = deque()  # those that no thread has taken up yet
        self._threads = self._idle = 0
        self._wants_news = False  # the main thread waits for one to be done
        self._is_over = False  # no connection will come any more

    def __exit__(self, *error: object) -> None:
        with self._change:
            self._is_over = True
            self._change.notify_all()
        super().__exit__(*error)

    def run(self) -> None:
        """Until the spirit is asked to leave, and what it has in hand is answered."""
        self.voice.tick()
        while True:
            (self.acceptor.pause if self._is_full() else self.acceptor.resume)()
            self._sleep(self.manners.interval)
            if self.voice.is_leaving:
                break
            taken = self.acceptor.accept_nowait()
            if taken is not None:
                self._begin(taken)
        self._finish()

    # ── the main thread ──
    def _begin(self, taken: Taken) -> None:
        hand = Hand()
        hand.connection = self.admit(taken, hand)
        with self._change:
            self._hands.add(hand)
            self._waiting.append(hand)
            if self._idle >= len(self._waiting) or self._threads == self._most:
                self._change.notify()
                return
            self._threads += 1
        Thread(target=self._work, daemon=True).start()

    def _is_full(self) -> bool:
        """Whether no more can be taken; if so, the main thread is woken when that changes."""
        with self._change:
            self._wants_news = len(self._hands) >= self._most
            return self._wants_news

    def _is_empty(self) -> bool:
        with self._change:
            self._wants_news = bool(self._hands)
            return not self._wants_news

    def _sleep(self, most: float) -> None:
        """Until there is news, with beats."""
        due = self._looked + self.manners.interval
        self.acceptor.wait(max(min(most, due - time.monotonic()), 0.0))
        now = time.monotonic()
        if now >= due:
            before, self._looked = self._looked, now
            if self._look(now, before):
                self.voice.tick()

    def _look(self, now: float, before: float) -> bool:
        """Whether the spirit can do anything for anybody. Who has hung for long is named."""
        with self._change:
            hands = list(self._hands)
        for hand in hands:
            if not hand.waits and now - hand.since >= self.manners.silence and not hand.is_told:
                hand.is_told = True
                self._name(hand, now - hand.since)
        return len(hands) < self._most or any(hand.waits or hand.since > before for hand in hands)

    def _name(self, hand: Hand, silence: float) -> None:
        frame = sys._current_frames().get(hand.thread)  # noqa: SLF001  documented, for debuggers: where a thread is
        place = "no thread has taken it up" if frame is None else _stack(frame)
        self.voice.log.write(
            "warn",
            f"Connection of {named(hand.connection.address)} has neither ended nor waited for its other end for "
            f"{silence:.3g} s; if all do, the spirit is silent. Its thread is at:\n{place}",
        )

    def _finish(self) -> None:
        """Answer what is in hand, and what nobody else would take; in the end, cut it."""
        until = time.monotonic() + self.manners.patience
        for taken in self.acceptor.stop():
            while self._is_full() and time.monotonic() < until:
                self._sleep(until - time.monotonic())
            self._begin(taken)
            if time.monotonic() >= until:
                break
        self._wait_empty(until)
        with self._change:
            left = [hand.connection for hand in self._hands]
        self.cut(left)
        self._wait_empty(until + (self.manners.graceful_timeout - self.manners.patience) * _LAST_WORDS)

    def _wait_empty(self, until: float) -> None:
        while not self._is_empty() and time.monotonic() < until:
            self._sleep(until - time.monotonic())

    # ── the others ──
    def _work(self) -> None:
        while True:
            with self._change:
                self._idle += 1
                while not self._waiting:
                    if self._is_over:
                        return
                    self._change.wait()
                self._idle -= 1
                hand = self._waiting.popleft()
            hand.thread, hand.since = get_ident(), time.monotonic()
            with suppress(SystemExit):  # of the user's code: it ends no more than this connection
                self.handle(hand.connection)
            with self._change:
                self._hands.discard(hand)
                wants_news = self._wants_news
            if wants_news:
                self.acceptor.wake()


def _stack(frame: FrameType) -> str:
    """Where a thread is, in lines."""
    import traceback  # noqa: PLC0415  15 ms, and only where one hangs

    return "".join(traceback.format_stack(frame)).rstrip()
