"""hypercorn inside a spirit: its protocols, HTTP/2 among them, with accepting, beats and leaving done here."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from ssl import SSLError
from typing import TYPE_CHECKING, Any, Final

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.protocol.h2 import H2Protocol

from ghostd.linux import peek
from ghostd.serve import asgi, logs, wsgi
from ghostd.serve.acceptor import Acceptor
from ghostd.serve.exchanges import Exchanges

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from ghostd.serve.job import Job

_LOOK = 0.02  # seconds between two looks at what is idle
_READ = 65536
_NO_LIMIT: Final = 1 << 62
# RFC 9113, 6.8: GOAWAY without an error, after the highest stream there can be, since nothing was refused yet.
_GOODBYE: Final = b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0"

# Options of hypercorn that ghostd decides itself, and what says so.
_TAKEN: Final = {
    **dict.fromkeys(("bind", "insecure_bind", "quic_bind"), "the option listen"),
    "application_path": "the target",
    "backlog": "the option backlog",
    "daemon": "ghostd start",
    "debug": "nothing",
    "graceful_timeout": "the option graceful_timeout",
    "group": "the option group",
    "max_requests": "the option max_requests",
    "max_requests_jitter": "the option recycle_jitter",
    "pid_path": "the option pidfile",
    "shutdown_timeout": "the option graceful_timeout",
    "startup_timeout": "the option boot_timeout",
    "umask": "the option umask",
    "use_reloader": "ghostd reload",
    "user": "the option user",
    "worker_class": "the option event_loop",
    "workers": "the option spirits",
    "wsgi_max_body_size": "a WSGI server",
}


def serve(job: Job) -> None:
    """Serve until the spirit is asked to leave, and leave."""
    logs.send_to(job.voice.log, "hypercorn")

    async def main() -> None:
        await _Service(job).run()

    asgi.run(main, job.loop_factory)


def known() -> Mapping[str, object]:
    """The options of hypercorn's own that may be given, with their defaults."""
    names = [name for name in vars(Config) if not name.startswith("_") and not callable(getattr(Config, name))]
    known = {name: getattr(Config, name) for name in names if not isinstance(getattr(Config, name), property)}
    return {name: value for name, value in known.items() if name not in _TAKEN} | {"root_path": "", "lifespan": "auto"}


def taken() -> Mapping[str, str]:
    """Those that ghostd decides itself, each with what to use instead."""
    return _TAKEN


def try_out(options: Mapping[str, Any]) -> None:
    """Raise what is wrong with these options together."""
    _configure(options).create_ssl_context()


def _configure(options: Mapping[str, Any]) -> Config:
    """Its own limit of requests on a connection is off by default: with HTTP/2 it loses those under way."""
    given = {name: value for name, value in options.items() if name != "lifespan"}
    chosen = {"errorlog": logging.getLogger("hypercorn.error"), "keep_alive_max_requests": _NO_LIMIT}
    return Config.from_mapping({**chosen, **given})


