"""Threads that share one watch over connections: who finds a request serves it, so that nobody hands it on.

As many threads as may serve watch, read and serve. One more, the porter, reads and writes for the others' connections
while all of them serve, so that a slow answer keeps nobody from being heard; it never serves, so an application meets
no more threads than were chosen.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from contextlib import suppress

from ghostd.hints import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

IN: Final = select.POLLIN | select.POLLPRI
OUT: Final = select.POLLOUT


class Watch(Protocol):
    """Waits for many descriptors, each until it is ready once; in many threads, each of which is told of another."""

    def add(self, fd: int, events: int) -> None:
        """Wait for it, for the first time."""

    def again(self, fd: int, events: int) -> None:
        """Wait for it once more. FileNotFoundError or another OSError if it was closed meanwhile."""

    def listen(self, fd: int) -> None:
        """Wait for connections at this listener, again and again, at the end of its queue."""

    def forget(self, fd: int) -> None:
        """Wait for this listener no more."""

    def wait(self, timeout: float) -> tuple[int, int] | None:
        """One that is ready, and for what; None if that took more than so many seconds."""

    def close(self) -> None:
        """Give back what is held; nobody waits any more."""


class EpollWatch:
    """In an epoll."""

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, fd: int, events: int) -> None:
        """Wait for it, for the first time."""
        self._epoll.register(fd, events | select.EPOLLONESHOT)

    def again(self, fd: int, events: int) -> None:
        """Wait for it once more."""
        self._epoll.modify(fd, events | select.EPOLLONESHOT)

    def listen(self, fd: int) -> None:
        """Wait for connections; each wakes one thread of one process, since none is told twice of the same."""
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE | select.EPOLLET)

    def forget(self, fd: int) -> None:
        """Wait for this listener no more."""
        self._epoll.unregister(fd)

    def wait(self, timeout: float) -> tuple[int, int] | None:
        """One that is ready, and for what."""
        ready = self._epoll.poll(timeout, 1)
        return ready[0] if ready else None

    def close(self) -> None:
        """Give back what is held."""
        self._epoll.close()


class PollWatch:
    """Where the kernel has no epoll: one thread at a time waits, and is woken when there is more to wait for."""

    def __init__(self) -> None:
        self._armed: dict[int, list[int]] = {}  # for what; another list each time, to tell one time from the next
        self._listeners: set[int] = set()
        self._turn = threading.Lock()
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def add(self, fd: int, events: int) -> None:
        """Wait for it, for the first time."""
        self._armed[fd] = [events]
        self._look_again()

    again = add

    def listen(self, fd: int) -> None:
        """Wait for connections at this listener."""
        self._listeners.add(fd)
        self._look_again()

    def forget(self, fd: int) -> None:
        """Wait for this listener no more."""
        self._listeners.discard(fd)
        self._look_again()

    def wait(self, timeout: float) -> tuple[int, int] | None:
        """One that is ready, and for what."""
        with self._turn:
            poll = select.poll()
            poll.register(self._reader, select.POLLIN)
            armed = dict(self._armed)
            for fd in tuple(self._listeners):
                poll.register(fd, select.POLLIN)
            for fd, (wanted,) in armed.items():
                poll.register(fd, wanted)
            for fd, events in poll.poll(timeout * 1000):
                if fd == self._reader:
                    os.read(self._reader, 65536)
                elif fd not in armed:
                    return fd, events
                elif self._armed.get(fd) is armed[fd]:
                    del self._armed[fd]
                    if not events & select.POLLNVAL:
                        return fd, events
        return None

    def _look_again(self) -> None:
        with suppress(BlockingIOError):  # it is woken anyway
            os.write(self._writer, b"\0")

    def close(self) -> None:
        """Give back what is held."""
        os.close(self._reader)
        os.close(self._writer)


class CrewTurns:
    """The listeners in the watch of a crew: a connection wakes one of its threads."""

    def __init__(self, watch: Watch, doors: dict[int, Callable[[], None]], knock: Callable[[], None]) -> None:
        self._watch, self._doors, self._knock = watch, doors, knock

    def add(self, fd: int) -> None:
        """Wait for this listener, at the end of its queue."""
        self._doors[fd] = self._knock
        self._watch.listen(fd)

    def remove(self, fd: int) -> None:
        """Wait for it no more. Its number stays that of a listener: a thread may have been woken for it."""
        self._watch.forget(fd)

    def again(self, fd: int) -> None:
        """A connection was taken from it: go to the end of its queue."""
        self._watch.forget(fd)
        self._watch.listen(fd)

    def close(self) -> None:
        """Give back what is held, which is the crew's."""


