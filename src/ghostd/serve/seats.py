"""Listeners of one TCP port, one a seat, for the option reuse_port: the kernel deals connections out among them.

The manager keeps them all, so the queue of a spirit that was killed is kept for the one that takes its seat. One that
nobody has must not listen, or whoever the kernel has chosen it for would wait for ever:

- it begins to listen when its spirit is ready;
- when the spirit is to leave, it admits no more, which leaves what is in its queue, and what is on its way there, to
  the spirit; shortly after it listens no longer, and the kernel chooses another for those that it did not answer;
- where net.ipv4.tcp_migrate_req is 1, the kernel hands all of this to the other listeners by itself.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from ghostd.hints import TYPE_CHECKING
from ghostd.linux import listening

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Final

MIGRATION: Final = "ipv4/tcp_migrate_req"


class Seats:
    """The sockets of all seats. They are bound from the first moment on, so that the port is taken.

    ``sock`` is the one that a spirit has under a number that is the same in all of them. In the manager it only keeps
    the number.
    """

    def __init__(self, make: Callable[[], socket.socket], count: int, backlog: int) -> None:
        """``make`` opens one more, bound and not listening; ``count`` of them are opened now."""
        self._make = make
        self._backlog = backlog
        self.sock = make()
        self.sockets: list[socket.socket] = []
        with ExitStack() as undone:
            undone.callback(self.close)
            self._open(count)
            undone.pop_all()

    def close(self) -> None:
        """Close all that this process has of them."""
        for one in (self.sock, *self.sockets):
            one.close()

    # ── in the manager ──
    def prepare(self, seat: int) -> None:
        """A spirit is to be made for this seat. OSError or an error of ours when no socket can be had for it."""
        self._open(seat + 1)
        listening.admit(self.sockets[seat])  # its last spirit may have been on its way out

    def part(self, seat: int) -> None:
        """The spirit on this seat is to leave."""
        _stop_admitting(self.sockets[seat])

    def settle(self, seat: int) -> bool:
        """Some time after that: listen no longer, if the spirit has taken all that was queued; whether it has."""
        if listening.queued(self.sockets[seat]):
            return False
        listening.refuse(self.sockets[seat])
        return True

    def vacate(self, seat: int) -> int:
        """Nobody has the seat: listen no longer. How many connections were in the queue."""
        lost = listening.queued(self.sockets[seat])
        listening.refuse(self.sockets[seat])
        return lost

    # ── in a spirit ──
    def enter(self, seat: int) -> None:
        """Take the socket of its seat, right after the fork; the others are closed by their numbers then."""
        os.dup2(self.sockets[seat].fileno(), self.sock.fileno(), inheritable=False)
        for one in self.sockets:
            one.detach()  # the number will be another file's
        self.sockets = []

    def begin(self) -> None:
        """It is ready: listen."""
        self.sock.listen(self._backlog)

    def withdraw(self) -> None:
        """It is to leave, perhaps by its own wish."""
        _stop_admitting(self.sock)

    def _open(self, count: int) -> None:
        while len(self.sockets) < count:
            self.sockets.append(self._make())


def _stop_admitting(sock: socket.socket) -> None:
    if listening.setting(MIGRATION) == 1:
        listening.refuse(sock)
    else:
        listening.admit_no_more(sock)