class _Service:
    """One application in one event loop."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._config = _configure(job.options)
        self._tls = self._config.create_ssl_context()
        self._exchanges = Exchanges(job.app, job.voice)
        self._lifespan = asgi.Lifespan(job.app, str(job.options.get("lifespan", "auto")))
        self._connections: set[_Connection] = set()
        self._arriving: set[asyncio.Task[Any]] = set()
        self._idle = wsgi.Idle(job.grace)
        self._is_paused = False
        self._acceptor: Acceptor

    async def run(self) -> None:
        """Start the application, serve, leave in order, end the application."""
        job, asked = self._job, asgi.leaving(self._job.voice)
        await self._lifespan.startup()
        self._acceptor = Acceptor(job.sockets, job.voice.log)
        try:
            self._acceptor.attach(self._loop, self._admit)
            asgi.begin_beats(job.voice, job.manners.interval, self._acceptor.look)
            await asked.wait()
            for taken in self._acceptor.stop():
                self._admit(*taken)
            await self._leave()
        finally:
            self._acceptor.close()
        await self._lifespan.shutdown()

    async def _leave(self) -> None:
        self._exchanges.leave()
        until = time.monotonic() + self._job.manners.patience
        while self._connections or self._arriving:
            now = time.monotonic()
            if now >= until:
                self._cut()
                return
            for connection in list(self._connections):
                connection.say_goodbye()
                if self._idle.is_over(connection, now, is_idle=connection.is_idle) and not connection.has_unread:
                    await connection.end()
            tasks = [connection.task for connection in self._connections] + list(self._arriving)
            await asyncio.wait(tasks, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)

    def _cut(self) -> None:
        job, requests = self._job, self._exchanges.in_hand
        job.voice.log.write("warn", wsgi.told_cut(len(self._connections), requests, job.manners.patience))
        self._exchanges.cut()
        for connection in self._connections:
            connection.abort()

    def _admit(self, sock: socket.socket, _address: object) -> None:
        reader = asyncio.StreamReader(limit=_READ, loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, self._begin, loop=self._loop)
        tls = {} if self._tls is None else {"ssl_handshake_timeout": self._config.ssl_handshake_timeout}
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: protocol, sock, ssl=self._tls, **tls))
        self._arriving.add(task)
        task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[Any]) -> None:
        self._arriving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._job.voice.log.write("debug", f"A connection ended before it began: {type(error).__name__}: {error}")

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        context = WorkerContext(None)  # one for each, because it is told one by one to end
        state: Any = self._lifespan.state
        exchanges: Any = self._exchanges  # an application, in other words than hypercorn's
        app = ASGIWrapper(exchanges)
        server = TCPServer(app, self._loop, self._config, context, state, reader, writer)
        connection = _Connection(server, context, writer, self._loop.create_task(_run(server)))
        self._connections.add(connection)
        connection.task.add_done_callback(lambda _task: self._ended(connection))
        self._settle()

    def _ended(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self._idle.forget(connection)
        self._settle()

    def _settle(self) -> None:
        most = self._job.manners.connections
        if most is not None and self._is_paused != (len(self._connections) >= most):
            self._is_paused = not self._is_paused
            (self._acceptor.pause if self._is_paused else self._acceptor.resume)()


async def _run(server: TCPServer) -> None:
    with suppress(SSLError, ConnectionError):
        await server


class _Connection:
    """One connection, as hypercorn runs it."""

    def __init__(
        self, server: TCPServer, context: WorkerContext, writer: asyncio.StreamWriter, task: asyncio.Task[None]
    ) -> None:
        self.task = task
        self._server = server
        self._context = context
        self._writer = writer
        self._is_told = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way: hypercorn waits for the end of its patience then."""
        return self._server.idle_task._handle is not None  # noqa: SLF001  nothing else tells

    @property
    def has_unread(self) -> bool:
        """Whether something has come in meanwhile."""
        sock = self._writer.get_extra_info("socket")
        return sock is not None and sock.fileno() >= 0 and bool(peek.unread(sock.fileno()))

    def say_goodbye(self) -> None:
        """Tell a client of HTTP/2 that what it asks from now on has to go elsewhere; what is on its way is answered.

        In HTTP/1 the answers say so. hypercorn has the word for a connection that is idle only, and h2 thinks that it
        is the last one; so it is written past both of them, between two whole frames.
        """
        wrapper = getattr(self._server, "protocol", None)  # made when it begins to run
        if not self._is_told and wrapper is not None and isinstance(wrapper.protocol, H2Protocol):
            self._is_told = True
            self._writer.write(_GOODBYE)

    async def end(self) -> None:
        """Close it in order: what waits for its idleness to end is told."""
        await self._context.terminated.set()

    def abort(self) -> None:
        """Close it at once."""
        self._writer.transport.abort()
