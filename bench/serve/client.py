"""A client that counts every loss: HTTP/1.1 over TCP or a unix socket, in one thread on one epoll.

Closed loop: each connection asks again as soon as it has its answer. Open loop: requests begin at a fixed rate,
whatever the server does, and a latency is counted from the moment when the request was due. A kept-alive connection
that the server closes while nothing was asked on it is no loss; one that goes after a request was sent is.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

Address = tuple[str, int] | str
_READ = 65536
TIMEOUT = 10.0
_HEAD_END = b"\r\n\r\n"


@dataclass
class Outcome:
    """What came of a run."""

    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    bodies: Counter[bytes] = field(default_factory=Counter)
    closes: int = 0  # answers that said Connection: close
    numbers: list[int] = field(default_factory=list)  # of those that failed, where requests have numbers

    @property
    def lost(self) -> int:
        """How many requests got no whole answer."""
        return sum(self.failed.values())

    def percentile(self, share: float) -> float:
        """The latency that this share of the requests was at most; in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


class _Link:
    """One connection, with at most one request under way."""

    __slots__ = ("asked", "due", "got", "need", "number", "sock")

    def __init__(self, address: Address) -> None:
        self.sock = _connect(address)
        self.asked = False
        self.due = 0.0
        self.got = b""
        self.need = -1
        self.number = 0


class Client:
    """Sends requests to one address; with numbers, from 1, each has its own as its path."""

    def __init__(
        self, address: Address, *, connections: int = 8, keep_alive: bool = True, path: str = "/",
        has_numbers: bool = False,
    ) -> None:  # fmt: skip
        self._address = address
        self._most = connections
        self._keep_alive = keep_alive
        more = "" if keep_alive else "Connection: close\r\n"
        self._request = f"GET {path}%s HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode()
        self._has_numbers = has_numbers
        self._number = 0
        self._epoll = select.epoll()
        self._links: dict[int, _Link] = {}
        self._idle: deque[_Link] = deque()
        self._busy = 0
        self.outcome = Outcome()

    def run(
        self, *, seconds: float = 60.0, requests: int | None = None, rate: float | None = None,
        until: Callable[[], bool] | None = None,
    ) -> Outcome:  # fmt: skip
        """Ask for so long, or so often, or until the condition holds; then wait for the answers under way."""
        begin = time.monotonic()
        sent = 0
        while (now := time.monotonic()) - begin < seconds and not (until is not None and until()):
            if requests is not None and sent >= requests:
                break
            due = int((now - begin) * rate) + 1 if rate else sent + self._most
            if requests is not None:
                due = min(due, requests)
            while sent < due and self._busy < self._most:
                self._ask(begin + sent / rate if rate else now)
                sent += 1
            next_due = begin + sent / rate - time.monotonic() if rate else 0.05
            self._turn(max(next_due, 0.0) if self._busy < self._most else 0.05)
        self._finish()
        return self.outcome

    def _finish(self) -> None:
        limit = time.monotonic() + TIMEOUT
        while self._busy and time.monotonic() < limit:
            self._turn(0.05)
        for link in list(self._links.values()):
            if link.asked:
                self._fail("no answer", link.number)
            self._drop(link)
        self._epoll.close()

    def _ask(self, due: float) -> None:
        self._number += 1
        try:
            link = self._idle_link() or self._new_link()
        except OSError as error:
            self._fail(f"connect: {_named(error)}", self._number)
            return
        link.asked, link.due, link.got, link.need, link.number = True, due, b"", -1, self._number
        self._busy += 1
        try:
            link.sock.sendall(self._request % (b"%d" % self._number if self._has_numbers else b""))
        except OSError as error:
            self._lose(link, error)

    def _idle_link(self) -> _Link | None:
        """One that is open; what was closed while it was idle is left, as any client does that looks first."""
        while self._idle:
            link = self._idle.popleft()
            try:
                link.sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return link
            except OSError:
                pass
            self._drop(link)
        return None

    def _new_link(self) -> _Link:
        link = _Link(self._address)
        self._links[link.sock.fileno()] = link
        self._epoll.register(link.sock.fileno(), select.EPOLLIN)
        return link

    def _turn(self, timeout: float) -> None:
        for fd, _ in self._epoll.poll(timeout, 256):
            link = self._links.get(fd)
            if link is not None:
                self._hear(link)

    def _hear(self, link: _Link) -> None:
        try:
            data = link.sock.recv(_READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(link, error)
            return
        if not data:
            self._lose(link, None)
            return
        link.got += data
        if link.need < 0 and _HEAD_END in link.got:
            head = link.got[: link.got.index(_HEAD_END)].lower()
            length = head.partition(b"content-length:")[2].split(b"\r\n")[0]
            link.need = len(head) + len(_HEAD_END) + int(length or b"0")
        if 0 <= link.need <= len(link.got):
            self._answered(link)

    def _answered(self, link: _Link) -> None:
        head, _, body = link.got.partition(_HEAD_END)
        outcome = self.outcome
        if not head.startswith(b"HTTP/1.1 200"):
            self._fail(head.split(b"\r\n")[0].decode(), link.number)
        else:
            outcome.answered += 1
            outcome.bodies[body] += 1
            outcome.latencies.append(time.monotonic() - link.due)
        link.asked = False
        self._busy -= 1
        says_close = b"connection: close" in head.lower()
        outcome.closes += says_close
        if says_close or not self._keep_alive:
            self._drop(link)
        else:
            self._idle.append(link)

    def _lose(self, link: _Link, error: OSError | None) -> None:
        """The connection has gone; a loss only when something was asked on it."""
        if link.asked:
            self._busy -= 1
            what = "closed" if error is None else _named(error)
            self._fail(f"{what} after {len(link.got)} bytes" if link.got else what, link.number)
        else:
            self._idle.remove(link)
        self._drop(link)

    def _fail(self, what: str, number: int) -> None:
        self.outcome.failed[what] += 1
        if self._has_numbers:
            self.outcome.numbers.append(number)

    def _drop(self, link: _Link) -> None:
        del self._links[link.sock.fileno()]
        link.sock.close()  # leaves the epoll by itself


def _named(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))


def _connect(address: Address) -> socket.socket:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(TIMEOUT)
        sock.connect(address)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
