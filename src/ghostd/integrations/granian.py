"""granian inside a spirit: its engines, which are written in Rust, on the ghost's own listeners.

granian is made to open its sockets and to start its processes itself. Yet an engine of it takes any listener when it is
built from granian's parts, which are no public interface: hence the narrow range of versions in the extra, and tests
that serve and reload with it. Accepting is granian's own: all spirits wake for a connection, and one takes it.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from granian import _granian
from granian._futures import _future_watcher_wrapper, _new_cbscheduler
from granian.asgi import _callback_wrapper as _asgi_wrapper
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import DEFAULT_ACCESSLOG_FMT
from granian.wsgi import _callback_wrapper as _wsgi_wrapper

from ghostd.errors import TargetError
from ghostd.linux import epolls, listening
from ghostd.serve import asgi, logs, wsgi
from ghostd.serve.exchanges import Exchanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ghostd.serve.job import Job

_DEFAULTS: Final[dict[str, Any]] = {
    "backpressure": 0,  # connections of a listener, idle ones too; 0: the option connections, or what descriptors allow
    "blocking_threads": None,  # 4 for WSGI; one for ASGI, where none is used
    "blocking_threads_idle_timeout": 30,
    "http": "auto",
    "http1": None,
    "http2": None,
    "log_access": False,
    "log_access_format": None,
    "runtime_blocking_threads": 512,
    "runtime_threads": 1,
    "ssl_ca": None,
    "ssl_cert": None,
    "ssl_client_verify": False,
    "ssl_crl": (),
    "ssl_key": None,
    "ssl_key_password": None,
    "ssl_protocol_min": "tls1.3",
    "url_path_prefix": None,
    "websockets": True,
}
_THREADS = 4
_EMPTYING = 0.2  # seconds in which what is queued is still taken, while others take it too
_LOOK = 0.01  # seconds between two looks

# Options of granian that ghostd decides itself, and what says so.
_TAKEN: Final = {
    **dict.fromkeys(("address", "port", "uds", "uds_permissions", "host"), "the option listen"),
    "backlog": "the option backlog",
    "factory": "the option factory",
    "interface": "the option interface",
    "loop": "the option event_loop",
    "process_name": "the option name",
    "reload": "ghostd reload",
    "workers": "the option spirits",
    "workers_kill_timeout": "the option graceful_timeout",
    "workers_lifetime": "the option max_lifetime",
    "working_dir": "the option chdir",
}


def serve(job: Job) -> None:
    """Serve until the spirit is asked to leave, and leave."""
    options = {**_DEFAULTS, **job.options}
    logs.send_to(job.voice.log, "_granian")
    logs.send_to(job.voice.log, "granian.access")
    if job.interface == "wsgi":
        _WsgiService(job, options).run()
    else:
        asgi.run(lambda: _serve_asgi(job, options), job.loop_factory)


def known() -> Mapping[str, object]:
    """The options of granian's own that may be given, with their defaults."""
    return _DEFAULTS


def taken() -> Mapping[str, str]:
    """Those that ghostd decides itself, each with what to use instead."""
    return _TAKEN


def try_out(options: Mapping[str, Any]) -> None:
    """Raise what is wrong with these options together."""
    chosen = {**_DEFAULTS, **options}
    _http(chosen)
    if chosen["ssl_cert"] and chosen["ssl_key"]:
        import ssl  # noqa: PLC0415  where TLS is wanted

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chosen["ssl_cert"], chosen["ssl_key"], chosen["ssl_key_password"])
        if chosen["ssl_ca"]:
            context.load_verify_locations(chosen["ssl_ca"])


async def _serve_asgi(job: Job, options: Mapping[str, Any]) -> None:
    loop, asked = asyncio.get_running_loop(), asgi.leaving(job.voice)
    lifespan = asgi.Lifespan(job.app, str(job.options.get("lifespan", "auto")))
    await lifespan.startup()
    exchanges = Exchanges(job.app, job.voice)
    wrapped = _asgi_wrapper(
        exchanges, {"url_path_prefix": options["url_path_prefix"]}, lifespan.state, _format(options)
    )
    engines = _Engines(job, options)
    engines.start(_new_cbscheduler(loop, _future_watcher_wrapper(wrapped), impl_asyncio=True), loop)
    asgi.begin_beats(job.voice, job.manners.interval)
    await asked.wait()
    begun, manners = time.monotonic(), job.manners
    exchanges.leave()
    until = begun + manners.patience
    await _until(engines.are_empty, engines.limit(begun, until))
    await _until(engines.stop_accepting, until)
    stopped = time.monotonic()  # until then a connection may have been taken
    await _until(lambda: not exchanges.kept and _is_quiet(exchanges.last, stopped, job.grace), until)
    engines.end()
    await _until(engines.have_ended, until)
    if exchanges.in_hand:
        job.voice.log.write("warn", wsgi.told_cut(exchanges.in_hand, exchanges.in_hand, manners.patience))
        exchanges.cut()
    await lifespan.shutdown()


