"""Takes connections from listeners that all spirits of a pool share: in turns with the others, and loses none.

One connection a turn, so that the next one is another spirit's. What a spirit cannot take it leaves in the queue, where
the others find it; only what nobody could take for a second is closed unread, so that its sender learns of it.

Listeners must not block (who opens them sees to it, once), for another spirit may have been quicker.
"""

from __future__ import annotations

import errno
import os
import resource
import time
from collections import deque
from contextlib import suppress
from threading import RLock

from ghostd.hints import TYPE_CHECKING
from ghostd.linux import listening
from ghostd.serve.turns import EpollSleep, LoopTurns, PollSleep, has_exclusive

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from typing import Final

    from ghostd.serve.turns import Sleep, Turns
    from ghostd.serve.voice import Log

    Taken = tuple[socket.socket, object]  # a connection, and the address of its other end
    Use = Callable[[socket.socket, object], None]

# accept(2): what went wrong with one connection before it was taken. The next one may be well.
_STILLBORN: Final = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED", "EPROTO", "EPERM", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH",
        "ENETUNREACH", "ETIMEDOUT", "ECONNRESET",
    )
    if hasattr(errno, name)
)  # fmt: skip
_NO_DESCRIPTOR: Final = frozenset((errno.EMFILE, errno.ENFILE))
_NO_ROOM: Final = _NO_DESCRIPTOR | {errno.ENOBUFS, errno.ENOMEM}
# EAGAIN: another spirit was quicker. EINVAL: some kernels say so of a listener that was shut, once its queue is empty.
_NOBODY_THERE: Final = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.EINVAL))
_STILLBORN_A_TURN: Final = 64  # then another turn: a flood of them must not keep a spirit from its other work
_FIRST_STEP_BACK: Final = 0.02  # seconds: about what a short connection takes, which gives its descriptor back then
_LONGEST_STEP_BACK: Final = 0.5
_PATIENCE: Final = 1.0  # seconds without room in which others may take what waits; then it is closed unread
_TURNED_AWAY_A_TURN: Final = 256
_QUIET: Final = 60.0  # seconds between two lines of the log about the same trouble


