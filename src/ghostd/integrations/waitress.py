"""waitress inside a spirit: its channels, parser and tasks, with accepting, threads, beats and leaving done here.

The spirit's main thread beats. Whichever other thread is woken for a connection takes it, and whichever finds a request
on one reads and answers it. No loop stands between, which would have to look at every connection and hand each request
to a thread and back; and what a spirit has taken it begins to answer at once.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer, UnixWSGIServer
from waitress.task import WSGITask

from ghostd.linux import peek
from ghostd.serve import crew, logs, wsgi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ghostd.serve.acceptor import Acceptor
    from ghostd.serve.job import Job

_ONE_WRITE: Final = 1 << 16  # bytes of a body's beginning that go out together with the head, at most
_NAP: Final = 1.0  # seconds that a thread without work sleeps at least

# Options of waitress that ghostd decides itself, and what says so.
_TAKEN: Final = {
    "asyncore_loop_timeout": "nothing: its threads are woken for whatever there is to do",
    "asyncore_use_poll": "nothing: it does",
    "backlog": "the option backlog",
    "connection_limit": "the option connections",
    **dict.fromkeys(
        ("host", "port", "ipv4", "ipv6", "listen", "sockets", "unix_socket", "unix_socket_perms"), "the option listen"
    ),
}


def serve(job: Job) -> None:
    """Serve until the spirit is asked to leave, and leave."""
    logs.send_to(job.voice.log, "waitress")
    hall = _Hall(job)
    try:
        wsgi.attend(job, hall.pulse, hall)
    finally:
        hall.crew.end()


def known() -> Mapping[str, object]:
    """The options of waitress's own that may be given, with their defaults."""
    return {name: getattr(Adjustments, name) for name, _ in Adjustments._params if name not in _TAKEN}  # noqa: SLF001


def taken() -> Mapping[str, str]:
    """Those that ghostd decides itself, each with what to use instead."""
    return _TAKEN


def try_out(options: Mapping[str, Any]) -> None:
    """Raise what is wrong with these options together."""
    Adjustments(**options)


class _Hall:
    """All connections of the spirit, and the threads that answer them."""

    def __init__(self, job: Job) -> None:
        self._adjustments = adjustments = Adjustments(**job.options)
        self.pulse = wsgi.Pulse(job.voice, adjustments.threads)
        self.crew = crew.Crew(
            "waitress", adjustments.threads, self._stir, self._look, nap=max(float(adjustments.cleanup_interval), _NAP)
        )
        self._map: dict[int, Any] = {}
        self._idle = wsgi.Idle(job.grace)
        self._most = job.manners.connections
        self._acceptor: Acceptor
        self.leaves = False  # every answer says Connection: close
        self._servers = {wsgi.place(sock): self._server(job.app, sock) for sock in job.sockets}
        self._first = next(iter(self._servers.values()))
        self._look_due = time.monotonic() + adjustments.cleanup_interval

    def attach(self, acceptor: Acceptor) -> None:
        """Take connections in the threads that answer them."""
        self._acceptor = acceptor
        acceptor.attach_to(self.crew.turns(acceptor.look), self._admit)
        self.crew.start()

    def admit(self, sock: socket.socket, address: object) -> None:
        """Take a connection, in the main thread."""
        self._admit(sock, address)
        self.crew.rouse()  # for what it has asked

    def _admit(self, sock: socket.socket, address: object) -> None:
        """Give the connection a channel, and hear what it has said already."""
        server = self._servers.get(wsgi.place(sock), self._first)
        server.set_socket_options(sock)
        channel = _Channel(server, sock, server.fix_addr(address), self._adjustments, map=self._map)
        if self._most is not None and self.count() >= self._most:
            self._acceptor.pause()
            self._acceptor.wake()  # the main thread resumes
        channel.begin()

    def count(self) -> int:
        """How many connections are in hand."""
        return sum(len(server.active_channels) for server in self._servers.values())

    def say_close(self) -> None:
        """From now on each answer says Connection: close."""
        self.leaves = True

    def usher(self, now: float) -> int:
        """Close what has been idle for as long as it may; how many connections are left."""
        channels = self._channels()
        for channel in channels:
            is_idle = not channel.requests and channel.request is None and not channel.total_outbufs_len
            if self._idle.is_over(channel, now, is_idle=is_idle):
                channel.dismiss()
        return len(channels)

    def cut(self) -> None:
        """Close what is left."""
        for channel in self._channels():
            channel.dismiss(unless_heard=False)

    def gone(self) -> None:
        """A connection has: who leads the leaving looks at once."""
        if self.leaves:
            self._acceptor.wake()

    def _stir(self, fd: int, events: int) -> None:
        """Read and write what there is on this connection."""
        channel = self._map.get(fd)
        if channel is not None:
            channel.stir(events)
        if time.monotonic() >= self._look_due:
            self._look()

    def _look(self) -> None:
        """Close whatever has been idle for longer than waitress keeps it."""
        now = time.monotonic()
        if now >= self._look_due:
            self._look_due = now + self._adjustments.cleanup_interval
            oldest = now - self._adjustments.channel_timeout
            for channel in self._channels():
                if not channel.requests and channel.stirred < oldest:
                    channel.dismiss()

    def _channels(self) -> list[Any]:
        return [channel for server in self._servers.values() for channel in list(server.active_channels.values())]

    def _server(self, app: Any, sock: socket.socket) -> Any:  # noqa: ANN401
        """What waitress knows a listener as; it does not accept, and is not watched."""
        kind = UnixWSGIServer if sock.family == socket.AF_UNIX else TcpWSGIServer
        server = kind(
            app, map={}, _start=False, _sock=sock, dispatcher=self.crew, adj=self._adjustments,
            sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()), bind_socket=False,
        )  # fmt: skip
        server.hall = self
        server.add_task = lambda channel: self.crew.ask(channel.service)
        server.pull_trigger = _here.pull
        return server