async def _until(condition: Callable[[], bool], limit: float) -> None:
    """Look now and then, as nothing tells; until the limit at most."""
    never = asyncio.Event()
    while not condition() and time.monotonic() < limit:
        with suppress(TimeoutError):
            await asyncio.wait_for(never.wait(), _LOOK)


class _WsgiService:
    """One WSGI application; its requests are answered in granian's threads, the main thread beats and waits."""

    def __init__(self, job: Job, options: Mapping[str, Any]) -> None:
        self._job = job
        self._options = {**options, "blocking_threads": options["blocking_threads"] or _THREADS}
        self._pulse = wsgi.Pulse(job.voice, self._options["blocking_threads"])
        self._kept: set[object] = set()  # requests in hand of HTTP/1: a connection is kept until an answer says close
        self._last = time.monotonic()  # when one of these ended
        self._leaves = False
        reader, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(reader, select.POLLIN)
        self._reader = reader

    def run(self) -> None:
        job, pulse, manners = self._job, self._pulse, self._job.manners
        job.voice.when_leaving(lambda: _ring(self._wake))
        scope = {"url_path_prefix": self._options["url_path_prefix"]}
        engines = _Engines(job, self._options)
        loop = asyncio.new_event_loop()  # granian asks for one, and never runs it
        scheduler = _new_cbscheduler(loop, _wsgi_wrapper(self._call, scope, _format(self._options)), impl_asyncio=True)
        engines.start(scheduler, loop)
        while not job.voice.is_leaving:
            pulse.beat()
            self._poll.poll(manners.interval * 1000)
        with suppress(BlockingIOError):  # it was asked before anybody listened for that
            os.read(self._reader, 1)
        begun = time.monotonic()
        self._leaves = True
        until = begun + manners.patience
        self._wait(engines.are_empty, engines.limit(begun, until))
        self._wait(engines.stop_accepting, until)
        stopped = time.monotonic()  # until then a connection may have been taken
        self._wait(lambda: not self._kept and _is_quiet(self._last, stopped, job.grace), until)
        engines.end()
        self._wait(engines.have_ended, until)
        if pulse.in_hand:
            job.voice.log.write("warn", wsgi.told_cut(pulse.in_hand, pulse.in_hand, manners.patience))
            return
        loop.close()

    def _wait(self, condition: Callable[[], bool], limit: float) -> None:
        while not condition() and time.monotonic() < limit:
            self._poll.poll(_LOOK * 1000)
            self._pulse.beat()

    def _call(self, environ: Any, start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  as PEP 3333 has them
        self._pulse.begin()
        request, goes_on = object(), False
        if environ["SERVER_PROTOCOL"].startswith("HTTP/1"):
            self._kept.add(request)
        try:
            answer = self._job.app(environ, self._watched(start_response))
            goes_on = not isinstance(answer, list)
            return _Counted(answer, partial(self._end, request)) if goes_on else answer
        finally:
            if not goes_on:
                self._end(request)

    def _end(self, request: object) -> None:
        if request in self._kept:
            self._last = time.monotonic()
            self._kept.discard(request)
        self._pulse.end()

    def _watched(self, start_response: Callable[..., Any]) -> Callable[..., Any]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> object:
            more = (("Connection", "close"),) if self._leaves else ()
            return start_response(status, [*headers, *more], exc_info)

        return start


class _Counted:
    """An answer in parts: it ends when the server closes it."""

    def __init__(self, answer: Iterable[bytes], end: Callable[[], None]) -> None:
        self._answer, self._end = answer, end
        self._iterator = iter(answer)

    def __iter__(self) -> Iterator[bytes]:
        return self._iterator

    def close(self) -> None:
        try:
            if hasattr(self._answer, "close"):
                self._answer.close()
        finally:
            self._end()


class _Engines:
    """An engine of granian for each listener."""

    def __init__(self, job: Job, options: Mapping[str, Any]) -> None:
        self._sockets = job.sockets
        self._fds = [os.dup(sock.fileno()) for sock in job.sockets]  # granian's: it closes them
        self._watched = list(self._fds)  # in the epolls of its engines, or about to be
        self._signals: list[Any] = []
        self._ended = 0
        self._engines = []
        for fd, sock in zip(self._fds, job.sockets, strict=True):
            is_unix = sock.family == socket.AF_UNIX
            self._engines.append((_engine(job, fd, options, is_unix=is_unix), is_unix))

    def start(self, scheduler: Any, loop: asyncio.AbstractEventLoop) -> None:  # noqa: ANN401  granian's
        """Accept from now on."""
        for engine, is_unix in self._engines:
            signal = _granian.WorkerSignal()
            signal.add_cb(self._count_end)
            self._signals.append(signal)
            (engine.serve_mtr_uds if is_unix else engine.serve_mtr)(scheduler, loop, signal)

    def are_empty(self) -> bool:
        """Whether nothing is queued."""
        return not any(listening.queued(sock) for sock in self._sockets)

    def limit(self, begun: float, until: float) -> float:
        """When to wait no longer for an empty queue: nobody comes after where it is shut, and others do elsewhere."""
        return until if any(listening.is_shut(sock) for sock in self._sockets) else min(begun + _EMPTYING, until)

    def stop_accepting(self) -> bool:
        """Leave what comes from now on to others: whether that is so; one that has only begun must be asked again.

        granian has no way to say so without closing what is idle; so the listeners are taken out of its hands: out of
        the epoll that it sleeps in. One that was shut meanwhile would have it look again and again.
        """
        self._watched = [fd for fd in self._watched if not epolls.withdraw(fd)]
        return not self._watched

    def end(self) -> None:
        """Close what is idle, finish what is in hand; whoever speaks HTTP/2 is told to go, by GOAWAY."""
        for signal in self._signals:
            signal.set()

    def have_ended(self) -> bool:
        """Whether all have."""
        return self._ended >= len(self._signals)

    def _count_end(self) -> None:
        self._ended += 1


def _engine(job: Job, fd: int, options: Mapping[str, Any], *, is_unix: bool) -> Any:  # noqa: ANN401  granian's
    """An engine on a listener, in the order in which granian's own processes make it."""
    is_wsgi, has_tls = job.interface == "wsgi", bool(options["ssl_cert"] and options["ssl_key"])
    mode, http1, http2 = _http(options)
    blocking = options["blocking_threads"] if is_wsgi else 1
    try:
        return (_granian.WSGIWorker if is_wsgi else _granian.ASGIWorker)(
            1, (None, _granian.SocketHolder(fd, is_unix, job.backlog)), None,
            options["runtime_threads"], options["runtime_blocking_threads"], blocking,
            options["blocking_threads_idle_timeout"], _backpressure(job, options), mode, http1, http2,
            *(() if is_wsgi else (options["websockets"],)), None,
            has_tls, options["ssl_cert"] if has_tls else None, options["ssl_key"] if has_tls else None,
            options["ssl_key_password"], options["ssl_protocol_min"], options["ssl_ca"], list(options["ssl_crl"]),
            options["ssl_client_verify"], (None, None),
        )  # fmt: skip
    except TypeError as error:
        raise TargetError(
            f"this version of granian is built in another way than ghostd knows ({error}): "
            "pip install 'ghostd[granian]' installs one that fits"
        ) from error


def _backpressure(job: Job, options: Mapping[str, Any]) -> int:
    """How many connections an engine has at most. One that is full accepts none, so idle ones must not fill it."""
    return options["backpressure"] or max(job.manners.room // len(job.sockets), 1)


def _http(options: Mapping[str, Any]) -> tuple[str, HTTP1Settings | None, HTTP2Settings | None]:
    """The versions of HTTP, with their settings."""
    mode = str(options["http"])
    if mode not in ("auto", "1", "2"):
        raise ValueError(f"http: {mode!r} is not allowed; it takes one of auto, 1, 2")
    http1 = None if mode == "2" else HTTP1Settings(**(options["http1"] or {}))
    http2 = None if mode == "1" else HTTP2Settings(**(options["http2"] or {}))
    return mode, http1, http2


def _format(options: Mapping[str, Any]) -> str | None:
    """What a line of the access log is, if there is one."""
    return options["log_access_format"] or DEFAULT_ACCESSLOG_FMT if options["log_access"] else None


def _is_quiet(last: float, stopped: float, grace: float) -> bool:
    """Whether no connection was taken, and no request ended, for as long as a connection may be idle."""
    return time.monotonic() - max(last, stopped) >= grace


def _ring(fd: int) -> None:
    with suppress(BlockingIOError):
        os.write(fd, b"\0")
