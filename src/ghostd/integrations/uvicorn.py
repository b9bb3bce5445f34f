"""uvicorn inside a spirit: its configuration and its protocols, with accepting, beats and leaving done here.

Its own server class is left out. That one closes idle connections at once when it is asked to end, though a request may
be under way on them; it answers handshakes of websockets with 500 then; it takes over signals, which are the spirit's;
and an asyncio server accepts all that is queued in one go, so that one spirit has it and others have nothing.
"""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState

from ghostd.linux import peek
from ghostd.serve import asgi, logs
from ghostd.serve.acceptor import Acceptor
from ghostd.serve.cork import Corked, Turn
from ghostd.serve.exchanges import RESTART, is_stream_head

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from ghostd.serve.asgi import App, Message, Receive, Send
    from ghostd.serve.job import Job
    from ghostd.serve.voice import Voice

_CLOSE = (b"connection", b"close")
_RESTART: Final = {"type": "websocket.close", "code": RESTART, "reason": "service restart"}
_LOOKS = 20  # at what is idle, within the grace
_LOOK_FIRST, _LOOK_LAST = 0.005, 0.1  # seconds between two of them, at least and at most
_LAST_WORDS = 0.1  # seconds for the tasks of what was cut to end


# Options of uvicorn that ghostd decides itself, and what says so.
_TAKEN: Final = {
    "app": "the target",
    **dict.fromkeys(("host", "port", "uds", "fd"), "the option listen"),
    "backlog": "the option backlog",
    "callback_notify": "nothing: the loop beats by itself",
    "env_file": "the environment that the ghost is started with",
    "factory": "the option factory",
    "interface": "the option interface",
    "limit_max_requests": "the option max_requests",
    "limit_max_requests_jitter": "the option recycle_jitter",
    "loop": "the option event_loop",
    **dict.fromkeys(("reload", "reload_dirs", "reload_delay", "reload_includes", "reload_excludes"), "ghostd reload"),
    "timeout_graceful_shutdown": "the option graceful_timeout",
    "timeout_notify": "nothing: the loop beats by itself",
    "timeout_worker_healthcheck": "the option heartbeat_timeout",
    "workers": "the option spirits",
}


def serve(job: Job) -> None:
    """Serve until the spirit is asked to leave, and leave."""

    async def main() -> None:
        service = Service(configure(job.app, job.options), job)
        await service.run(job.sockets)

    logs.send_to(job.voice.log, "uvicorn", is_wanted="log_config" not in job.options)
    asgi.run(main, job.loop_factory)


def known() -> dict[str, object]:
    """The options of uvicorn's own that may be given, with their defaults."""
    parameters = inspect.signature(Config).parameters
    return {name: one.default for name, one in parameters.items() if name not in _TAKEN}


def taken() -> Mapping[str, str]:
    """Those that ghostd decides itself, each with what to use instead."""
    return _TAKEN


def try_out(options: Mapping[str, Any]) -> None:
    """Raise what is wrong with these options together."""
    configure(_nothing, options)


def configure(app: App, options: Mapping[str, Any]) -> Config:
    """The configuration, loaded: what is wrong with it shows here."""
    chosen = {"log_config": None, "access_log": False, "log_level": "warning", **options, "lifespan": "off"}
    config = Config(app, interface="asgi3", loop="none", **chosen)
    config.load()
    return config


async def _nothing(_scope: Message, _receive: Receive, _send: Send) -> None:
    """An application to try options with."""


