"""Threads that share one watch: one of them hears each connection, and no answer keeps others from being heard."""

from __future__ import annotations

import select
import socket
import threading
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import pytest

from ghostd.serve.acceptor import Acceptor
from ghostd.serve.crew import IN, OUT, Crew
from tests.support import wait_until
from tests.unit.serve.sockets import Log, connect, listen

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.parametrize("watch", ["epoll", "poll"])
NEVER = 3600.0


@pytest.fixture(autouse=True)
def _watched_by(watch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if watch == "poll":
        monkeypatch.delattr(select, "epoll", raising=False)


class Kitchen:
    """What is heard on a connection is served in the thread that the crew chooses: ``cook`` is told what it was."""

    def __init__(self, size: int, nap: float = NEVER) -> None:
        self.crew = Crew("cook", size, self._stir, self._idle, nap)
        self.cook: Callable[[bytes], object] = self._note
        self.heard: list[bytes] = []
        self.served: list[tuple[bytes, str]] = []
        self.idled = 0
        self._ends: dict[int, socket.socket] = {}
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        self.crew.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._closing:
            assert self.crew.end(patience=30.0)

    def connect(self) -> socket.socket:
        """A connection of which the other end is watched."""
        ours, theirs = (self._closing.enter_context(one) for one in socket.socketpair())
        self._ends[ours.fileno()] = ours
        self.crew.watch(ours.fileno(), IN)
        return theirs

    def _stir(self, fd: int, events: int) -> None:
        if not events & IN:  # of one that was closed, whose number is another's now
            return
        said = self._ends[fd].recv(100)
        self.heard.append(said)
        self.crew.ask(lambda: self.cook(said))
        self.crew.again(fd, IN)

    def _idle(self) -> None:
        self.idled += 1

    def _note(self, said: bytes) -> None:
        self.served.append((said, threading.current_thread().name))


def test_each_word_is_served_once_however_many_come() -> None:
    with Kitchen(3) as one:
        clients = [one.connect() for _ in range(8)]
        for number in range(20):
            for client in clients:
                client.send(b"%d" % number)
            wait_until(lambda number=number: len(one.served) == 8 * (number + 1))  # type: ignore[misc]
        assert Counter(said for said, _ in one.served) == {b"%d" % number: 8 for number in range(20)}


def test_the_same_thread_serves_always_if_one_was_chosen() -> None:
    with Kitchen(1) as one:
        clients = [one.connect() for _ in range(3)]
        for number in range(50):
            for client in clients:
                client.send(b"x")
            wait_until(lambda number=number: len(one.served) == 3 * (number + 1))  # type: ignore[misc]
        assert {name for _, name in one.served} == {"cook-0"}


def test_all_that_were_chosen_serve_at_once() -> None:
    with Kitchen(3) as one:
        together = threading.Barrier(4)
        one.cook = lambda _: together.wait(30.0)
        for _ in range(3):
            one.connect().send(b"x")
        together.wait(30.0)  # else BrokenBarrierError


def test_what_is_said_while_all_serve_is_heard_then_and_served_next() -> None:
    with Kitchen(2) as one:
        go, note = threading.Event(), one.cook
        one.cook = lambda said: go.wait(30.0) and note(said)
        for _ in range(2):
            one.connect().send(b"long")
        wait_until(lambda: len(one.heard) == 2)
        other = one.connect()
        for number in range(3):  # the porter hears them, and serves none
            other.send(b"%d" % number)
            wait_until(lambda number=number: one.heard[-1] == b"%d" % number)  # type: ignore[misc]
        assert not one.served
        go.set()
        wait_until(lambda: len(one.served) == 5)
        other.send(b"after")
        wait_until(lambda: one.served[-1][0] == b"after")
        assert {name for _, name in one.served} <= {"cook-0", "cook-1"}


def test_who_has_nothing_to_do_says_so_now_and_then() -> None:
    with Kitchen(1, nap=0.01) as one:
        wait_until(lambda: one.idled >= 3)


def test_one_that_was_closed_meanwhile_is_no_error() -> None:
    with Kitchen(1) as one:
        ours, theirs = socket.socketpair()
        fd = ours.fileno()
        one.crew.watch(fd, IN)
        ours.close()
        theirs.close()
        one.crew.again(fd, IN | OUT)
        one.connect().send(b"x")
        wait_until(lambda: one.served)


class Porch:
    """A crew that takes connections, and keeps what it took."""

    def __init__(self, closing: ExitStack, log: Log, listener: socket.socket) -> None:
        self.kitchen = closing.enter_context(Kitchen(2))
        self.acceptor = Acceptor([listener], log)
        closing.callback(self.acceptor.close)
        self.taken: list[str] = []
        self._closing = closing
        self.acceptor.attach_to(self.kitchen.crew.turns(self.acceptor.look), self._take)

    def _take(self, connection: socket.socket, _address: object) -> None:
        self._closing.enter_context(connection)
        self.taken.append(threading.current_thread().name)


def test_those_who_watch_take_connections(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)
    porch = Porch(closing, log, listener)
    for number in range(10):
        connect(closing, listener)
        wait_until(lambda number=number: len(porch.taken) == number + 1)  # type: ignore[misc]
    assert set(porch.taken) <= {"cook-0", "cook-1"}
    porch.acceptor.pause()
    waiting = connect(closing, listener)
    porch.acceptor.wait(0.01)  # of the main thread: it sleeps, and is not woken for it
    assert len(porch.taken) == 10
    porch.acceptor.resume()
    wait_until(lambda: len(porch.taken) == 11)
    assert list(porch.acceptor.stop()) == []
    del waiting


def test_many_at_once_are_all_taken(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)
    porch = Porch(closing, log, listener)
    for burst in range(1, 6):
        for _ in range(20):
            connect(closing, listener)
        wait_until(lambda burst=burst: len(porch.taken) == 20 * burst)  # type: ignore[misc]


def test_crews_on_one_listener_take_turns(closing: ExitStack, log: Log, watch: str) -> None:
    most = 12 if watch == "epoll" else 40  # without it all wake, and any of them is the first
    listener = listen(closing)
    porches = [Porch(closing, log, listener) for _ in range(4)]
    for number in range(40):
        connect(closing, listener)
        wait_until(lambda number=number: sum(len(one.taken) for one in porches) == number + 1)  # type: ignore[misc]
    assert max(len(one.taken) for one in porches) <= most


def test_who_serves_goes_when_it_has_served() -> None:
    with Kitchen(2) as one:
        go = threading.Event()
        one.cook = lambda _: go.wait(30.0)
        one.connect().send(b"x")
        wait_until(lambda: one.heard)
        assert not one.crew.end()
        go.set()


def test_a_stop_waits_for_what_is_being_taken(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)
    kitchen = closing.enter_context(Kitchen(2))
    acceptor = Acceptor([listener], log)
    closing.callback(acceptor.close)
    taking, go, used = threading.Event(), threading.Event(), threading.Event()

    def use(connection: socket.socket, _address: object) -> None:
        with connection:
            taking.set()
            go.wait(30.0)
            used.set()

    acceptor.attach_to(kitchen.crew.turns(acceptor.look), use)
    connect(closing, listener)
    assert taking.wait(30.0)
    found_used: list[bool] = []
    stopper = threading.Thread(target=lambda: found_used.append(list(acceptor.stop()) == [] and used.is_set()))
    stopper.start()
    stopper.join(0.1)  # it waits; a stop that does not would be over by now
    go.set()
    stopper.join(30.0)
    assert found_used == [True]
