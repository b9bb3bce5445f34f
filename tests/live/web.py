"""Runs web applications under ghosts for the tests: writes one of each kind, starts it, asks it.

Rule: as in harness.py. A test names a server; where that is not installed, it is skipped.
"""

import importlib.util
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import pytest

from bench.serve.client import Address, Client, Outcome
from tests.live.harness import Stage, Subject
from tests.support import NEEDS, wait_until

HEAD: Final = """\
SEEN = {seen!r}

def began(path):
    if path in ("/slow", "/held", "/endless", "/block"):
        with open(SEEN, "a") as file:
            file.write("began " + path + "\\n")

"""

# Answers: what is said below for both kinds, by the path.
ASGI: Final = """\
import asyncio, os, time

HELD = []

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        with open(SEEN, "a") as file:
            file.write(f"{message['type']} {message.get('code')}\\n")
        return
    path = scope["path"]
    began(path)
    if path == "/slow":
        await asyncio.sleep(1.0)
    elif path == "/held":
        while not os.path.exists(SEEN + ".go"):
            await asyncio.sleep(0.01)
    elif path == "/endless":
        await asyncio.sleep(600)
    elif path == "/block":
        time.sleep(600)
    elif path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        gone = asyncio.ensure_future(receive_gone(receive))
        number = 0
        while not gone.done():
            await send({"type": "http.response.body", "body": b"data: %d\\n\\n" % number, "more_body": True})
            number += 1
            await asyncio.wait((gone,), timeout=0.05)
        with open(SEEN, "a") as file:
            file.write("stream gone\\n")
        return
    body = b"%d" % os.getpid() if path == "/pid" else b"hello"
    head = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})

async def receive_gone(receive):
    while (await receive())["type"] != "http.disconnect":
        pass
"""

WSGI: Final = """\
import os, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    began(path)
    if path == "/slow":
        time.sleep(1.0)
    elif path == "/held":
        while not os.path.exists(SEEN + ".go"):
            time.sleep(0.01)
    elif path in ("/endless", "/block"):
        time.sleep(600)
    body = b"%d" % os.getpid() if path == "/pid" else b"hello"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

SUBJECT: Final = """\
from ghostd import Server

class Subject(Server):
    def __init__(self, **options):
        super().__init__("webapp:app", **options)
"""

ALL: Final = ("uvicorn asgi", "hypercorn asgi", "granian asgi", "waitress wsgi", "cheroot wsgi", "granian wsgi")
ASGI_ONLY: Final = ("uvicorn asgi", "hypercorn asgi", "granian asgi")


def each(*kinds: str) -> pytest.MarkDecorator:
    """Run the test with each of these kinds, ``SERVER INTERFACE``, whose server is installed."""
    return pytest.mark.parametrize("kind", [pytest.param(kind, id=kind, marks=_needed(kind)) for kind in kinds])


def _needed(kind: str) -> pytest.MarkDecorator:
    name = kind.split(maxsplit=1)[0]
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{NEEDS}{name}")


class Web(NamedTuple):
    """A ghost that serves, and where."""

    subject: Subject
    stage: Stage
    address: Address

    def client(self, **manners: object) -> Client:
        """A client of it."""
        return Client(self.address, **manners)  # type: ignore[arg-type]

    def ask(self, path: str = "/") -> Outcome:
        """Ask once, on a connection of its own."""
        return self.client(connections=1, path=path).run(requests=1)

    def seen(self) -> str:
        """What the application has written about itself."""
        file = self.stage.place / "seen"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """A connection on which nothing was sent yet, and that a spirit has taken."""
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(30.0)
            sock.connect(self.address)
            yield sock


def run(stage: Stage, kind: str, *, unix: bool = False, app: str = "", whole: bool = True, **options: object) -> Web:
    """Serve the application of this kind."""
    server, interface = kind.split()
    head = HEAD.format(seen=str(stage.place / "seen"))
    (stage.place / "webapp.py").write_text(head + (app or (ASGI if interface == "asgi" else WSGI)), encoding="utf-8")
    path = str(stage.place / "web.sock")
    chosen: dict[str, Any] = {"server": server, "listen": f"unix:{path}" if unix else "127.0.0.1:0"} | options
    subject = stage.run(SUBJECT, whole=whole, **chosen)
    if not whole:
        return Web(subject, stage, path)
    where = subject.wait_log(r"\] Listening on ")[0].rpartition(" ")[2]
    return Web(subject, stage, path if unix else ("127.0.0.1", int(where.rpartition(":")[2])))


def get(sock: socket.socket, path: str = "/") -> bytes:
    """Ask on a connection that stays: the whole answer."""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return answer(sock)


def answer(sock: socket.socket) -> bytes:
    """The answer that comes on a connection, with a body of known length; empty when it was closed instead."""
    got = b""
    while b"\r\n\r\n" not in got:
        part = sock.recv(65536)
        if not part:
            return got
        got += part
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or b"0")
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def wait_closed(sock: socket.socket, timeout: float = 30.0) -> None:
    """Wait until the other end has closed it, in order."""
    sock.settimeout(timeout)
    assert sock.recv(65536) == b"", "it sent something instead"


def wait_leaving(web: Web, count: int = 1) -> None:
    """Wait until so many spirits were asked to leave."""
    wait_until(lambda: len(web.subject.logged(r"Stopping spirit")) >= count, what=f"{count} spirits asked to leave")
