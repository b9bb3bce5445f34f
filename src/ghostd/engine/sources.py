"""Where facts come from: descriptors that can be waited for, each with a function that gathers events. No decisions."""

from __future__ import annotations

import select
import signal

from ghostd.core.events import Continued, Event, ScaleAsked, StopAsked
from ghostd.hints import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ghostd.linux.inbox import Inbox

    Gather = Callable[[float], Iterable[Event]]

MANAGER_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCHLD,
    signal.SIGCONT,
)

# Those of them that mean nothing to a ghost that has ended.
REQUEST_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


class Poller:
    """The one place that blocks. Descriptors with what gathers from each."""

    def __init__(self) -> None:
        self._gathers: dict[int, Gather] = {}
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._poll = None if self._epoll else select.poll()

    def fileno(self) -> int:
        """The descriptor of the poller itself; -1 where it has none."""
        return self._epoll.fileno() if self._epoll else -1

    def watch(self, fd: int, gather: Gather) -> None:
        """Call ``gather`` when ``fd`` is readable."""
        if self._epoll:
            self._epoll.register(fd, select.EPOLLIN)
        elif self._poll:
            self._poll.register(fd, select.POLLIN)
        self._gathers[fd] = gather

    def forget(self, fd: int) -> None:
        """No longer watch ``fd``, which is still open."""
        del self._gathers[fd]
        if self._epoll:
            self._epoll.unregister(fd)
        elif self._poll:
            self._poll.unregister(fd)

    def wait(self, timeout: float | None) -> list[Gather]:
        """Block until a descriptor is readable or ``timeout`` seconds are over: what has something to gather."""
        if self._epoll:
            ready = self._epoll.poll(timeout, len(self._gathers) or 1)
        else:
            assert self._poll is not None, "one of the two is there"
            ready = self._poll.poll(None if timeout is None else timeout * 1000)
        return [self._gathers[fd] for fd, _ in ready]

    def close(self) -> None:
        """Give the descriptor back."""
        if self._epoll:
            self._epoll.close()


class Duties(Protocol):
    """What is asked of the ghost beyond its pool."""

    def serve(self, number: int) -> None:
        """Do what HUP, USR1 or USR2 asks for. Never raises, although hooks of the user are called."""

    def upkeep(self) -> float:
        """Look after what the ghost has on the disk and tell how it is, cheaply: when to be called again at the latest.

        Never raises.
        """


class Signals:
    """The signals of the manager, as events.

    In the foreground a first TERM or INT is graceful and a second one immediate; a detached daemon stops at once on
    either, as the ancestor does, and gracefully on QUIT.
    """

    def __init__(self, inbox: Inbox, duties: Duties, unwatched: Gather, *, foreground: bool) -> None:
        self._inbox = inbox
        self._duties = duties
        self._unwatched = unwatched  # gathers the ends of children that have no descriptor
        self._foreground = foreground
        self._asked_once = False

    def gather(self, now: float) -> Iterable[Event]:
        """What the signals that have come in ask for."""
        for number in self._inbox.drain():
            yield from self._events(number, now)

    def _events(self, number: int, now: float) -> Iterable[Event]:
        match number:
            case signal.SIGTERM | signal.SIGINT:
                graceful = self._foreground and not self._asked_once
                self._asked_once = True
                yield StopAsked(graceful, now)
            case signal.SIGQUIT:
                self._asked_once = True
                yield StopAsked(True, now)
            case signal.SIGTTIN | signal.SIGTTOU:
                yield ScaleAsked(now, by=1 if number == signal.SIGTTIN else -1)
            case signal.SIGCHLD:
                yield from self._unwatched(now)
            case signal.SIGCONT:
                yield Continued(now)
            case signal.SIGHUP | signal.SIGUSR1 | signal.SIGUSR2:
                self._duties.serve(number)
