"""waitress inside a spirit: its channels and threads, with accepting, beats and leaving done here.

Its loop runs in a thread of its own; the spirit's main thread takes connections and gives each a channel there.
"""

from __future__ import annotations

import logging
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer, UnixWSGIServer
from waitress.task import ThreadedTaskDispatcher, WSGITask

from ghostd.linux import peek
from ghostd.serve import logs, wsgi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ghostd.serve.job import Job

_TURN = 1.0  # seconds that its loop sleeps at most; whatever has to wake it pulls its trigger

# Options of waitress that ghostd decides itself, and what says so.
_TAKEN: Final = {
    "asyncore_loop_timeout": "nothing: its loop is woken for whatever there is to do",
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
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # else a line for each request that waits for a thread
    hall = _Hall(job)
    wsgi.run_apart("waitress", hall.loop)
    wsgi.attend(job, hall.pulse, hall)


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
    """All connections of the spirit, in one loop."""

    def __init__(self, job: Job) -> None:
        self._adjustments = Adjustments(**job.options)
        self.pulse = wsgi.Pulse(job.voice, self._adjustments.threads)
        self._map: dict[int, Any] = {}
        self._idle = wsgi.Idle(job.grace)
        self._forgotten = wsgi.Idle(self._adjustments.channel_timeout)
        self._leaves: list[bool] = []  # not empty: every answer says Connection: close
        make: Any = _channel_class(self.pulse, self._leaves)
        self._channel = partial(make, map=self._map)
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(self._adjustments.threads)
        self._servers = {wsgi.place(sock): self._server(job.app, sock, dispatcher) for sock in job.sockets}
        self._first = next(iter(self._servers.values()))

    def loop(self) -> None:
        """The loop of waitress, for ever."""
        cleaned = time.monotonic()
        while True:
            wasyncore.poll2(_TURN, self._map)
            if time.monotonic() - cleaned >= self._adjustments.cleanup_interval:
                cleaned = time.monotonic()
                self._close(self._forgotten, cleaned)

    def admit(self, sock: socket.socket, address: object) -> None:
        """Give the connection a channel."""
        server = self._servers.get(wsgi.place(sock), self._first)
        server.set_socket_options(sock)
        self._channel(server, sock, server.fix_addr(address), self._adjustments)
        server.pull_trigger()

    def count(self) -> int:
        """How many connections are in hand."""
        return sum(len(server.active_channels) for server in self._servers.values())

    def say_close(self) -> None:
        """From now on each answer says Connection: close."""
        self._leaves.append(True)

    def usher(self, now: float) -> int:
        """Close what has been idle for as long as it may; how many connections are left."""
        left = self._close(self._idle, now)
        self._first.pull_trigger()
        return left

    def cut(self) -> None:
        """Close what is left."""
        for channel in self._channels():
            channel.will_close = True
        self._first.pull_trigger()

    def _close(self, idle: wsgi.Idle, now: float) -> int:
        channels = self._channels()
        for channel in channels:
            is_idle = not channel.requests and channel.request is None and not channel.total_outbufs_len
            if idle.is_over(channel, now, is_idle=is_idle) and channel.connected and not peek.unread(channel.fileno()):
                channel.will_close = True
        return len(channels)

    def _channels(self) -> list[HTTPChannel]:
        return [channel for server in self._servers.values() for channel in list(server.active_channels.values())]

    def _server(self, app: Any, sock: socket.socket, dispatcher: ThreadedTaskDispatcher) -> Any:  # noqa: ANN401
        """What waitress knows a listener as; it does not accept, and is not in the loop."""
        kind = UnixWSGIServer if sock.family == socket.AF_UNIX else TcpWSGIServer
        server = kind(
            app, map=self._map, _start=False, _sock=sock, dispatcher=dispatcher, adj=self._adjustments,
            sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()), bind_socket=False,
        )  # fmt: skip
        del self._map[sock.fileno()]
        return server


def _channel_class(pulse: wsgi.Pulse, leaves: list[bool]) -> type[HTTPChannel]:
    """Channels whose requests are counted, and that are closed after the next answer once the spirit leaves."""

    class Task(WSGITask):  # type: ignore[misc]
        def service(self) -> None:
            pulse.begin()
            try:
                super().service()
            finally:
                pulse.end()

        def build_response_header(self) -> bytes:
            if leaves:
                self.set_close_on_finish()
            return bytes(super().build_response_header())

    class Channel(HTTPChannel):  # type: ignore[misc]
        task_class = Task

    return Channel
