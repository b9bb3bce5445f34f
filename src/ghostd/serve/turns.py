"""Who of several spirits that share a listener is woken for the next connection: each in its turn.

The kernel wakes one waiter of a listener when all wait exclusively: the first of its queue that sleeps at that moment.
Whoever has taken a connection goes to the end of the queue, by taking its listener out of its epoll and putting it in
again: so they take turns, and one that is busy is passed over. No policy in here: what is done with a connection, and
when nobody is to wait, is the acceptor's.
"""

from __future__ import annotations

import os
import select
import selectors
from contextlib import suppress

from ghostd.hints import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Final

_TURNS_TO_WAIT: Final = 3  # of a loop, until what it was told stands in its epoll; libuv needs one or two


class Turns(Protocol):
    """A place where listeners are waited for."""

    def add(self, fd: int) -> None:
        """Wait for this listener, at the end of its queue."""

    def remove(self, fd: int) -> None:
        """Wait for it no more."""

    def again(self, fd: int) -> None:
        """A connection was taken from it: go to the end of its queue."""

    def close(self) -> None:
        """Give back what is held; a second time does nothing."""


class Sleep(Turns, Protocol):
    """One in which a thread sleeps."""

    def watch(self, fd: int) -> None:
        """Wake for this descriptor, too."""

    def wait(self, timeout: float) -> bool:
        """Until one of all these is readable, for so many seconds at most; whether it was the one that is watched."""


class EpollSleep:
    """An epoll of this spirit's own, in which its main thread sleeps."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched = -1

    def add(self, fd: int) -> None:
        """Wait for this listener, at the end of its queue."""
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def remove(self, fd: int) -> None:
        """Wait for it no more."""
        self._epoll.unregister(fd)

    def again(self, fd: int) -> None:
        """Go to the end of its queue."""
        self._epoll.unregister(fd)
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)  # looks at it, too: nothing is slept over

    def watch(self, fd: int) -> None:
        """Wake for this descriptor, too."""
        self._epoll.register(fd, select.EPOLLIN)
        self._watched = fd

    def wait(self, timeout: float) -> bool:
        """Until one of all these is readable, for so many seconds at most; whether it was the one that is watched."""
        return any(fd == self._watched for fd, _ in self._epoll.poll(timeout, 1))

    def close(self) -> None:
        """Give back what is held; a second time does nothing."""
        self._epoll.close()


class PollSleep:
    """Where the kernel has no epoll: all spirits wake, and one of them is the first."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._watched = -1

    def add(self, fd: int) -> None:
        """Wait for this listener, at the end of its queue."""
        self._poll.register(fd, select.POLLIN)

    def remove(self, fd: int) -> None:
        """Wait for it no more."""
        self._poll.unregister(fd)

    def again(self, fd: int) -> None:
        """There is no queue to go to the end of."""

    def watch(self, fd: int) -> None:
        """Wake for this descriptor, too."""
        self._poll.register(fd, select.POLLIN)
        self._watched = fd

    def wait(self, timeout: float) -> bool:
        """Until one of all these is readable, for so many seconds at most; whether it was the one that is watched."""
        return any(fd == self._watched for fd, _ in self._poll.poll(timeout * 1000))

    def close(self) -> None:
        """Give back what is held, which is nothing."""


class LoopTurns:
    """The listeners in an event loop: exclusively, where the loop stands on an epoll that can be reached.

    They must be in the loop's own epoll. An epoll inside of it would wake all spirits for each connection, because the
    kernel passes an exclusive wake-up on to the next waiter unless a process sleeps in that very epoll.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None], *, exclusive: bool) -> None:
        self._loop = loop
        self._call = call
        self._epoll = _epoll_of(loop) if exclusive else None
        self._waits: set[int] = set()
        self._exclusive: set[int] = set()

    def add(self, fd: int) -> None:
        """Wait for this listener, at the end of its queue."""
        self._waits.add(fd)
        self._loop.add_reader(fd, self._call)
        self._claim(fd)

    def remove(self, fd: int) -> None:
        """Wait for it no more."""
        self._waits.discard(fd)
        self._exclusive.discard(fd)
        self._loop.remove_reader(fd)

    def again(self, fd: int) -> None:
        """Go to the end of its queue."""
        if self._epoll is not None and fd in self._exclusive:
            self._epoll.unregister(fd)
            self._epoll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def close(self) -> None:
        """Give back what is held; a second time does nothing."""
        for fd in list(self._waits):
            self.remove(fd)
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

    def _claim(self, fd: int, patience: int = _TURNS_TO_WAIT) -> None:
        """Turn the loop's own wait into an exclusive one, once it is there: libuv puts it in at its next turn."""
        if self._epoll is None or fd not in self._waits or fd in self._exclusive:
            return
        try:
            self._epoll.unregister(fd)
        except FileNotFoundError:
            if patience:
                self._loop.call_soon(self._claim, fd, patience - 1)
            return
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self._exclusive.add(fd)


def has_exclusive() -> bool:
    """Whether this kernel knows exclusive waiting: Linux since 4.5, and not everything that says it is Linux."""
    if not hasattr(select, "epoll"):
        return False
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        with select.epoll() as epoll:
            epoll.register(reader, select.EPOLLIN | select.EPOLLEXCLUSIVE)
    except OSError:
        return False
    finally:
        os.close(reader)
        os.close(writer)
    return True


def _epoll_of(loop: asyncio.AbstractEventLoop) -> select.epoll | None:
    """A handle to the epoll that the loop sleeps in; None if there is none, or if it keeps it to itself."""
    fd = -1
    selector = getattr(loop, "_selector", None)  # asyncio's
    if hasattr(selectors, "EpollSelector") and isinstance(selector, selectors.EpollSelector):
        fd = selector.fileno()
    elif hasattr(loop, "_get_backend_id"):  # uvloop's
        fd = loop._get_backend_id()  # noqa: SLF001  there is no other way to it; without it all spirits wake
    with suppress(OSError):
        if os.readlink(f"/proc/self/fd/{fd}").endswith("[eventpoll]"):
            return select.epoll.fromfd(os.dup(fd))  # a copy, because its end would close it
    return None
