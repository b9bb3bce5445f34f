"""The applications that are served: hello world in each interface, the same under every server.

Whoever loads this leaves a file named after its pid, which is how the benchmark knows spirits from helpers. Those whose
name begins with ``marked`` write first of all who has begun which request, so that a loss can be told from a handler
that was killed.
"""

import mmap
import os

from bench.serve import BODY, MARKS, SPIRITS

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
    """Which process has begun which request, in a file that all share."""

    def __init__(self) -> None:
        file = os.open(f"{FOLDER}/{MARKS}", os.O_RDWR | os.O_CLOEXEC)
        self._words = memoryview(mmap.mmap(file, 0)).cast("I")
        os.close(file)

    def begin(self, path: str) -> None:
        """This process has begun the request whose number is the path; one without a number is none."""
        self._words[int(path[1:] or 0)] = os.getpid()


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
marks = Marks()


async def marked_asgi(
    scope: "dict[str, Any]", receive: "Callable[[], Awaitable[Any]]", send: "Callable[..., Any]"
) -> None:
    """Leave a mark, and say hello; the lifespan is no request."""
    if scope["type"] != "lifespan":
        marks.begin(scope["path"])
    await asgi(scope, receive, send)


def marked_wsgi(environ: "dict[str, Any]", start_response: "Callable[..., Any]") -> "Iterable[bytes]":
    """Leave a mark, and say hello."""
    marks.begin(environ["PATH_INFO"])
    return wsgi(environ, start_response)
