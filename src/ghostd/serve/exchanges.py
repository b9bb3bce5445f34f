"""Requests and websockets seen as ASGI messages: counted, and brought to their end when the spirit leaves.

For servers whose own ways cannot be reached. An answer says ``Connection: close``, an event stream ends for its client
as a whole answer and for the application as if the client had gone, a websocket gets its close frame.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ghostd.serve.asgi import App, Message, Receive, Send
    from ghostd.serve.voice import Voice

RESTART = 1012  # RFC 6455: the service restarts, and the client may come back
EVENT_STREAM = b"text/event-stream"
_CLOSE = (b"connection", b"close")


class LeftError(OSError):
    """The other end has gone; here because the spirit leaves."""


class Exchanges:
    """The application, with all that is in hand known."""

    def __init__(self, app: App, voice: Voice) -> None:
        self.in_hand = 0
        self.kept = 0  # those of HTTP/1 among them: such a connection is kept until an answer says close
        self.last = time.monotonic()  # when one of these began or ended
        self._app = app
        self._voice = voice
        self._leaving = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    def leave(self) -> None:
        """From now on what is asked is the last on its connection, and what has no end is ended."""
        self._leaving.set()

    def cut(self) -> None:
        """End what is left."""
        for task in list(self._tasks):
            task.cancel()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request, websocket or lifespan."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        exchange = (_Websocket if scope["type"] == "websocket" else _Request)(scope, receive, send, self._leaving)
        task = asyncio.current_task()
        assert task is not None, "a server calls an application in a task"
        is_kept = _is_http1(scope)
        self._tasks.add(task)
        self.in_hand += 1
        self._count(is_kept)
        self._voice.took()
        try:
            await exchange.run(self._app)
        finally:
            self._tasks.discard(task)
            self.in_hand -= 1
            self._count(-is_kept)
            self._voice.gave()

    def _count(self, more: int) -> None:
        if more:
            self.kept += more
            self.last = time.monotonic()


class _Request:
    def __init__(self, scope: Message, receive: Receive, send: Send, leaving: asyncio.Event) -> None:
        self._scope, self._receive, self._send, self._leaving = scope, receive, send, leaving
        self._is_asked = False  # the whole request was read: only the client's going can still come
        self._is_stream = self._is_done = False

    async def run(self, app: App) -> None:
        with suppress(LeftError):
            await app(self._scope, self._hear, self._tell)
        if self._is_stream and not self._is_done:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _hear(self) -> Message:
        if not self._is_asked:
            message = await self._receive()
            self._is_asked = not message.get("more_body", False)
            return message
        said, left = asyncio.ensure_future(self._receive()), asyncio.ensure_future(self._leaving.wait())
        try:
            await asyncio.wait((said, left), return_when=asyncio.FIRST_COMPLETED)
            if not said.done() and self._is_stream:
                return {"type": "http.disconnect"}
            return await said
        finally:
            said.cancel()
            left.cancel()

    async def _tell(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._is_stream = is_stream(message)
            if self._leaving.is_set() and _is_http1(self._scope):
                message = {**message, "headers": [*message.get("headers", ()), _CLOSE]}
        elif self._is_stream and self._leaving.is_set():
            raise LeftError
        await self._send(message)
        self._is_done = message["type"] == "http.response.body" and not message.get("more_body", False)


class _Websocket:
    def __init__(self, scope: Message, receive: Receive, send: Send, leaving: asyncio.Event) -> None:
        self._scope, self._receive, self._send, self._leaving = scope, receive, send, leaving
        self._is_open = self._is_closed = False
        self._ending: asyncio.Future[None] | None = None  # our close frame on its way

    async def run(self, app: App) -> None:
        closer = asyncio.ensure_future(self._close())
        try:
            with suppress(LeftError):
                await app(self._scope, self._hear, self._tell)
        finally:
            closer.cancel()
            if self._ending is not None:
                await self._ending

    async def _hear(self) -> Message:
        if self._ending is None:
            said, left = asyncio.ensure_future(self._receive()), asyncio.ensure_future(self._leaving.wait())
            try:
                await asyncio.wait((said, left), return_when=asyncio.FIRST_COMPLETED)
                if said.done() or not self._is_open:
                    return await said
                self._end()
            finally:
                left.cancel()
                said.cancel()
                said.add_done_callback(_ignore)  # some servers raise in it once they have closed
        return {"type": "websocket.disconnect", "code": RESTART}

    async def _tell(self, message: Message) -> None:
        if self._ending is not None:
            raise LeftError
        await self._send(message)
        self._is_open = self._is_open or message["type"] == "websocket.accept"
        self._is_closed = self._is_closed or message["type"] == "websocket.close"
        if self._is_open and self._leaving.is_set():
            self._end()

    async def _close(self) -> None:
        await self._leaving.wait()
        if self._is_open:
            self._end()

    def _end(self) -> None:
        """Send the close frame; the application need not wait for it, as some servers cancel it once that is sent."""
        if self._ending is None and not self._is_closed:
            word = {"type": "websocket.close", "code": RESTART, "reason": "service restart"}
            self._ending = asyncio.ensure_future(self._send(word))


def _ignore(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


def _is_http1(scope: Message) -> bool:
    return str(scope.get("http_version", "")).startswith("1")


def is_stream(message: Message) -> bool:
    """Whether the head of an answer says that it is an event stream, which has no end of its own."""
    for name, value in message.get("headers", ()):
        if len(name) == 12 and name.lower() == b"content-type":
            return bytes(value).startswith(EVENT_STREAM)
    return False


def is_stream_head(head: bytes) -> bool:
    """Whether the head of an answer of HTTP/1, as it was sent, says that it is an event stream."""
    if EVENT_STREAM not in head:
        return False
    fields = (line.partition(b":") for line in head.split(b"\r\n"))
    return any(name.lower() == b"content-type" and value.strip().startswith(EVENT_STREAM) for name, _, value in fields)