class Crew:
    """``size`` threads that serve, and the porter.

    ``stir(fd, events)`` is called in any of them when a descriptor is ready for these: it reads and writes what there
    is without waiting, and says :meth:`ask` of what is to be served. ``idle()`` is called when one has had nothing to
    do for ``nap`` seconds. Neither may raise.
    """

    def __init__(
        self, name: str, size: int, stir: Callable[[int, int], None], idle: Callable[[], None], nap: float
    ) -> None:
        self._size, self._stir, self._idle, self._nap = size, stir, idle, nap
        self._watch: Watch = EpollWatch() if hasattr(select, "epoll") else PollWatch()
        self._doors: dict[int, Callable[[], None]] = {}  # the listeners
        self._tasks: deque[Callable[[], object]] = deque()
        self._change = threading.Condition()  # guards what follows
        self._busy = 0
        self._is_over = False
        # A byte in it wakes one of those that watch.
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._watch.add(self._reader, IN)
        bodies = [self._attend] * size + [self._keep_door]
        self._threads = [
            threading.Thread(target=body, name=f"{name}-{number}", daemon=True) for number, body in enumerate(bodies)
        ]

    def start(self) -> None:
        """Let them begin."""
        for thread in self._threads:
            thread.start()

    def end(self, patience: float = 0.0) -> bool:
        """Let them go; whether all have, within so many seconds each. Who serves goes when it has served."""
        with self._change:
            self._is_over = True
            self._change.notify()
        self.rouse()
        for thread in self._threads:
            thread.join(patience)
        if any(thread.is_alive() for thread in self._threads):
            return False
        self._watch.close()
        os.close(self._reader)
        os.close(self._writer)
        return True

    def watch(self, fd: int, events: int) -> None:
        """Have one that is new watched, until it is ready once."""
        self._watch.add(fd, events)

    def again(self, fd: int, events: int) -> None:
        """Have it watched until it is ready once more; one that was closed meanwhile is no error."""
        with suppress(OSError, ValueError):
            self._watch.again(fd, events)

    def turns(self, knock: Callable[[], None]) -> CrewTurns:
        """Where listeners wait: ``knock()`` is called in any of the threads when there may be a connection."""
        return CrewTurns(self._watch, self._doors, knock)

    def rouse(self) -> None:
        """Wake one that has nothing to do, for what was asked for by somebody who is none of them, or left to it."""
        with suppress(BlockingIOError):  # as many are woken as there can be
            os.write(self._writer, b"\0")

    def ask(self, task: Callable[[], object]) -> None:
        """Have this called, for as long as it takes, by who asks for it or the next one that can. It may not raise."""
        self._tasks.append(task)

    # ── in the threads ──
    def _attend(self) -> None:
        while not self._is_over:
            self._look()
            while self._tasks:
                self._take()
        self.rouse()  # the next one, too

    def _keep_door(self) -> None:
        while True:
            with self._change:
                while self._busy < self._size and not self._is_over:
                    self._change.wait()
            if self._is_over:
                self.rouse()  # the next one, too
                return
            self._look()
            with self._change:
                is_left = bool(self._tasks) and self._busy < self._size
            if is_left:
                self.rouse()  # else whoever has served next will find it

    def _look(self) -> None:
        ready = self._watch.wait(self._nap)
        if ready is None:
            self._idle()
        elif ready[0] == self._reader:
            with suppress(BlockingIOError):
                os.read(self._reader, 1)
            self._watch.again(self._reader, IN)
        elif (knock := self._doors.get(ready[0])) is not None:
            knock()
        else:
            self._stir(*ready)

    def _take(self) -> None:
        try:
            task = self._tasks.popleft()
        except IndexError:  # somebody was quicker
            return
        with self._change:
            self._busy += 1
            if self._busy == self._size:
                self._change.notify()
        try:
            task()
        finally:
            with self._change:
                self._busy -= 1