class Acceptor:
    """Takes connections, for a thread that waits here, or for an event loop or a crew that it is attached to.

    ``accepted``, ``stillborn`` (ended before they could be taken) and ``turned_away`` (closed unread, for want of a
    descriptor) count connections.
    """

    def __init__(self, sockets: Sequence[socket.socket], log: Log, *, use_epoll: bool | None = None) -> None:
        """``use_epoll=False`` does without, as where the kernel has none; None asks the kernel."""
        self._listeners = deque(sockets)
        self._exclusive = has_exclusive() if use_epoll is None else use_epoll
        self._log = log
        self._sleep: Sleep | None = None
        self._turns: Turns | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._use: Use | None = None
        self._lock = RLock()  # a crew takes in any of its threads
        self._waits = self.is_paused = self._has_stopped = False
        self._wake_reader, self._wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._shortage = Shortage(log)
        self.accepted = self.stillborn = 0

    @property
    def turned_away(self) -> int:
        """How many connections were closed unread, for want of a descriptor."""
        return self._shortage.turned_away

    # ── for a thread ──
    def wait(self, timeout: float) -> None:
        """Sleep until there may be a connection, or :meth:`wake` is called, for so many seconds at most.

        While a crew takes connections, it sleeps until the wake only. Whatever it woke for, try :meth:`accept_nowait`
        then: one whom another spirit was woken for, and died before it took it, is found so.
        """
        if self._sleep is None:
            self._sleep = EpollSleep() if self._exclusive else PollSleep()
            self._sleep.watch(self._wake_reader)
            self._turns = self._turns or self._sleep
        self._settle()
        rest = self._shortage.rest(time.monotonic())
        if self._sleep.wait(min(timeout, rest) if rest else timeout):
            os.read(self._wake_reader, 65536)

    def wake(self) -> None:
        """End the sleep in :meth:`wait`, the present or the next one. From any thread or signal handler."""
        with suppress(OSError):  # it will not sleep anyway: after so many wake-ups, or because it is closed
            os.write(self._wake_writer, b"\0")

    def accept_nowait(self) -> Taken | None:
        """A connection, if there is one, and if it is not paused."""
        with self._lock:
            if self.is_paused or self._has_stopped or self._shortage.rest(time.monotonic()):
                return None
            return self._accept()

    # ── for an event loop or a crew ──
    def attach(self, loop: asyncio.AbstractEventLoop, use: Use) -> None:
        """Take connections in this loop, from now on, and hand each to ``use``."""
        self._loop = loop
        self.attach_to(LoopTurns(loop, self.look, exclusive=self._exclusive), use)

    def attach_to(self, turns: Turns, use: Use) -> None:
        """Wait for connections in there, where :meth:`look` is called when there may be one; hand each to ``use``."""
        self._turns, self._use = turns, use
        self._settle()

    def look(self) -> None:
        """Take a connection that nobody was woken for, if there is one: to be called now and then, as with each beat.

        The kernel wakes one spirit for it; if that one is killed before it takes it, the others do not know.
        """
        with self._lock:  # what one thread has taken another one that stops finds in use
            taken = self.accept_nowait()
            if taken is not None and self._use is not None:
                self._use(*taken)
            self._settle()

    # ── both ──
    def pause(self) -> None:
        """Take no more connections until :meth:`resume`; others take them."""
        self.is_paused = True
        self._settle()

    def resume(self) -> None:
        """Take connections again."""
        self.is_paused = False
        self._settle()

    def stop(self) -> Iterator[Taken]:
        """Wait for no more; yields what must still be taken.

        All that is queued at a listener that was shut: the ghost stops, and nobody comes after. Else one at most: this
        spirit may have been woken for it, and nobody else would be.
        """
        self._has_stopped = True
        self._settle()
        return self._remains()

    def close(self) -> None:
        """Give back what it holds, but for the listeners; a second time does nothing."""
        self._has_stopped = True
        self._settle()
        for one in (self._turns, self._sleep):
            if one is not None:
                one.close()
        self._turns = self._sleep = None
        for fd in (self._wake_reader, self._wake_writer):
            if fd >= 0:
                os.close(fd)
        self._wake_reader = self._wake_writer = -1
        self._shortage.close()

    def _settle(self) -> None:
        """Have it that listeners are waited for if they are to be."""
        with self._lock:
            rest = self._shortage.rest(time.monotonic())
            wanted = not (self.is_paused or self._has_stopped or rest)
            if self._turns is not None and wanted != self._waits:
                for listener in self._listeners:
                    (self._turns.add if wanted else self._turns.remove)(listener.fileno())
                self._waits = wanted
        if rest and self._loop is not None:
            self._loop.call_later(rest, self._settle)

    def _accept(self) -> Taken | None:
        for _ in range(len(self._listeners)):
            listener = self._listeners[0]
            self._listeners.rotate(-1)  # the next look begins with the next one, so that none is starved
            taken = self._take(listener)
            if taken is not None:
                return taken
        return None

    def _take(self, listener: socket.socket) -> Taken | None:
        for _ in range(_STILLBORN_A_TURN):
            try:
                taken = listener.accept()
            except OSError as error:
                if error.errno in _STILLBORN:
                    self.stillborn += 1
                    continue
                self._lack(listener, error)
                return None
            self.accepted += 1
            self._shortage.end()
            if self._waits and self._turns is not None:
                self._turns.again(listener.fileno())
            return taken
        return None

    def _lack(self, listener: socket.socket, error: OSError) -> None:
        if error.errno in _NO_ROOM:
            self._shortage.meet(error, listener, time.monotonic(), patience=0.0 if self._has_stopped else _PATIENCE)
        elif error.errno not in _NOBODY_THERE:
            raise error

    def _remains(self) -> Iterator[Taken]:
        for listener in list(self._listeners):
            taken = self._take(listener)
            while taken is not None:
                yield taken
                taken = self._take(listener) if listening.is_shut(listener) else None


class Shortage:
    """No descriptor or memory for a connection: at first it is left to others, in the end it is closed unread."""

    def __init__(self, log: Log) -> None:
        self.turned_away = 0
        self._log = log
        self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._since: float | None = None
        self._until = 0.0
        self._step = _FIRST_STEP_BACK
        self._told = -_QUIET  # when the log was told

    def rest(self, now: float) -> float:
        """For how many seconds to leave connections to others; 0 if not at all."""
        return max(self._until - now, 0.0) if self._since is not None else 0.0

    def meet(self, error: OSError, listener: socket.socket, now: float, patience: float) -> None:
        """There was no room for a connection of this listener."""
        if self._since is None:
            self._since, self._step = now, _FIRST_STEP_BACK
        if error.errno in _NO_DESCRIPTOR and now - self._since >= patience:
            self._turn_away(listener)
        self._until = now + self._step
        self._step = min(self._step * 2, _LONGEST_STEP_BACK)
        if now - self._told >= _QUIET:
            self._told = now
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            self._log.write(
                "warn",
                f"No room for a connection: {errno.errorcode[error.errno or 0]}, {error.strerror}; this spirit may "
                f"have {soft} descriptors. Others may take it; after {_PATIENCE:g} s it is closed unread "
                f"({self.turned_away} so far). Raise the limit of open files, or lower the option connections",
            )

    def end(self) -> None:
        """A connection was taken."""
        self._since = None

    def close(self) -> None:
        """Give the reserve back; a second time does nothing."""
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1

    def _turn_away(self, listener: socket.socket) -> None:
        """With the descriptor that is kept for this: take what waits, and close it."""
        self.close()
        with suppress(OSError):  # nobody waits any more, or somebody else has taken the descriptor
            for _ in range(_TURNED_AWAY_A_TURN):
                listener.accept()[0].close()
                self.turned_away += 1
        with suppress(OSError):
            self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
