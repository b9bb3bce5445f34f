"""The bare manager as a server of the web, for what a reload takes at least: each child loads as much, and no more.

python -m bench.serve.plain PLACE SIZE INTERFACE
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from bench.serve import LAST
from bench.server import Server

if TYPE_CHECKING:
    from types import FrameType

    from bench import work


def main(place: str, size: str, interface: str) -> None:
    """Serve until TERM or QUIT; reload by HUP."""
    host, _, port = place.rpartition(":")
    listener = socket.create_server((host, int(port)), backlog=2048)
    listener.setblocking(False)
    if interface == "stream":
        importlib.import_module("bench.serve.apps")  # as ghostd has it: with the class, before the fork
    Server(int(size), 55.0, lambda tick: _serve(listener, tick, interface)).run()


def _serve(listener: socket.socket, tick: work.Tick, interface: str) -> None:
    """Answer one connection at a time, each once, until QUIT."""
    leaving: list[bool] = []
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def leave(_signum: int, _frame: FrameType | None) -> None:
        leaving.append(True)
        os.write(writer, b"\0")

    signal.signal(signal.SIGQUIT, leave)
    _boot(interface)
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
    epoll.register(reader, select.EPOLLIN)
    tick()
    while not leaving:
        epoll.poll()
        with suppress(BlockingIOError):
            connection, _ = listener.accept()
            connection.setblocking(True)
            with connection:
                connection.recv(65536)
                connection.sendall(LAST)


def _boot(interface: str) -> None:
    """Load what the server of this interface loads, and the application."""
    if interface == "asgi":
        config = importlib.import_module("uvicorn.config").Config("bench.serve.apps:asgi", log_config=None)
        config.load()
        importlib.import_module("asyncio").new_event_loop().close()
    elif interface == "wsgi":
        importlib.import_module("waitress.server")
    importlib.import_module("bench.serve.apps").enrol()


if __name__ == "__main__":
    main(*sys.argv[1:])