class Service:
    """One application in one event loop."""

    def __init__(self, config: Config, job: Job) -> None:
        self.loop = asyncio.get_running_loop()
        self.arriving: set[asyncio.Task[Any]] = set()
        self.emptied = asyncio.Event()  # set when the last connection has gone
        self.limit = job.manners.connections
        self.state = ServerState()
        self.state.tasks = _Tasks(job.voice)
        self.state.connections = _Connections(self._settle)
        self._job = job
        self._voice = job.voice
        self._config = config
        self._lifespan = asgi.Lifespan(config.loaded_app, str(job.options.get("lifespan", "auto")))
        self._is_paused = False
        self._acceptor: Acceptor
        self._protocol = self._prepare()

    async def run(self, sockets: Sequence[socket.socket]) -> None:
        """Start the application, serve, leave in order, end the application."""
        asked = asgi.leaving(self._voice)
        await self._lifespan.startup()
        self._tell_date()
        self._acceptor = Acceptor(sockets, self._voice.log)
        try:
            self._acceptor.attach(self.loop, self.admit)
            asgi.begin_beats(self._voice, self._job.manners.interval, self._acceptor.look)
            await asked.wait()
            for taken in self._acceptor.stop():
                self.admit(*taken)
            self.state.default_headers.append(_CLOSE)  # in place: answers that are under way have this very list
            await _Farewell(self, self._job).say()
        finally:
            self._acceptor.close()
        await self._lifespan.shutdown()

    def admit(self, sock: socket.socket, _address: object) -> None:
        """Take a connection into this loop."""
        task = self.loop.create_task(self.loop.connect_accepted_socket(self._protocol, sock, ssl=self._config.ssl))
        self.arriving.add(task)
        task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[Any]) -> None:
        self.arriving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._voice.log.write("debug", f"A connection ended before it began: {type(error).__name__}: {error}")

    def _settle(self, count: int) -> None:
        """Accept, or leave connections to others, by how many are in hand."""
        if not count:
            self.emptied.set()
        if self.limit is not None and self._is_paused != (count >= self.limit):
            self._is_paused = not self._is_paused
            (self._acceptor.pause if self._is_paused else self._acceptor.resume)()

    def _prepare(self) -> Callable[[], asyncio.Protocol]:
        """What makes the protocol of a connection."""
        config, state = self._config, self.state
        state.default_headers = [*([(b"date", b"")] if config.date_header else []), *config.encoded_headers]
        config.loaded_app = self._watch(config.loaded_app)
        if config.ws_protocol_class is not None:
            # A handshake says Connection: Upgrade, never close: websockets get headers of their own.
            quiet = ServerState()
            quiet.tasks, quiet.connections, quiet.default_headers = state.tasks, state.connections, []
            quiet.default_headers = [*state.default_headers]
            make = config.ws_protocol_class

            def websocket(**given: Any) -> asyncio.Protocol:  # noqa: ANN401  uvicorn's own
                quiet.default_headers[:] = [one for one in state.default_headers if one != _CLOSE]
                return make(**{**given, "server_state": quiet})

            config.ws_protocol_class = websocket  # type: ignore[assignment]
        return partial(
            _corked(config.http_protocol_class, Turn(self.loop)),
            config=config, server_state=state, app_state=self._lifespan.state, _loop=self.loop,
        )  # fmt: skip

    def _watch(self, app: App) -> App:
        """The application, with its answers corked. A plain function: a coroutine more would cost a microsecond."""

        def call(scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
            if scope["type"] != "http":
                return app(scope, receive, _guarded(send))
            send.__self__.transport.hold()  # type: ignore[attr-defined]  # uvicorn's cycle of this request
            return app(scope, receive, send)

        return call

    def _tell_date(self) -> None:
        if self._config.date_header:
            self.state.default_headers[0] = (b"date", formatdate(usegmt=True).encode())
            self.loop.call_later(1.0, self._tell_date)


def _corked(kind: Any, turn: Turn) -> Any:  # noqa: ANN401  one of uvicorn's HTTP protocols
    """The protocol, with a transport that holds back heads until their bodies come."""

    class Protocol(kind):  # type: ignore[misc]
        """A connection."""

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(Corked(transport, turn))

    return Protocol


class _Farewell:
    """Leaving: what is in hand is finished, what is idle may ask once more, what has no end is ended."""

    def __init__(self, service: Service, job: Job) -> None:
        self._service = service
        self._state = service.state
        self._voice = job.voice
        self._grace = job.grace
        self._patience = job.manners.patience
        self._idle_since: dict[Any, float] = {}
        self._told: set[Any] = set()  # websockets that were sent their close frame
        self._closing: set[asyncio.Task[None]] = set()

    async def say(self) -> None:
        """Return when nothing is in hand any more."""
        clock = self._service.loop.time
        until = clock() + self._patience
        step = min(max(self._grace / _LOOKS, _LOOK_FIRST), _LOOK_LAST)
        while self._is_busy():
            if clock() >= until:
                await self._cut()
                return
            self._usher(clock())
            with suppress(TimeoutError):
                async with asyncio.timeout(step if self._state.connections else _LOOK_FIRST):
                    await self._service.emptied.wait()
                    self._service.emptied.clear()

    def _is_busy(self) -> bool:
        return bool(self._state.connections or self._state.tasks or self._service.arriving)

    def _usher(self, now: float) -> None:
        connection: Any  # one of uvicorn's protocols
        for connection in list(self._state.connections):
            if not hasattr(connection, "cycle"):
                self._close_websocket(connection)
                continue
            if is_stream_head(connection.transport.head):
                _end_stream(connection.cycle)
            if not _is_idle(connection):
                self._idle_since.pop(connection, None)
            elif now - self._idle_since.setdefault(connection, now) >= self._grace:
                _close_idle(connection.transport)

    def _close_websocket(self, connection: Any) -> None:  # noqa: ANN401  one of uvicorn's three
        if connection not in self._told and _is_open(connection):
            self._told.add(connection)
            task = self._service.loop.create_task(_send_restart(connection))
            self._closing.add(task)
            task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled():
            task.exception()  # it had gone, or was closing already

    async def _cut(self) -> None:
        tasks, connections = set(self._state.tasks), list(self._state.connections)
        self._voice.log.write(
            "warn",
            f"Cut {len(connections)} connections with {len(tasks)} requests in hand, {self._patience:g} s after the "
            "spirit was asked to leave; what takes longer needs a longer graceful_timeout",
        )
        for connection in connections:
            connection.transport.abort()
        for task in (*tasks, *self._service.arriving):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_WORDS)


