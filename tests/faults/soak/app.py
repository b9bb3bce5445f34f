"""The web application of the soak: answers with the number that it was asked, and writes down whom it had in hand."""

import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

ROOM_BYTES: Final = 64 << 20  # what "/grow" takes, which is more than any limit of memory in the soak leaves

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Book:
    """Where requests are written down; open from the start, so that a limit of descriptors does not touch it."""

    def __init__(self) -> None:
        self._fd = -1

    def open(self) -> None:
        self._fd = os.open(os.environ["SOAK_SERVED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def note(self, word: str) -> None:
        # One write of one line, so that lines of many spirits do not mix, and a death leaves all of it or nothing.
        os.write(self._fd, f"{word} {os.getpid()}\n".encode())


BOOK: Final = Book()


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        BOOK.open()
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    word = scope["path"].lstrip("/")
    if word.isdigit():
        BOOK.note(word)
    elif word == "grow":
        bytearray(b"x") * ROOM_BYTES
    body = word.encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
