"""Streams of bytes that ``connection(sock, address)`` of the user answers: one at a time, in the spirit's main thread.

A spirit that has a connection in hand does not wait for others, so the kernel wakes one that is idle. Asked to leave,
it finishes what it has, takes what nobody else would take, and returns. Several at a time: threads.py and tasks.py.
"""

from __future__ import annotations

import _thread
import os
import socket
import sys
from contextlib import suppress

from ghostd.hints import TYPE_CHECKING
from ghostd.serve.acceptor import Acceptor
from ghostd.serve.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Any, Self

    from ghostd.serve.acceptor import Taken
    from ghostd.serve.connection import Pulse
    from ghostd.serve.manners import Manners
    from ghostd.serve.options import ServeOptions
    from ghostd.serve.voice import Log, Voice

    Answer = Callable[..., Any]

_ASYNC = 0x80  # inspect.CO_COROUTINE


def preload(answer: Answer, options: ServeOptions) -> None:
    """Load in the manager what spirits will need, so that they share it; asyncio only if the user has loaded it."""
    if not _is_coroutine(answer):
        _kind(options.connections)
    elif "asyncio" in sys.modules:
        from ghostd.serve import tasks  # noqa: F401, PLC0415


def serve(answer: Answer, sockets: Sequence[socket.socket], voice: Voice, manners: Manners) -> object:
    """Answer connections until the spirit is asked to leave; for a coroutine function a coroutine that does so."""
    if _is_coroutine(answer):
        from ghostd.serve import tasks  # noqa: PLC0415  loads asyncio

        return tasks.serve(answer, sockets, voice, manners)
    with _kind(manners.connections)(answer, sockets, voice, manners) as streams:
        streams.run()
    return None


def _kind(connections: int | None) -> type[Streams]:
    if connections is None or connections == 1:
        return OneByOne
    from ghostd.serve.threads import InThreads  # noqa: PLC0415  loads threading

    return InThreads


class Streams:
    """What the ways to answer streams with code that blocks have in common."""

    def __init__(self, answer: Answer, sockets: Sequence[socket.socket], voice: Voice, manners: Manners) -> None:
        self.voice = voice
        self.manners = manners
        self.acceptor = Acceptor(sockets, voice.log)
        self._answer = answer
        self._leaving, self._leaves = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        voice.when_leaving(self.leave)

    def __enter__(self) -> Self:
        self.acceptor.wait(0)  # from here on connections are taken: now the spirit may say that it is ready
        return self

    def __exit__(self, *_error: object) -> None:
        self.acceptor.close()
        leaving, leaves, self._leaving, self._leaves = self._leaving, self._leaves, -1, -1
        os.close(leaving)
        os.close(leaves)

    def run(self) -> None:
        """Until the spirit is asked to leave, and what it has in hand is answered."""
        raise NotImplementedError

    def leave(self) -> None:
        """The spirit was asked to leave: wake whoever waits. Called inside a signal handler."""
        with suppress(OSError):  # it has left already
            os.write(self._leaves, b"\0")  # nobody reads it: it is there for all threads, and for good
        self.acceptor.wake()

    def admit(self, taken: Taken, pulse: Pulse) -> Connection:
        """The connection as the user's code gets it."""
        sock, address = taken
        connection = Connection(sock, address, pulse, self._leaving)
        if self.manners.idle_timeout is not None:
            connection.settimeout(self.manners.idle_timeout)
        self.voice.took()
        return connection

    def handle(self, connection: Connection) -> None:
        """Have it answered; whatever comes of that, it is closed then, and the spirit lives on."""
        try:
            self._answer(connection, connection.address)
        except Exception as error:  # noqa: BLE001  the user's code ends here
            tell(self.voice.log, connection.address, error, is_theirs=connection.is_broken_by(error))
        finally:
            fd = connection.detach()  # closed now, whatever still refers to it: a file made of it, a traceback
            if fd >= 0:
                os.close(fd)
            self.voice.gave()

    def cut(self, connections: Collection[Connection]) -> None:
        """End them in order: who waits for the other end sees its end, and can clean up."""
        if connections:
            tell_of_cut(self.voice.log, len(connections), self.manners.patience)  # first: the end may come at once
        for connection in connections:
            with suppress(OSError):  # it has just been closed, or its other end has gone
                connection.shutdown(socket.SHUT_RDWR)


class OneByOne(Streams):
    """In the main thread."""

    _present: Connection | None = None
    _is_over = False

    def __init__(self, answer: Answer, sockets: Sequence[socket.socket], voice: Voice, manners: Manners) -> None:
        self._works = _thread.allocate_lock()  # held for as long as there may be something to cut
        self._works.acquire()
        super().__init__(answer, sockets, voice, manners)

    def __exit__(self, *error: object) -> None:
        self._works.release()
        super().__exit__(*error)

    def run(self) -> None:
        """Until the spirit is asked to leave, and what it has in hand is answered."""
        while self.voice.tick():
            self.acceptor.wait(self.manners.interval)
            taken = None if self.voice.is_leaving else self.acceptor.accept_nowait()
            if taken is not None:
                self._take(taken)
        for taken in self.acceptor.stop():
            self.voice.tick()
            self._take(taken)
            if self._is_over:
                return

    def leave(self) -> None:
        """The spirit was asked to leave: besides, see to it that it does."""
        super().leave()
        # The main thread may wait for a client that never speaks again. A thread of the lowest kind, because a signal
        # handler may have come between any two steps of a higher one.
        _thread.start_new_thread(self._cut_in_time, ())

    def _take(self, taken: Taken) -> None:
        self._present = self.admit(taken, self.voice)
        self.handle(self._present)
        self._present = None

    def _cut_in_time(self) -> None:
        if self._works.acquire(timeout=self.manners.patience):
            self._works.release()  # for whoever was asked a second time
            return
        self._is_over = True
        if self._present is not None:
            self.cut([self._present])


def _is_coroutine(function: Callable[..., object]) -> bool:
    """Whether it is written with ``async def``. The module that knows it in every form takes 10 ms to load."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code is not None and bool(code.co_flags & _ASYNC)


def tell(log: Log, address: object, error: BaseException, *, is_theirs: bool) -> None:
    """Tell the log why a connection has ended, the other end's doings in a word."""
    if is_theirs:
        log.write("debug", f"Connection of {named(address)} ended: {type(error).__name__}: {error}")
    else:
        log.exception(f"Connection of {named(address)} failed, the spirit goes on", error)


def tell_of_cut(log: Log, count: int, patience: float) -> None:
    """Tell the log that connections were cut."""
    what = "1 connection" if count == 1 else f"{count} connections"
    log.write(
        "warn",
        f"Cut {what} in hand, {patience:g} s after the spirit was asked to leave; what takes longer needs a longer "
        "graceful_timeout",
    )


def named(address: object) -> str:
    """The other end, for a message."""
    if isinstance(address, tuple) and len(address) >= 2:  # host, port, and more of IPv6
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return str(address) if address else "a client of the unix socket"