class _Tasks(set[Any]):
    """Requests in hand: uvicorn puts a task in for each, and takes it out when it is done."""

    def __init__(self, voice: Voice) -> None:
        super().__init__()
        self._took, self._gave = voice.took, voice.gave

    def add(self, task: object) -> None:
        set.add(self, task)
        self._took()

    def discard(self, task: object) -> None:
        set.discard(self, task)
        self._gave()


class _Connections(set[Any]):
    """Connections in hand."""

    def __init__(self, settle: Callable[[int], None]) -> None:
        super().__init__()
        self._settle = settle

    def add(self, connection: object) -> None:
        set.add(self, connection)
        self._settle(len(self))

    def discard(self, connection: object) -> None:
        set.discard(self, connection)
        self._settle(len(self))

    remove = discard


def _end_stream(cycle: Any) -> None:  # noqa: ANN401  uvicorn's RequestResponseCycle
    """Whole for its client, and as if the client had gone for the application."""
    if cycle.response_complete or cycle.transport.is_closing():
        return
    cycle.transport.write(_last_bytes(cycle))
    cycle.disconnected = True
    cycle.transport.close()


def _last_bytes(cycle: Any) -> bytes:  # noqa: ANN401  uvicorn's RequestResponseCycle
    """What makes an answer whole whose length was not told."""
    machine = getattr(cycle, "conn", None)  # h11's; httptools has none
    if machine is None:
        return b"0\r\n\r\n" if getattr(cycle, "chunked_encoding", False) else b""
    from h11 import EndOfMessage, LocalProtocolError  # noqa: PLC0415  loaded by now

    try:
        return bytes(machine.send(EndOfMessage()) or b"")
    except LocalProtocolError:  # a length was told, and is not reached
        return b""


def _is_idle(connection: Any) -> bool:  # noqa: ANN401  one of uvicorn's HTTP protocols
    """Whether no request is in hand, nor has begun to arrive."""
    cycle = connection.cycle
    if cycle is not None and not cycle.response_complete:
        return False
    machine = getattr(connection, "conn", None)  # h11's
    if machine is not None:
        return not machine.trailing_data[0]
    scope = getattr(connection, "scope", None)  # httptools begins a new one with the first byte of a request
    return scope is None or (cycle is not None and cycle.scope is scope)


def _close_idle(transport: Any) -> None:  # noqa: ANN401  of asyncio or uvloop
    if transport.is_closing():
        return
    sock = transport.get_extra_info("socket")
    if sock is None or not peek.unread(sock.fileno()):
        transport.close()


def _is_open(connection: Any) -> bool:  # noqa: ANN401  one of uvicorn's three
    done = getattr(connection, "handshake_completed_event", None)
    return done.is_set() if done is not None else bool(connection.handshake_complete)


async def _send_restart(connection: Any) -> None:  # noqa: ANN401  one of uvicorn's three
    send = getattr(connection, "asgi_send", None) or connection.send
    connection.ghostd_said_restart = True
    await send(dict(_RESTART))


def _guarded(send: Send) -> Send:
    """A websocket's send: once we have closed it, it says that the other end has gone, and blames nobody."""
    connection = getattr(send, "__self__", None)

    async def tell(message: Message) -> None:
        if getattr(connection, "ghostd_said_restart", False):
            raise ClientDisconnected
        await send(message)

    return tell
