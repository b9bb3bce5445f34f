"""The applications that are served: hello world in each interface, the same under every server.

Whoever loads this leaves a file named after its pid, which is how the benchmark knows spirits from helpers; and with
BENCH_MARKS it counts what was begun and what was ended, so that a loss can be told from a handler that was killed.
"""

import os
import threading

from bench import witness
from bench.serve import BODY, SPIRITS

TYPE_CHECKING = False  # nothing heavy is loaded beside what is measured
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Any

LENGTH = str(len(BODY))
FOLDER = os.environ["BENCH_FOLDER"]


def enrol() -> None:
    """Leave the file that says that this process serves."""
    with open(f"{FOLDER}/{SPIRITS}/{os.getpid()}", "wb"):
        pass


class Marks:
    """How many this process has begun and ended, in the shared table."""

    def __init__(self) -> None:
        self._words = witness.Witness(FOLDER).open_table()
        self._words[0] = self._words[1] = 0  # a former process of this pid may have left some
        self._lock = threading.Lock()

    def begin(self) -> None:
        """One was begun."""
        with self._lock:
            self._words[0] += 1

    def end(self) -> None:
        """One was ended."""
        with self._lock:
            self._words[1] += 1


class NoMarks:
    """Counts nothing."""

    def begin(self) -> None:
        """One was begun."""

    def end(self) -> None:
        """One was ended."""


async def asgi(scope: "dict[str, Any]", receive: "Callable[[], Awaitable[Any]]", send: "Callable[..., Any]") -> None:
    """Say hello."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    head = [(b"content-type", b"text/plain"), (b"content-length", LENGTH.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": BODY})


def wsgi(_environ: "dict[str, Any]", start_response: "Callable[..., Any]") -> "Iterable[bytes]":
    """Say hello."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", LENGTH)])
    return [BODY]


enrol()
_marks = Marks() if "BENCH_MARKS" in os.environ else NoMarks()


async def marked_asgi(
    scope: "dict[str, Any]", receive: "Callable[[], Awaitable[Any]]", send: "Callable[..., Any]"
) -> None:
    """Say hello, and leave marks; the lifespan is no request."""
    if scope["type"] == "lifespan":
        await asgi(scope, receive, send)
        return
    _marks.begin()
    await asgi(scope, receive, send)
    _marks.end()


def marked_wsgi(environ: "dict[str, Any]", start_response: "Callable[..., Any]") -> "Iterable[bytes]":
    """Say hello, and leave marks."""
    _marks.begin()
    return _ending(wsgi(environ, start_response))


def _ending(body: "Iterable[bytes]") -> "Iterable[bytes]":
    """The body; it is ended once its server has asked for more than there is."""
    yield from body
    _marks.end()
