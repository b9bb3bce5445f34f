"""A connection in the hand of code that may block: a socket that lets its spirit be seen to live.

While a call waits for the other end, that is no silence of the spirit; while the handler computes, it is judged like
any other code. So a handler needs no beats of its own: the slowest client cannot make its spirit look hung, and a
handler that hangs cannot hide behind its connection.
"""

from __future__ import annotations

import errno
import select
import socket

from ghostd.hints import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    R = TypeVar("R")


class Pulse(Protocol):
    """Who wants to know when the other end is waited for."""

    def rest(self) -> float:
        """The wait begins; what it returns is given to :meth:`work`."""

    def work(self, before: float, /) -> None:
        """The wait is over."""


def _resting(call: Callable[..., R]) -> Callable[..., R]:
    """The method of a socket, with the pulse told of the wait in it."""

    def wait(self: Connection, *args: Any, **named: Any) -> R:  # noqa: ANN401  whatever the method takes
        before = self._pulse.rest()
        try:
            return call(self, *args, **named)
        except OSError as error:
            self.broken = error
            raise
        finally:
            self._pulse.work(before)

    wait.__name__, wait.__doc__ = call.__name__, call.__doc__
    return wait


class Connection(socket.socket):
    """An accepted socket. ``address`` is that of the other end, as accept gave it."""

    def __init__(self, taken: socket.socket, address: object, pulse: Pulse, leaving: int) -> None:
        """``leaving`` is a descriptor that is readable once the spirit is asked to leave."""
        super().__init__(taken.family, taken.type, taken.proto, fileno=taken.detach())  # one that blocks, as accepted
        self.address = address
        self.broken: OSError | None = None  # the last failure of a call on it
        self._pulse = pulse
        self._leaving = leaving

    def wait_readable(self) -> bool:
        """Wait for the other end: true when there is something to read, or it has ended.

        False when the spirit is asked to leave before. TimeoutError after the socket's timeout.
        """
        poll = select.poll()
        poll.register(self, select.POLLIN | getattr(select, "POLLRDHUP", 0))
        poll.register(self._leaving, select.POLLIN)
        timeout = self.gettimeout()
        before = self._pulse.rest()
        try:
            ready = [fd for fd, _ in poll.poll(None if timeout is None else timeout * 1000)]
        finally:
            self._pulse.work(before)
        if not ready:
            self.broken = TimeoutError(errno.ETIMEDOUT, f"nothing came for {timeout:g} s")
            raise self.broken
        return self.fileno() in ready

    def is_broken_by(self, error: BaseException) -> bool:
        """Whether this says that the other end has gone, or was silent for too long."""
        return error is self.broken or (
            self.broken is not None and isinstance(error, ConnectionError | TimeoutError)  # on the way through a file
        )

    recv = _resting(socket.socket.recv)
    recv_into = _resting(socket.socket.recv_into)
    recvmsg = _resting(socket.socket.recvmsg)
    send = _resting(socket.socket.send)
    sendall = _resting(socket.socket.sendall)
    sendmsg = _resting(socket.socket.sendmsg)
    sendfile = _resting(socket.socket.sendfile)
