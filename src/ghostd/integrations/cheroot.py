"""cheroot inside a spirit: its connections and threads, with accepting, beats and leaving done here.

Its server takes connections from a listener; here that is a passage, which the spirit's main thread puts them into.
"""

from __future__ import annotations

import logging
import queue
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from cheroot.connections import ConnectionManager
from cheroot.server import HTTPConnection, HTTPRequest, get_ssl_adapter_class
from cheroot.wsgi import Server

from ghostd.linux import peek
from ghostd.serve import logs, wsgi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ghostd.serve.acceptor import Acceptor
    from ghostd.serve.job import Job

_DEFAULTS: Final[dict[str, Any]] = {
    "accepted_queue_size": -1,
    "accepted_queue_timeout": 10,
    "keep_alive_conn_limit": None,
    "max": -1,
    "max_request_body_size": 0,
    "max_request_header_size": 0,
    "numthreads": 10,
    "peercreds_enabled": False,
    "peercreds_resolve_enabled": False,
    "server_name": None,
    "ssl_certificate_chain_file": None,
    "ssl_certificate_file": None,
    "ssl_private_key_file": None,
    "ssl_private_key_password": None,
    "timeout": 10,
}
# Options of cheroot that ghostd decides itself, and what says so.
_TAKEN: Final = {
    **dict.fromkeys(("bind_addr", "reuse_port"), "the option listen"),
    "request_queue_size": "the option backlog",
    "shutdown_timeout": "the option graceful_timeout",
    "wsgi_app": "the target",
}
_ATTRIBUTES = ("keep_alive_conn_limit", "max_request_body_size", "max_request_header_size")  # not of its constructor


def serve(job: Job) -> None:
    """Serve until the spirit is asked to leave, and leave."""
    logs.send_to(job.voice.log, "cheroot")
    hall = _Hall(job)
    hall.start()
    wsgi.attend(job, hall.pulse, hall)


def known() -> Mapping[str, object]:
    """The options of cheroot's own that may be given, with their defaults."""
    return _DEFAULTS


def taken() -> Mapping[str, str]:
    """Those that ghostd decides itself, each with what to use instead."""
    return _TAKEN


def try_out(options: Mapping[str, Any]) -> None:
    """Raise what is wrong with these options together."""
    _adapter({**_DEFAULTS, **options})


def _adapter(options: Mapping[str, Any]) -> Any:  # noqa: ANN401  cheroot's
    """What speaks TLS, if a certificate is given."""
    if not options["ssl_certificate_file"]:
        return None
    return get_ssl_adapter_class("builtin")(
        options["ssl_certificate_file"],
        options["ssl_private_key_file"] or options["ssl_certificate_file"],
        certificate_chain=options["ssl_certificate_chain_file"],
        private_key_password=options["ssl_private_key_password"],
    )


class _Hall:
    """All connections of the spirit: a server of cheroot for each listener, which accepts nothing itself."""

    def __init__(self, job: Job) -> None:
        self._options = {**_DEFAULTS, **job.options}
        self._job = job
        self.pulse = wsgi.Pulse(job.voice, self._options["numthreads"] * len(job.sockets))
        self._idle = wsgi.Idle(job.grace)
        self._live: set[HTTPConnection] = set()
        kind = _connection_class(self.pulse, self._live)
        self._servers = {wsgi.place(sock): self._server(sock, kind) for sock in job.sockets}
        self._first = next(iter(self._servers.values()))

    def start(self) -> None:
        """The loops of cheroot, each in a thread; its threads are made by such a one, and end with the spirit too."""
        for server in self._servers.values():
            wsgi.run_apart("cheroot", lambda server=server: self._loop(server))  # type: ignore[misc]
            wsgi.run_apart("cheroot-503", server._serve_unservicable)  # noqa: SLF001

    def attach(self, acceptor: Acceptor) -> None:
        """The main thread takes connections: cheroot's own loop is none to wait for listeners in."""

    def admit(self, sock: socket.socket, address: object) -> None:
        """Wait for what the connection asks."""
        server = self._servers.get(wsgi.place(sock), self._first)
        connection = server._connections._from_server_socket(_Passage(sock, address))  # noqa: SLF001
        if connection is not None:
            server.put_conn(connection)

    def count(self) -> int:
        """How many connections are in hand."""
        return len(self._live)

    def say_close(self) -> None:
        """From now on each answer says Connection: close, as there is no room for one that is kept."""
        for server in self._servers.values():
            server.keep_alive_conn_limit = 0

    def usher(self, now: float) -> int:
        """Close what has been idle for as long as it may; how many connections are left."""
        waiting = {
            connection: (manager._selector, fd)  # noqa: SLF001
            for manager in (server._connections for server in self._servers.values())  # noqa: SLF001
            for fd, connection in list(manager._selector.connections)  # noqa: SLF001
        }
        for connection in list(self._live):
            if self._idle.is_over(connection, now, is_idle=connection in waiting):
                selector, fd = waiting[connection]
                if not peek.unread(fd):
                    with suppress(KeyError):  # its request has just come: a thread has it now
                        selector.unregister(fd)
                        connection.close()
        return len(self._live)

    def cut(self) -> None:
        """Close what is left."""
        for connection in list(self._live):
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def _server(self, sock: socket.socket, kind: type[HTTPConnection]) -> Any:  # noqa: ANN401  cheroot's Server
        names = set(_DEFAULTS) - set(_ATTRIBUTES)
        given = {name: self._options[name] for name in names if not name.startswith("ssl_")}
        name = sock.getsockname()
        server = Server(name if isinstance(name, str) else name[:2], self._job.app, **given)
        for attribute in _ATTRIBUTES:
            setattr(server, attribute, self._options[attribute])
        server.ConnectionClass = kind
        server.ssl_adapter = _adapter(self._options)
        server.error_log = self._log
        # As its prepare() does, but for opening a socket.
        server.software = f"{server.version} Server"
        server.socket, self._other_end = socket.socketpair()  # never readable
        server._connections = ConnectionManager(server)  # noqa: SLF001
        server._unservicable_conns = queue.Queue()  # noqa: SLF001
        server.ready = True
        return server

    def _loop(self, server: Any) -> None:  # noqa: ANN401  cheroot's Server
        server.requests.start()
        while True:
            server._connections.run(server.expiration_interval)  # noqa: SLF001

    def _log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:  # noqa: FBT001, FBT002
        logging.getLogger("cheroot").log(level, msg, exc_info=traceback)


class _Passage:
    """What cheroot takes for a listener with one connection."""

    def __init__(self, sock: socket.socket, address: object) -> None:
        self._taken = sock, address

    def accept(self) -> tuple[socket.socket, object]:
        """The connection."""
        return self._taken


def _connection_class(pulse: wsgi.Pulse, live: set[HTTPConnection]) -> type[HTTPConnection]:
    """Connections that are known while they live, and whose requests are counted."""

    class Request(HTTPRequest):  # type: ignore[misc]
        def respond(self) -> None:
            pulse.begin()
            try:
                super().respond()
            finally:
                pulse.end()

    class Connection(HTTPConnection):  # type: ignore[misc]
        RequestHandlerClass = Request

        def __init__(self, *given: Any, **named: Any) -> None:  # noqa: ANN401  cheroot's
            super().__init__(*given, **named)
            live.add(self)

        def close(self) -> None:
            try:
                super().close()
            finally:
                live.discard(self)

    return Connection
