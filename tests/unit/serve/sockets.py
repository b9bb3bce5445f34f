"""Listeners, clients and a log for the tests of what listens."""

import os
import socket
from contextlib import ExitStack
from pathlib import Path

from ghostd.serve.acceptor import Acceptor
from tests.support import wait_until


class Log:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, level: str, text: str, /) -> None:
        self.lines.append(f"[{level}] {text}")

    def exception(self, text: str, error: BaseException, /) -> None:
        self.lines.append(f"{text}: {error!r}")


class Scripted(socket.socket):
    """A listener that says these error numbers before it behaves."""

    script: list[int]

    def accept(self) -> tuple[socket.socket, object]:
        if self.script:
            number = self.script.pop(0)
            raise OSError(number, os.strerror(number))
        return super().accept()


def listen(closing: ExitStack, kind: type[socket.socket] = socket.socket) -> socket.socket:
    listener = closing.enter_context(kind(socket.AF_INET))
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    listener.setblocking(False)
    return listener


def listen_unix(closing: ExitStack, path: Path) -> socket.socket:
    listener = closing.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(path))
    listener.listen(64)
    listener.setblocking(False)
    return listener


def scripted(closing: ExitStack, *errors: int) -> Scripted:
    listener = listen(closing, Scripted)
    assert isinstance(listener, Scripted)
    listener.script = list(errors)
    return listener


def connect(closing: ExitStack, listener: socket.socket) -> socket.socket:
    client = closing.enter_context(socket.socket(listener.family))
    client.settimeout(10)
    client.connect(listener.getsockname())
    return client


def opened(closing: ExitStack, log: Log, *listeners: socket.socket, use_epoll: bool | None = None) -> Acceptor:
    acceptor = Acceptor(listeners, log, use_epoll=use_epoll)
    closing.callback(acceptor.close)
    acceptor.wait(0)
    return acceptor


def take(closing: ExitStack, acceptor: Acceptor) -> socket.socket:
    """The next connection, waited for."""

    def taken() -> tuple[socket.socket, object] | None:
        acceptor.wait(0.1)
        return acceptor.accept_nowait()

    found = wait_until(taken, what="a connection")
    assert found
    return closing.enter_context(found[0])