class _Here(threading.local):
    """The channel whose request this thread answers: waitress wakes its loop, and does not say for whom."""

    channel: Any = None

    def pull(self) -> None:
        """Something of it is to be written or read."""
        self.channel.watch_again()


_here = _Here()


class _Task(WSGITask):  # type: ignore[misc]
    """A request: it is counted, and its connection closed after the answer once the spirit leaves."""

    def service(self) -> None:
        pulse = self.channel.server.hall.pulse
        pulse.begin()
        try:
            super().service()
            self.channel.flush_head()
        finally:
            pulse.end()

    def build_response_header(self) -> bytes:
        if self.channel.server.hall.leaves:
            self.set_close_on_finish()
        self.channel.is_head_next = True
        return bytes(super().build_response_header())


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection: whichever thread it concerns reads, answers and writes, and says what to watch it for next."""

    task_class = _Task
    is_head_next = False  # what is written next is the head of an answer
    head = b""  # written, and not sent: it goes out together with the beginning of the body

    def __init__(self, *told: Any, **named: Any) -> None:  # noqa: ANN401
        self.stirred = time.monotonic()  # when something was heard or answered
        self._turn = threading.RLock()  # one thread at a time reads, sends, and says what to watch it for
        super().__init__(*told, **named)

    def begin(self) -> None:
        """Read what has come already, and have it watched from now on."""
        with self._turn:
            wasyncore.read(self)
            if self._fileno is not None:
                self.server.hall.crew.watch(self._fileno, crew.IN if self.readable() else 0)

    def stir(self, events: int) -> None:
        """Read and write what there is."""
        with self._turn:
            wasyncore.readwrite(self, events)
            self.stirred = time.monotonic()
            self.watch_again()

    def watch_again(self) -> None:
        """Have it watched for what it waits for now."""
        with self._turn:
            events = (crew.IN if self.readable() else 0) | (crew.OUT if self.writable() else 0)
            if events and self._fileno is not None:
                self.server.hall.crew.again(self._fileno, events)

    def dismiss(self, *, unless_heard: bool = True) -> None:
        """Close it, unless there is something unread."""
        with self._turn:
            if self._fileno is not None and not (unless_heard and peek.unread(self._fileno)):
                self.will_close = True
                self.watch_again()

    def service(self) -> None:
        _here.channel = self
        super().service()
        self.stirred = time.monotonic()

    def handle_read(self) -> None:
        try:
            data = self.recv(self.adj.recv_bytes)
        except BlockingIOError:  # another thread was quicker
            return
        except OSError:
            if self.adj.log_socket_errors:
                self.logger.exception("Socket error")
            self.handle_close()
            return
        if data:
            self.received(data)
        else:
            self.connected = False

    def handle_close(self) -> None:
        with self._turn:
            super().handle_close()
        self.server.hall.gone()

    def write_soon(self, data: Any) -> int:  # noqa: ANN401  bytes, or a file
        if self.is_head_next:
            self.is_head_next, self.head = False, data
            return len(data)
        if self.head and isinstance(data, bytes) and len(data) <= _ONE_WRITE:
            data, self.head = self.head + data, b""
        self.flush_head()
        return int(super().write_soon(data))

    def flush_head(self) -> None:
        """Send the head of an answer whose body does not begin in the same write."""
        if self.head:
            head, self.head = self.head, b""
            super().write_soon(head)
